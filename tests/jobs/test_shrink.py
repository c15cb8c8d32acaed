"""`dnas shrink`, from a model in a file and a folder of images to a smaller network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dnas.core.run import Run
from dnas.jobs.shrink import imported_model
from dnas.shipping.predict import open_onnx, read_inputs
from dnas.shrinking.groups import Selection
from dnas.shrinking.searchable import make_searchable
from dnas.system.errors import UserError
from tests.support.cli import done, make_photos, refused

NET = """
import torch
from torch import nn


def trained():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)),
    )


def of_tables():
    return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))


number = 3
"""
SMALL = (
    *("--image_size", "8", "--device", "cpu", "--settings.random", "1", "--settings.batches", "1"),
    *("--settings.fine_tuning.epochs", "1", "--settings.fine_tuning.batch_size", "8"),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos and a module whose name no other test has."""
    make_photos(tmp_path / "photos")
    (tmp_path / f"net_of_{tmp_path.name.replace('-', '_')}.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def target(folder: Path, name: str = "trained") -> str:
    return f"net_of_{folder.name.replace('-', '_')}:{name}"


def test_a_model_becomes_smaller_and_the_same_command_goes_on(folder: Path):
    budget = ("--budget", "flops<=50%", "parameters<=60%")
    words = ("shrink", target(folder), "--data", "photos", "--keep", "6", *budget, "--time", "1h", "--run", "small")
    assert "1s is too short: shrinking needs --time" in refused(*words[:-3], "1s", *words[-2:-1], "short", *SMALL)
    out = done(*words, *SMALL)
    assert "Shrinking: 1 epoch of fine-tuning, 1 random network: about" in out
    assert "uniform" in out and "Everything is in small." in out
    run = Run("small")
    assert (run.path / "comparison.txt").read_text().splitlines()[0].split()[0] == "top1"
    kept = run.load_json("shrink")
    assert kept["budget"] == ["flops<=50%", "parameters<=60%"]
    assert (
        list(kept["selection"]["kept"]) == ["0"]
        and {"name": "3", "reason": "a rule keeps 6 as it is"} in kept["frozen"]
    )
    selection = Selection(kept["selection"]["kept"], tuple(kept["selection"]["skipped"]))
    small = make_searchable(imported_model(target(folder)), torch.zeros(1, 3, 8, 8)).derive(selection)
    small.load_state_dict(torch.load(run.weights_path, weights_only=True))

    import onnxruntime

    session = onnxruntime.InferenceSession(str(run.path / "network.onnx"), providers=["CPUExecutionProvider"])
    images = torch.randn(3, 3, 8, 8)
    (logits,) = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), small(images), rtol=1e-4, atol=1e-4)

    for command in (("predict", "small", "photos"), ("export", "small"), ("evaluate", "small"), ("retrain", "small")):
        assert "small is of `dnas shrink`, not of a search" in refused(*command)
    said = done("predict", "small/network.onnx", "photos/cat/000.png")
    index = int(small(read_inputs([Path("photos/cat/000.png")], open_onnx("small/network.onnx")[1])).argmax())
    assert said.startswith(f"photos/cat/000.png: {('cat', 'dog')[index]} ")

    assert "uniform" in done(*words, *SMALL)
    (folder / "photos" / "cat" / "empty.png").touch()
    new = (*words[:-2], "--run", "new")
    assert "empty.png" in refused(*new, *SMALL)
    done(*new, "--skip_unreadable", "true", *SMALL)
    assert Run("new").load_json("test_part")["unreadable"] == ["cat/empty.png"]
    assert "has begun with other settings" in refused(*words[:-6], "flops<=40%", *words[-4:], *SMALL)


@pytest.mark.parametrize(
    ("model", "words", "message"),
    [
        ("trained", (), "package.module:name"),
        ("nowhere:trained", (), "cannot be imported"),
        ("TARGET:missing", (), "cannot be imported"),
        ("TARGET:number", (), "must be a torch.nn.Module"),
        ("TARGET:trained", ("--budget", "flops<=x"), "needs a number above 0"),
        ("TARGET:trained", ("--budget", "flops<=0.001%"), "out of reach"),
        ("TARGET:trained", ("--mean", "0.5", "0.5", "0.5"), "mean and std belong together"),
        ("TARGET:trained", ("--mean", "0.5", "--std", "1"), "mean and std are for 1 channels, and the data have 3"),
        ("TARGET:trained", ("--keep", "head", "0"), "has the name 'head' of a rule; there are ['0', '1', '3', '6']"),
        ("TARGET:trained", ("--keep", "3", "--time", "1h"), "Nothing in this model may become smaller"),
        ("TARGET:of_tables", (), "does not take the data, inputs of 3 x 8 x 8 pixels, targets of 2 classes: mat1"),
    ],
)
def test_mistakes_are_refused_in_a_line(folder: Path, model: str, words: tuple[str, ...], message: str):
    model = model.replace("TARGET", target(folder).split(":")[0])
    budget = () if "--budget" in words else ("--budget", "flops<=50%")
    assert message in refused("shrink", model, "--data", "photos", "--run", "small", *budget, *words, *SMALL)


def test_what_is_no_path_to_a_model_is_refused():
    with pytest.raises(UserError, match=r"package\.module:name"):
        imported_model("net.trained")
