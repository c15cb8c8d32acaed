"""Five tasks through every command, each with samples of its own kind in one .npz file."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.cli import dnas as run_command
from tests.support.cli import done, refused

RANDOM = np.random.default_rng(0)
# Modules of one's own, of whatever the data are.
MODULES = """
import dnas
from torch import nn


def acts():
    return dnas.Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()})


def table(in_channels, num_outputs):
    return nn.Sequential(nn.Linear(in_channels, 4), acts(), nn.Linear(4, num_outputs))


def masks(in_channels, num_outputs):
    return nn.Sequential(nn.Conv2d(in_channels, 3, 3, padding=1), acts(), nn.Conv2d(3, num_outputs, 1))


def tokens(num_tokens):
    return nn.Sequential(nn.Embedding(num_tokens, 4), acts(), nn.Linear(4, num_tokens))


def signals(in_channels, num_classes):
    return nn.Sequential(nn.Conv1d(in_channels, 3, 3), acts(), nn.Flatten(), nn.Linear(18, num_classes))


def plain(in_channels=5):
    return nn.Sequential(nn.Linear(in_channels, 16), nn.ReLU(), nn.Linear(16, 2))
"""
SPACE = (
    *("--space", "dnas.DartsSpace", "--space.nodes", "1", "--space.candidates", "[none, skip_connect]"),
    *("--channels", "2", "--cells", "1", "--retrain.channels", "2", "--retrain.cells", "1"),
    *("--retrain.auxiliary", "false"),
)


def numbers() -> dict[str, Any]:
    x = RANDOM.standard_normal((32, 5))
    return {"x_train": x, "y_train": x[:, :2] + 1, "x": x[:3]}


def marked_images() -> dict[str, Any]:
    images = RANDOM.integers(0, 256, (32, 8, 8), dtype=np.uint8)
    names = np.array(["dark", "left", "top"])
    labels = RANDOM.integers(0, 2, (32, 3))
    return {"x_train": images, "y_train": labels, "class_names": names, "x_test": images[:4], "y_test": labels[:4]}


def masks() -> dict[str, Any]:
    images = RANDOM.integers(0, 256, (32, 4, 6, 3), dtype=np.uint8)
    mask = (images[..., 0] > 127).astype(np.uint8)
    mask[:, 0] = 9  # ignored, by --task.ignored
    return {"x_train": images, "y_train": mask, "x": images[:3]}


def texts() -> dict[str, Any]:
    text = RANDOM.integers(0, 6, (32, 8))
    return {"x_train": text[:, :-1], "y_train": text[:, 1:], "x": text[:3, :-1]}


def signals() -> dict[str, Any]:
    x = RANDOM.standard_normal((32, 2, 8)).astype(np.float32)
    return {"x_train": x, "y_train": np.arange(32) % 3, "x": x[:3]}


@dataclass(frozen=True)
class Case:
    """Data of a kind, the network's options, the metric that decides, and a sample's prediction as it is printed."""

    arrays: Callable[[], dict[str, Any]]
    words: tuple[str, ...]
    task: str
    metric: str
    line: str
    outputs: tuple[int, ...]


CASES = {
    "table": Case(numbers, ("--model", "manynets:table"), "Regression", "mse", r"-?[\d.e-]+  -?[\d.e-]+", (3, 2)),
    "images": Case(marked_images, SPACE, "MultiLabel", "f1", r"(no label|dark|left|top)( .*)?", (4, 3)),
    "masks": Case(
        masks,
        ("--model", "manynets:masks", "--task", "dnas.Segmentation", "--task.ignored", "9"),
        "Segmentation",
        "mIoU",
        r"[01] [\d.]+% of places.*",
        (3, 2, 4, 6),
    ),
    "text": Case(
        texts,
        ("--model", "manynets:tokens", "--task", "dnas.LanguageModelling"),
        "LanguageModelling",
        "perplexity",
        r"\d [\d.]+% of places.*",
        (3, 7, 6),
    ),
    "signals": Case(signals, ("--model", "manynets:signals"), "Classification", "top-1", r"[012] [\d.]+%  .*", (3, 3)),
}


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manynets.py").write_text(MODULES)
    monkeypatch.delitem(sys.modules, "manynets", raising=False)


@pytest.mark.parametrize("name", CASES)
def test_a_task_goes_through_every_command(name: str, tmp_path: Path):
    case, trust = CASES[name], ("--trust",) if "--model" in CASES[name].words else ()
    np.savez("data.npz", **case.arrays())
    small = ("--data", "data.npz", "--threads", "1", *case.words, "--search.epochs", "1", "--search.warmup_epochs", "0")
    said = done("search", *small, "--run", "run")
    assert f"Task: {case.task}." in said
    trained = done("retrain", "run", *trust, "--epochs", "1", "--threads", "1")
    assert re.search(rf"({case.metric} \S+|\S+ right) on held-out samples", trained)
    assert re.search(rf"Test part, \d samples: {case.metric} [\d.]+%? \(95% interval", done("evaluate", "run", *trust))
    assert f"test {case.metric}" in done("baseline", "run", *trust, "--num_random", "1")
    assert "differs from PyTorch" in done("export", "run", *trust, "--formats", "onnx", "--network", "found")
    printed = done("predict", "run", "data.npz", *trust, "--network", "found", "--output", "said.npz").splitlines()
    assert len(printed) == case.outputs[0]
    assert all(re.fullmatch(rf"data\.npz\[\d\]: {case.line}", line) for line in printed), printed
    assert np.load("said.npz")["outputs"].shape == case.outputs
    assert done("predict", "run/export/network.onnx", "data.npz").splitlines() == printed
    assert "parameters" in done("describe", "run", *trust)
    done("report", "run", *trust, "-o", "page.html")
    if name in ("table", "images"):  # it takes long, and knows a space or a module, images or not
        assert done("profile", *small, "--json", "--batch_size", "4")
    compared = done(
        "compare", "--recipes", "default", *small, "--run", "compared", "--seeds", "1", "--num_random", "1",
        "--retrain.epochs", "1",
    )  # fmt: skip
    assert "random architectures" in compared
    rows = json.loads((tmp_path / "run" / "baseline" / "comparison.json").read_text())
    assert rows["found"]["metric"] in case.metric.lower().replace("-", "")


def test_a_model_for_a_table_is_shrunk():
    np.savez("data.npz", **numbers())
    said = done(
        "shrink", "manynets:plain", "--data", "data.npz", "--budget", "parameters<=60%", "--run", "run",
        "--settings.random", "1", "--settings.fine_tuning.epochs", "1", "--settings.fine_tuning.batch_size", "8",
        "--settings.onnx", "false",
    )  # fmt: skip
    assert "mse" in said


REGRESSION = ("--task", "dnas.Regression")


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({}, SPACE, "DartsSpace has networks from square images to one row of outputs, and data.npz has inputs of 5"),
        ({"y_train": np.zeros(31)}, (), "x_train has 32 samples, of shape (32, 5), and y_train 31"),
        ({"y_train": np.full((32, 2), np.nan)}, (), "it holds NaN or infinity; expected one or more numbers"),
        ({"x_train": np.full((32, 5), np.inf)}, (), "holds NaN or infinity (or numbers too large for float32) in 32"),
        ({}, ("--task", "dnas.MultiLabel"), "expected 0 or 1 for each label"),
        ({}, ("--task", "dnas.Segmentation"), "its type or its shape is another; expected a whole number from 0 up"),
        ({}, ("--task", "dnas.Classification"), "expected one whole number from 0 up for each sample"),
        ({}, ("--image_size", "8"), "image_size 8 would have no effect: the samples of data.npz keep their shape"),
        ({"x_train": np.zeros((32, 5), np.int64)}, (), "takes no inputs (batch, 5): RuntimeError"),
        ({"x_train": np.zeros(32, np.int64) - 1}, (), "Tokens are whole numbers from 0 up"),
        ({"x_test": np.zeros((4, 6)), "y_test": np.zeros((4, 2))}, (), "and x_train float64 of shape (32, 5)"),
        ({"x_train": np.zeros((4, 5)), "y_train": np.zeros(4)}, (), "x_train has 4 samples; a search needs 8 or more"),
        ({"y_train": np.full((32, 3), 10**9)}, (), "has classes up to 1000000000, for 96 targets"),
        ({"y_train": np.full(32, 7)}, (), "has no training image of class '0'"),
    ],
)
def test_arrays_that_do_not_fit_are_told_before_anything_is_made(change, words, message, tmp_path: Path):
    np.savez("data.npz", **{**numbers(), **change})
    model = () if "--space" in words else ("--model", "manynets:table")
    assert message in refused("search", "--data", "data.npz", "--threads", "1", *model, *words)
    assert not (tmp_path / "runs").exists()


def test_inputs_of_another_kind_are_not_predicted_upon(tmp_path: Path):
    np.savez("data.npz", **numbers())
    small = ("--data", "data.npz", "--threads", "1", "--model", "manynets:table", "--search.epochs", "1")
    done("search", *small, "--search.warmup_epochs", "0", "--run", "run")
    done("retrain", "run", "--trust", "--epochs", "1", "--threads", "1")
    for arrays, message in (
        ({"x": np.zeros((2, 4))}, "has inputs of shape (4,); the network takes (5)"),
        ({"x": np.zeros((2, 5), np.int64)}, "x is int64 of shape (2, 5); expected numbers"),
        ({"y": np.zeros(2)}, "holds no array x, nor x_test"),
    ):
        np.savez("other.npz", **arrays)
        assert message in refused("predict", "run", "other.npz", "--trust")
    (tmp_path / "photo.png").write_bytes(b"")
    assert "give an .npz file with the array x" in refused("predict", "run", "photo.png", "--trust")
    ended = run_command("predict", "run", "data.npz", "--trust", "--top", "0")
    assert "--top of 1 or more" in ended.err
