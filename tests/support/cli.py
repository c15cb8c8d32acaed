"""The command `dnas` within this process, on images that are made up, and a small run that is finished."""

import io
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnas.cli import main

# The smallest search that has all its parts: a second of work.
SMALL = (
    *("--image_size", "8", "--batch_size", "8", "--channels", "2", "--cells", "3"),
    *("--space", "dnas.DartsSpace", "--space.nodes", "1", "--space.candidates", "[none, skip_connect, sep_conv_3x3]"),
    *("--search.epochs", "2", "--search.warmup_epochs", "1", "--search.log_every", "1"),
    *("--retrain.epochs", "2", "--retrain.channels", "2", "--retrain.cells", "3", "--retrain.batch_size", "8"),
    *("--retrain.auxiliary", "false", "--device", "cpu"),
)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, and what it printed."""

    code: int
    out: str
    err: str


def dnas(*arguments: object) -> Ended:
    """Carry out a command; only an error that it does not expect comes out of here."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        # Speed is the mean of three steps, however short: a command of a test takes fewer steps than 0.1 s of them.
        patch.setattr("dnas.jobs.planning.measure._SECONDS", 0.0)
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code
    assert isinstance(code, int)
    return Ended(code, out.getvalue(), err.getvalue())


def done(*arguments: object) -> str:
    """What a command prints that must succeed, and say nothing on stderr."""
    ended = dnas(*arguments)
    assert ended.code == 0, ended.err
    assert ended.err == ""
    return ended.out


def refused(*arguments: object) -> str:
    """The one line with which a command must refuse."""
    ended = dnas(*arguments)
    assert ended.code == 2, ended.out
    lines = ended.err.splitlines()
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("dnas: "), lines[0]
    assert "Traceback" not in ended.out
    return lines[0].removeprefix("dnas: ")


def make_photos(
    folder: Path, *, classes: Sequence[str] = ("cat", "dog"), count: int = 24, size: int = 10, grey: bool = False
) -> Path:
    """Noisy images, each class of a colour or brightness of its own, as PNG."""
    random = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        colour = 40 + 170 * (label + np.arange(1 if grey else 3)) / len(classes) % 200
        for index in range(count):
            pixels = random.normal(colour, 30, (size, size, len(colour))).clip(0, 255).astype("uint8")
            Image.fromarray(pixels[:, :, 0] if grey else pixels).save(folder / name / f"{index:03d}.png")
    return folder
