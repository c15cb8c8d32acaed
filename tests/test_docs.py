"""What the pages of docs/ show works: code runs, settings are read, commands have the options that are written."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dnas.cli.commands import COMMANDS, PLAIN_COMMANDS
from dnas.cli.parser import build_parser, load, parse
from dnas.table import Table, save_table
from tests.support.cli import dnas

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
# Walks through an example, which tests/test_examples.py runs.
ELSEWHERE = ("your-model",)
# A command of dnas, by itself or started by another.
LAUNCHED = re.compile(r"((torchrun|srun) .*?)?(?P<command>dnas .*)")
# What a page takes for granted, and sizes with which it takes a second instead of hours.
BEFORE = {"tables": "architecture = dnas.NasBench201Space().random(torch.Generator())"}
SMALLER = {
    "language": {
        '"penn", level="word"': '"penn", level="char"',
        "LanguageSearch()": "LanguageSearch(hidden=4, batch_size=2, bptt=8, search=dnas.SearchSettings(epochs=1))",
        "LanguageTraining()": "LanguageTraining(hidden=4, batch_size=2, bptt=8, epochs=1)",
        "hidden=850": "hidden=4",
    }
}


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], flags=re.DOTALL | re.MULTILINE)


def pages_with(language: str) -> list[str]:
    found = [page for page in PAGES if page not in ELSEWHERE and blocks(page, language)]
    assert found
    return found


@pytest.mark.parametrize("page", pages_with("python"))
def test_the_python_blocks_of_a_page_run_one_after_the_other(page: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path)
    module = ModuleType(f"page_{page.replace('-', '_')}")  # parts that a page defines can be pickled from a module
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("import torch\nimport dnas\n" + BEFORE.get(page, ""), module.__dict__)
    for block in blocks(page, "python"):
        for shown, small in SMALLER.get(page, {}).items():
            block = block.replace(shown, small)
        exec(compile(block, f"docs/{page}.md", "exec"), module.__dict__)


def make_files(folder: Path) -> None:
    """The files that pages read: a table, and a text in three parts."""
    values = np.arange(15625) / 200
    save_table(Table({"test200_c10": values, "valid200_c10": values}, source="made up"), folder / "nasbench201.npz")
    for part in ("train", "valid", "test"):
        (folder / "penn").mkdir(exist_ok=True)
        (folder / "penn" / f"ptb.{part}.txt").write_text("the cat sat on the mat\n" * 10)


@pytest.mark.parametrize("page", pages_with("py"))
def test_code_of_other_tools_is_python(page: str) -> None:
    for block in blocks(page, "py"):
        ast.parse(block)


@pytest.mark.parametrize("page", pages_with("yaml"))
def test_recipes_of_a_page_are_read(page: str, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page, "yaml")):
        recipe = tmp_path / f"{number}.yaml"
        recipe.write_text(block)
        parse(load("search"), ["--recipe", str(recipe), "--data", "digits"])


def commands() -> list[tuple[str, str]]:
    """Each command of `dnas` that a page shows, without torchrun or srun in front of it, with the page."""
    shown = [(page, block.replace("\\\n", " ")) for page in PAGES for block in blocks(page, "bash")]
    found = [(page, LAUNCHED.match(line)) for page, text in shown for line in text.splitlines()]
    return [(page, line["command"]) for page, line in found if line is not None]


@cache
def options_of(command: str) -> frozenset[str]:
    actions = build_parser(load(command))._actions
    return frozenset(option for action in actions for option in action.option_strings)


def test_commands_of_the_pages_have_the_options_that_are_written() -> None:
    found = commands()
    assert len(found) > 20
    for page, line in found:
        command, *words = shlex.split(line, comments=True)[1:]
        assert command in COMMANDS | PLAIN_COMMANDS, f"docs/{page}.md: {line}"
        options = [word.partition("=")[0] for word in words if word.startswith("-")]
        unknown = [option for option in options if command in COMMANDS and not is_known(option, command)]
        assert not unknown, f"docs/{page}.md: {line}: there is no {', '.join(unknown)}"


def is_known(option: str, command: str) -> bool:
    """Whether a command has an option, or a part whose setting it is: `--search.relaxation.end`."""
    if option.startswith("-") and not option.startswith("--"):
        return option in options_of(command)
    name = "--" + option[2:].replace("-", "_")
    for other, own in load(command).other_names.items():
        if name == other or (other.endswith(".") and name.startswith(other)):
            name = own + name.removeprefix(other)
    above = name.split(".")
    return any(".".join(above[:count]) in options_of(command) for count in range(1, len(above) + 1))


# The smallest sizes: the page's own take a minute and more.
TINY = {
    "search": ["--space.nodes=1", "--channels=2", "--batch_size=256", "--search.epochs=1", "--search.warmup_epochs=0"],
    "retrain": ["--channels=2", "--epochs=1", "--batch_size=256"],
    "baseline": ["--num=1"],
}


@pytest.mark.slow
def test_the_commands_of_the_start_run_in_the_order_shown(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for page, line in commands() if page == "start" and "runs/first" in line]
    assert len(lines) == 7
    for line in lines:
        if line == "dnas export runs/first":  # tests/test_readme.py carries it out
            continue
        ended = dnas(*shlex.split(line)[1:], *TINY.get(line.split()[1], []))
        assert ended.code == 0, f"{line}\n{ended.err}"
    assert (tmp_path / "cell.svg").exists()
    assert (tmp_path / "runs/first/report.html").exists()


def test_every_page_is_in_the_navigation() -> None:
    navigation = (DOCS.parent / "website" / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        assert re.search(rf"^ +- (.*: )?{page}\.md$", navigation, flags=re.MULTILINE), page
