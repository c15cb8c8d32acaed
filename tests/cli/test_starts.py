"""What a command imports before it answers, by `sys.modules`: a clock tells little on a busy machine."""

import json
import operator
import subprocess
import sys

import pytest

import dnas

# What `import torch` alone may bring, but nothing that follows may: each takes a tenth of a second or more.
HEAVY = ("triton", "torch.utils.flop_counter", "torch.export", "torch._inductor", "torch._decomp", "torch._dynamo")


def modules_after(code: str) -> set[str]:
    """The modules that a Python of its own has imported after `code`."""
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)), file=sys.__stdout__)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return set(json.loads(answer.stdout.splitlines()[-1]))


def after_commands(*commands: tuple[str, ...]) -> set[str]:
    """The modules that one Python has imported when it has answered `dnas WORDS` for all of the commands."""
    return modules_after(
        "import contextlib, io, sys\n"
        "from dnas.cli import main\n"
        f"for words in {commands!r}:\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()), "
        "contextlib.redirect_stderr(io.StringIO()):\n        main(list(words))"
    )


def heavy(modules: set[str]) -> set[str]:
    return {name for name in modules if name.startswith(HEAVY)}


@pytest.fixture(scope="module")
def torch_alone() -> set[str]:
    return modules_after("import torch")


def test_what_names_no_command_is_answered_without_torch_and_jsonargparse():
    modules = after_commands((), ("--help",), ("--version",), ("serach",), ("--serach",))
    assert "dnas.cli" in modules
    assert not modules & {"torch", "numpy", "jsonargparse", "dnas.public"}


def test_importing_dnas_imports_torch_when_a_public_name_is_asked_for():
    assert "torch" not in modules_after("import dnas")
    assert "torch" in modules_after("import dnas; dnas.Softmax")


def test_all_public_names_bring_nothing_heavy(torch_alone: set[str]):
    assert not heavy(modules_after("from dnas import *") - torch_alone)


def test_help_and_a_wrong_option_bring_nothing_heavy(torch_alone: set[str]):
    commands = ("search", "retrain", "compare", "language", "describe", "profile", "export")
    modules = after_commands(*((name, "--help") for name in commands), ("search", "--nope"))
    assert {f"dnas.cli.{name}" for name in commands} <= modules
    assert not heavy(modules - torch_alone)


def test_help_of_commands_without_settings_needs_no_torch():
    modules = after_commands(*((name, "--help") for name in ("predict", "say", "spaces")))
    assert "dnas.cli.predict" in modules
    assert "torch" not in modules


def test_public_names_are_those_of_the_list():
    code = "import dnas\nfrom dnas import *\nassert {*dnas.__all__} <= {*dir(dnas)} and {*dnas.__all__} <= {*globals()}"
    assert "dnas.public" in modules_after(code)


def test_a_room_is_there_once_a_public_name_was_asked_for():
    modules_after("import dnas\nassert dnas.space.DartsSpace is dnas.DartsSpace")


def test_a_name_that_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'dnas' has no attribute 'Sofmax'"):
        operator.attrgetter("Sofmax")(dnas)
