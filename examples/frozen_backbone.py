"""A head for a backbone that was trained before and stays as it is: digits 5 to 9, by what was learnt on 0 to 4.

python examples/frozen_backbone.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

import dnas

TASK = dnas.Classification()


class Net(nn.Module):
    """A frozen backbone, and a head with two choices."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU()
        )
        self.backbone.requires_grad_(False)
        self.neck = dnas.Choice("neck", {"skip": nn.Identity(), "1x1": nn.Conv2d(16, 16, 1)})
        self.act = dnas.Choice("activation", {"relu": nn.ReLU(), "gelu": nn.GELU()})
        self.head = nn.Linear(16 * 9, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.neck(self.backbone(x))).flatten(1))


def digits(first: int) -> TensorDataset:
    """The images of five digits from `first` on, and their classes from 0 on."""
    pixels, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
    some = (labels >= first) & (labels < first + 5)
    return TensorDataset(pixels[some].float().reshape(-1, 1, 8, 8) / 16, labels[some] - first)


def data() -> tuple[DataLoader, DataLoader, DataLoader]:
    """Training, validation and test part of the digits 5 to 9."""
    parts = random_split(digits(5), [0.4, 0.3, 0.3], torch.Generator().manual_seed(0))
    train, validation, test = (DataLoader(part, 32, shuffle=True) for part in parts)
    return train, validation, test


def pretrain(backbone: nn.Module) -> None:
    """Train a backbone on the digits 0 to 4, with a head that is thrown away."""
    network = nn.Sequential(backbone.requires_grad_(True), nn.Flatten(), nn.Linear(16 * 9, 5))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(3):
        for images, labels in DataLoader(digits(0), 32, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
    backbone.requires_grad_(False)


def main(folder: Path) -> None:
    """Train a backbone, freeze it; search, retrain, evaluate, compare, save, export."""
    torch.manual_seed(0)
    train, validation, test = data()
    net = Net()
    pretrain(net.backbone)
    run = dnas.Run(folder / "run")
    found = dnas.search(net, train, validation, task=TASK, settings=dnas.SearchSettings(epochs=6), run=run)
    print("kept:", dict(found.architecture.decisions))

    settings = dnas.RetrainSettings(epochs=8)
    retraining = run.child("retrain")
    network = dnas.retrain(  # from the weights that `net` came with: the backbone as it was trained, a new head
        found.network(), train, task=TASK, settings=settings, run=retraining, validation=validation
    )
    print(f"test: {dnas.evaluate(network, test, task=TASK).top1:.1%} right")
    # Random architectures start from the same backbone: the search has kept its weights in the run's folder.
    print(dnas.baseline(Net, train, validation, test, run=run, task=TASK, settings=settings, num=3))

    dnas.save(network, found.architecture, folder / "model")
    example, _ = next(iter(test))
    for file in dnas.export(network, example, folder / "export", architecture=found.architecture):
        print(f"{file.format}: {file.path.name}, differs from PyTorch by {file.deviation:.1e}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
