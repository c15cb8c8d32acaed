"""Scripts of completion, in the shells that are here."""

import shutil
import subprocess

import pytest

from tests.support.cli import done, refused

ASKED = """source {script}
COMP_WORDS=(dnas {words}); COMP_CWORD={place}; _dnas; echo "${{COMPREPLY[*]}}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(done("completion", shell))
    return folder


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash is installed")
@pytest.mark.parametrize(
    ("words", "place", "found"),
    [
        ("sea", 1, "search"),
        ("doc", 1, "doctor"),
        ("draw x --ou", 3, "--output"),
        ("search --search.pen", 2, "--search.penalties"),
    ],
)
def test_bash_fills_in_commands_and_their_options(scripts, words, place, found):
    asked = ASKED.format(script=scripts / "bash", words=words, place=place)
    said = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True).stdout
    assert said.split() == [found]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_theirs(scripts, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} is installed")
    subprocess.run([shell, "-n", scripts / shell], check=True)


def test_each_script_has_every_option_once(scripts):
    assert "--label_smoothing" in (scripts / "zsh").read_text()
    fish = (scripts / "fish").read_text().splitlines()
    assert len(fish) == len(set(fish))
    assert "complete -c dnas -n '__fish_seen_subcommand_from draw' -l output" in fish


def test_another_shell_is_refused():
    assert "there is for bash, zsh and fish" in refused("completion", "tcsh")
