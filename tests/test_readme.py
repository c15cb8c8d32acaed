"""What the README shows works as it is written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dnas.jobs.recipe import recipe_names
from tests.support.cli import dnas

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


# The one change to the commands: sizes that take seconds where a reader's take the time that is given.
SMALLER = {
    "search": ["--channels", "4", "--cells", "2", "--image-size", "8", "--search.epochs", "2"],
    "retrain": ["--channels", "4", "--cells", "2", "--epochs", "2"],
}


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def make_photos(folder: Path) -> None:
    """Two classes of noisy photos that differ in colour."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for name, colour in (("cat", (200, 60, 60)), ("dog", (60, 60, 200))):
        (folder / name).mkdir(parents=True)
        for index in range(10):
            pixels = random.normal(colour, 40, (24, 30, 3)).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(folder / name / f"{index}.jpg")


@pytest.mark.slow
@pytest.mark.parametrize("block", range(len(blocks("python"))))
def test_the_python_blocks_run(block: int, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(blocks("python")[block])
    command = [sys.executable, "block.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "kernel" in result.stdout


@pytest.mark.slow
def test_the_commands_for_own_images_run_in_the_order_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_photos(Path("photos"))
    said = ""
    for line in blocks("bash")[0].splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "dnas"
        ended = dnas(*words, *SMALLER.get(words[0], []))
        assert ended.code == 0, f"{line}\n{ended.err}"
        said = ended.out
    assert Path("runs/photos/export/network.onnx").exists()
    assert "cat" in said


def test_the_table_of_methods_has_every_recipe_and_no_other() -> None:
    table = (Path(__file__).parent.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`[^|]*) \|", table, flags=re.MULTILINE)))
    assert sorted(named) == [name for name in recipe_names() if name not in ("default", "digits")]


def test_recipes_that_the_readme_names_are_there() -> None:
    section = README[README.index("There is a recipe for each") :].split(" and\nmore")[0]
    assert set(re.findall(r"`(\w+)`", section)) <= set(recipe_names())
