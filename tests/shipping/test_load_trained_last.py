"""Of a user's own module `load` gives what was trained last, or says why it cannot."""

from pathlib import Path

import pytest
import torch
from torch import nn

import dnas
from dnas import Choice, RetrainSettings, SearchSettings
from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.system.errors import UserError

DATA = [(torch.randn(8, 4, generator=torch.Generator().manual_seed(i)), torch.arange(8) % 2) for i in range(4)]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()})
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.act(x))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    dnas.search(Net(), DATA[:2], DATA[2:], settings=SearchSettings(epochs=1), run=run)
    return run


def retrained(run: Run, folder: Run) -> nn.Module:
    network = dnas.derive(Net(), run.load_architecture())
    return dnas.retrain(network, DATA, settings=RetrainSettings(epochs=2), run=folder)


def same(a: nn.Module, b: nn.Module) -> bool:
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(9))
    return torch.equal(a(inputs), b(inputs))


def test_before_a_retraining_the_weights_of_the_search_are_given(run):
    network = dnas.load(run.path, model=Net())
    supernet = run.load_checkpoint("last")["supernet"]["model"]
    assert torch.equal(network.get_parameter("head.weight"), supernet["head.weight"])


def test_after_a_retraining_its_weights_are_given(run):
    network = retrained(run, run.child("retrain"))
    assert same(dnas.load(run.path, model=Net()), network)
    assert same(dnas.load(run.path / "retrain", model=Net()), network)


def test_weights_of_a_retraining_elsewhere_need_an_architecture_beside_them(run, tmp_path):
    folder = Run(tmp_path / "final")
    network = retrained(run, folder)
    with pytest.raises(FileNotFoundError, match=r"no architecture\.json says of what"):
        dnas.load(folder.path, model=Net())
    folder.save_architecture(run.load_architecture())
    assert same(dnas.load(folder.path, model=Net()), network)


def test_an_unfinished_retraining_is_told_instead_of_the_weights_of_the_search(run):
    retrained(run, run.child("retrain"))
    (run.path / "retrain" / "network.pt").unlink()  # as a kill before the end leaves it, and dnas before it wrote them
    with pytest.raises(UserError, match="has not finished"):
        dnas.load(run.path, model=Net())
    network = retrained(run, run.child("retrain"))
    assert same(dnas.load(run.path, model=Net()), network)


def test_an_architecture_that_was_found_since_does_not_get_the_weights_of_the_old_one(run):
    retrained(run, run.child("retrain"))
    kept = run.load_architecture().decisions["act"]
    run.save_architecture(Architecture({"act": "tanh" if kept == "relu" else "relu"}))
    with pytest.raises(UserError, match="belongs to another network"):
        dnas.load(run.path, model=Net())
