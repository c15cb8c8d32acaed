"""A module of one's own from the command line, from the search to a prediction."""

import json
import re
import sys
from pathlib import Path

import pytest

from dnas.core.run import Run
from tests.support.cli import dnas as run_command
from tests.support.cli import done, refused

MODULE = """
import dnas
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.first = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.act = dnas.Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()})
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.head(self.act(self.first(x)).mean((2, 3)))

"""
BALANCED = ("--task", "dnas.Classification", "--task.balanced", "true")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A search in Net, in a folder from which it can be imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ownnet.py").write_text(MODULE)
    monkeypatch.delitem(sys.modules, "ownnet", raising=False)
    words = ("--image_size", "8", "--search.epochs", "1", "--threads", "1", "--run", "run", "--time", "5min")
    said = done("search", "--model", "ownnet:Net", *BALANCED, *words)
    assert "Search in ownnet:Net: images 8x8, batch 64, 1 epochs, 1 thread: about" in said
    assert re.search(r"Then `dnas retrain`: batch 96, \d+ epochs: about", said)
    assert "Next: dnas retrain run --trust" in said
    return "run"


def photo(folder: Path) -> Path:
    from PIL import Image

    path = folder / "photo.png"
    Image.new("L", (8, 8), 200).save(path)
    return path


def test_all_commands_follow_from_the_run_folder(run: str, tmp_path: Path):
    config = Run(run).read_config()["job"]
    assert config["model"] == "ownnet:Net"
    assert config["task"]["class_path"] == "dnas.Classification"
    assert config["task"]["init_args"]["balanced"] is True
    words = ("--model", "ownnet:Net", "--threads", "1")
    short = "7s is too short: retraining needs --time"  # whatever the machine, ends of ten epochs take longer
    assert short in refused("retrain", run, *words, "--epochs", "10", "--time", "7s")
    said = done("retrain", run, *words, "--epochs", "1", "--time", "5min")
    assert "Retraining: batch 96, 1 epochs: about" in said
    assert "balanced accuracy" in said
    assert re.search(r"balanced accuracy [\d.]+% \(95% interval", done("evaluate", run, "--trust"))
    assert "test balanced accuracy" in done("baseline", run, "--trust", "--num", "1")
    # All networks of the comparison began with the weights that the search has kept.
    start = Run(run).load_checkpoint("start")["state"]
    assert set(start) > {"first.weight", "head.weight"}
    assert "differs from PyTorch" in done("export", run, "--trust", "--formats", "torch", "state_dict")
    predicted = run_command("predict", run, str(photo(tmp_path)), "--model", "ownnet:Net")
    assert predicted.out.startswith(str(tmp_path / "photo.png"))
    assert predicted.err.startswith("Network: ")  # the standard output holds the table alone
    assert "parameters" in done("describe", run, "--trust")
    without = run_command("report", run, "-o", str(tmp_path / "without.html"))
    assert without.err.startswith(f"dnas: no mixtures of {run} in the report: ")
    done("report", run, "--trust", "-o", str(tmp_path / "with.html"))
    drawn = [(tmp_path / name).read_text().count("Mixtures") for name in ("without.html", "with.html")]
    assert drawn[0] < drawn[1]


GREY = """
import dnas
from torch import nn

net = nn.Sequential(
    nn.Conv2d(1, 2, 3), dnas.Choice("act", [nn.ReLU(), nn.Tanh()]), nn.Flatten(), nn.Linear(72, 10)
)
"""


def test_a_module_itself_is_profiled_on_grey_images_where_it_takes_no_colour(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "greynet.py").write_text(GREY)
    monkeypatch.delitem(sys.modules, "greynet", raising=False)
    profile = json.loads(done("profile", "--model", "greynet:net", "--batch_size", "8", "--json", "--threads", "1"))
    assert (profile["image_size"], profile["batch_size"], profile["channels"]) == (8, 8, None)
    # Forward and weight gradients of 8 images; the first layer's inputs need no gradient.
    convolution, linear = 2 * 36 * 9 * 2, 2 * 72 * 10
    assert profile["flops"]["weight"] >= 8 * (2 * convolution + 3 * linear)
    assert "takes neither colour nor grey images of 9 pixels" in refused(
        "profile", "--model", "greynet:net", "--image_size", "9"
    )


