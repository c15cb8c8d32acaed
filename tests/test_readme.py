"""What the README shows works as it is written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dnas.jobs.recipe import recipe_names

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


# The one change to the commands: sizes that take seconds where a reader's take the time that is given.
SMALLER = {
    "search": ["--channels", "4", "--cells", "2", "--image-size", "16", "--search.epochs", "2"],
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


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(len(blocks("python"))))
def test_the_python_blocks_run(block: int, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(blocks("python")[block])
    result = run([sys.executable, "block.py"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "kernel" in result.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_for_own_images_run_in_the_order_shown(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos")
    for line in blocks("bash")[0].splitlines():
        command = shlex.split(line)
        result = run([sys.executable, "-m", "dnas", *command[1:], *SMALLER.get(command[1], [])], tmp_path)
        assert result.returncode == 0, f"{line}\n{result.stderr}"
    assert (tmp_path / "runs/photos/export/network.onnx").exists()
    assert "cat" in result.stdout


def test_the_table_of_methods_has_every_recipe_and_no_other() -> None:
    table = (Path(__file__).parent.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`[^|]*) \|", table, flags=re.MULTILINE)))
    assert sorted(named) == [name for name in recipe_names() if name not in ("default", "digits")]


def test_recipes_that_the_readme_names_are_there() -> None:
    section = README[README.index("There is a recipe for each") :].split(" and\nmore")[0]
    assert set(re.findall(r"`(\w+)`", section)) <= set(recipe_names())
