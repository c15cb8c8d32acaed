"""Signals: which of three rhythms is hidden in noise, by one-dimensional convolutions; classes of different sizes.

python examples/signals.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import dnas

TASK = dnas.Classification(balanced=True)  # the rare rhythm counts as much as the others


class Net(nn.Module):
    """Filters of a width to be chosen, one kind of pooling, and a class."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = dnas.Choice("width", {f"width {width}": filters(width) for width in (1, 5, 15)})
        self.pool = dnas.Choice("pool", {"mean": nn.AdaptiveAvgPool1d(4), "max": nn.AdaptiveMaxPool1d(4)})
        self.head = nn.Linear(12 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.filters(x)).flatten(1))


def filters(width: int) -> nn.Module:
    """Twelve filters of this width, normalised so that no candidate has a head start."""
    return nn.Sequential(nn.Conv1d(2, 12, width, padding=width // 2), nn.BatchNorm1d(12), nn.ReLU())


def data(count: int = 480) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Training, validation and test part: two channels of 48 samples; one rhythm in eight is the third."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2]).repeat(count // 8)
    time, periods = torch.arange(48.0), torch.tensor([4.0, 7.0, 12.0])
    phase = 6.28 * torch.rand(count, 1, generator=generator)
    wave = torch.sin(6.28 * time / periods[classes][:, None] + phase)
    signals = torch.stack([wave, -wave], dim=1) + 1.2 * torch.randn(count, 2, 48, generator=generator)
    parts = random_split(TensorDataset(signals, classes), [0.4, 0.3, 0.3], generator)
    train, validation, test = (DataLoader(part, 32, shuffle=True) for part in parts)
    return train, validation, test


def main(folder: Path) -> None:
    """Search, retrain, evaluate, compare, save, export."""
    torch.manual_seed(0)
    train, validation, test = data()
    run = dnas.Run(folder / "run")
    found = dnas.search(Net(), train, validation, task=TASK, settings=dnas.SearchSettings(epochs=8), run=run)
    print("kept:", dict(found.architecture.decisions))

    settings = dnas.RetrainSettings(epochs=8)
    retraining = run.child("retrain")
    network = dnas.retrain(found.network(), train, task=TASK, settings=settings, run=retraining, validation=validation)
    measured = dnas.evaluate(network, test, task=TASK)
    print(f"test: balanced accuracy {measured.value('balanced_accuracy'):.1%}, top-1 {measured.top1:.1%}")
    print(dnas.baseline(Net, train, validation, test, run=run, task=TASK, settings=settings, num=3))

    dnas.save(network, found.architecture, folder / "model")
    example, _ = next(iter(test))
    for file in dnas.export(network, example, folder / "export", architecture=found.architecture):
        print(f"{file.format}: {file.path.name}, differs from PyTorch by {file.deviation:.1e}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