def test_a_module_that_only_a_file_names_is_not_imported(run: str):
    for words in (("retrain", run), ("search", "--resume", run)):
        assert "names a module of your own, ownnet:Net" in refused(*words)
    done("retrain", run, "--trust", "--epochs", "1", "--threads", "1")
    for command in ("evaluate", "baseline", "export", "describe"):
        assert "add --trust, or name the module: --model ownnet:Net" in refused(command, run)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("search", "--model", "nosuch:Net"), "The model nosuch:Net cannot be imported: ModuleNotFoundError"),
        (("search", "--model", "ownnet:No"), "The model ownnet:No cannot be imported: AttributeError"),
        (("search", "--model", "ownnet"), "package.module:name, such as mypackage.net:Net; got 'ownnet'"),
        (("search", "--model", "math:pi"), "math:pi must be a torch.nn.Module, or a class or"),
        (("search", "--model", "torch.nn:Identity"), "holds no choice, so there is nothing to search"),
        (
            ("search", "--model", "ownnet:Net", "--channels", "4"),
            "channels would have no effect on the model ownnet:Net",
        ),
        (("search", "--model", "ownnet:Net", "--fused", "true"), "fused would have no effect on the model ownnet:Net"),
        (("search", "--model", "ownnet:Net", "--time", "7s"), "7s is too short: the search needs --time"),
        (
            ("search", "--model", "ownnet:Net", "--task", "dnas.Regression"),
            "A regression must give one number for each",
        ),
        (("search", "--model", "ownnet:Net", "--recipe", "pc_darts"), "of its space, and ownnet:Net is a module"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ownnet.py").write_text(MODULE)
    monkeypatch.delitem(sys.modules, "ownnet", raising=False)
    assert message in refused(*words)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["ownnet.py"]


@pytest.mark.parametrize("option", ["--search.relaxation", "--search.weights.lr", "--task"])
def test_a_part_whose_file_raises_is_refused_in_a_sentence(option, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "raising.py").write_text("raise RuntimeError('no licence')")
    (tmp_path / "unreadable.py").write_text("def f(:")
    assert "raising cannot be imported: RuntimeError: no licence." in refused("search", option, "raising.Part")
    assert "unreadable cannot be imported: SyntaxError" in refused("search", option, "unreadable.Part")


def test_candidates_of_other_shapes_are_told_with_the_name_of_their_choice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ownnet.py").write_text(MODULE.replace("nn.ReLU()", "nn.Conv2d(4, 5, 1)"))
    monkeypatch.delitem(sys.modules, "ownnet", raising=False)
    assert "candidates of choice 'act' must give the same shapes" in refused("search", "--model", "ownnet:Net")


WIDE = """
import dnas
from torch import nn


def conv(kernel):
    return nn.Conv2d(4, 4, kernel, padding=kernel // 2)


class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.first = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.a, self.b = (dnas.Choice(n, {"5x5": conv(5), "1x1": conv(1), "skip": nn.Identity()}) for n in "ab")
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.head(self.b(self.a(self.first(x))).mean((2, 3)))
"""


@pytest.mark.slow
def test_a_budget_holds_for_a_module_of_one_s_own_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ownnet.py").write_text(WIDE)
    monkeypatch.delitem(sys.modules, "ownnet", raising=False)
    words = ("--image_size", "8", "--search.epochs", "1", "--threads", "1", "--run", "run")
    limits = ("--budget", "flops<=60%,milliseconds<=1000")
    said = done("search", "--model", "ownnet:Net", *words, *limits)
    assert "Budget of the retrained network (8 pixels; one image):" in said
    assert "measured" in said
    budget = Run("run").load_json("budget")
    assert all(limit["cost"] <= limit["most"] for limit in budget["limits"])
    assert "of at most" in said
    assert "100.0%" in done("front", "run", "--trust", "--points", "3")
    done("retrain", "run", "--trust", "--epochs", "1", "--threads", "1")
    assert "found" in done("baseline", "run", "--trust", "--num", "1")
