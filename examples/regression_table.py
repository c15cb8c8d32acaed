"""Regression on a table: how far diabetes has gone after a year, from ten measurements (scikit-learn's load_diabetes).

python examples/regression_table.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import dnas

TASK = dnas.Regression()


class Net(nn.Module):
    """A layer, then one of three activations and one of three middles, then a number."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(10, 32)
        self.act = dnas.Choice("activation", {"relu": nn.ReLU(), "tanh": nn.Tanh(), "silu": nn.SiLU()})
        middle = {
            "skip": nn.Identity(),
            "layer": nn.Linear(32, 32),
            "norm": nn.BatchNorm1d(32),
        }
        self.middle = dnas.Choice("middle", middle)
        self.last = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.act(self.first(x))))


def data() -> tuple[DataLoader, DataLoader, DataLoader]:
    """Training, validation and test part: 442 people, target in units of its deviation."""
    x, y = (torch.tensor(array, dtype=torch.float32) for array in load_diabetes(return_X_y=True))
    table = TensorDataset((x - x.mean(0)) / x.std(0), ((y - y.mean()) / y.std())[:, None])
    parts = random_split(table, [0.4, 0.3, 0.3], torch.Generator().manual_seed(0))
    train, validation, test = (DataLoader(part, 32, shuffle=True) for part in parts)
    return train, validation, test


def main(folder: Path) -> None:
    """Search, retrain, evaluate, compare, save, export."""
    torch.manual_seed(0)
    train, validation, test = data()
    run = dnas.Run(folder / "run")
    found = dnas.search(Net(), train, validation, task=TASK, settings=dnas.SearchSettings(epochs=10), run=run)
    print("kept:", dict(found.architecture.decisions))

    settings = dnas.RetrainSettings(epochs=20)
    retraining = run.child("retrain")
    network = dnas.retrain(found.network(), train, task=TASK, settings=settings, run=retraining, validation=validation)
    measured = dnas.evaluate(network, test, task=TASK)
    print(f"test: mean squared error {measured.value('mse'):.3f}, R2 {measured.value('r2'):.3f}")
    print(dnas.baseline(Net, train, validation, test, run=run, task=TASK, settings=settings, num=4))

    dnas.save(network, found.architecture, folder / "model")  # dnas.load(folder / "model", model=Net) reads it
    example, _ = next(iter(test))
    for file in dnas.export(network, example, folder / "export", architecture=found.architecture):
        print(f"{file.format}: {file.path.name}, differs from PyTorch by {file.deviation:.1e}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
