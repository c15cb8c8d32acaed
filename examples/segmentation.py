"""Segmentation: discs and squares on a noisy ground; pixels at their borders belong to nobody and are ignored.

python examples/segmentation.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import dnas

BORDER = 255
TASK = dnas.Segmentation(ignored=BORDER)


class Net(nn.Module):
    """Two layers, each with a kind of convolution to be chosen, and a class for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = dnas.Choice("first", layers(1, 12))
        self.second = dnas.Choice("second", layers(12, 12))
        self.classes = nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.second(self.first(x)))


def layers(inputs: int, outputs: int) -> dict[str, nn.Module]:
    """Candidates with the same output shape."""
    return {
        "1x1": layer(nn.Conv2d(inputs, outputs, 1), outputs),
        "3x3": layer(nn.Conv2d(inputs, outputs, 3, padding=1), outputs),
        "3x3 dilated": layer(nn.Conv2d(inputs, outputs, 3, padding=2, dilation=2), outputs),
    }


def layer(convolution: nn.Module, channels: int) -> nn.Module:
    """A convolution with batch norm and ReLU."""
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())


def data(count: int = 160) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Training, validation and test part: images (1, 16, 16) and labels (16, 16): 0 ground, 1 disc, 2 square."""
    generator = torch.Generator().manual_seed(0)
    places = torch.arange(16.0)
    centres = torch.randint(4, 12, (count, 2, 1, 1), generator=generator)
    down, across = (places[:, None] - centres[:, 0]).abs(), (places - centres[:, 1]).abs()
    is_disc = (torch.arange(count) % 2 == 0)[:, None, None]
    distance = torch.where(is_disc, (down.square() + across.square()).sqrt(), torch.maximum(down, across))
    labels = torch.where(distance < 3.5, torch.where(is_disc, 1, 2), 0)
    labels[(distance >= 3) & (distance < 4)] = BORDER
    images = (distance < 3.5).float() + 0.3 * torch.randn(count, 16, 16, generator=generator)
    parts = random_split(TensorDataset(images[:, None], labels), [0.4, 0.3, 0.3], generator)
    train, validation, test = (DataLoader(part, 16, shuffle=True) for part in parts)
    return train, validation, test


def main(folder: Path) -> None:
    """Search, retrain, evaluate, compare, save, export."""
    torch.manual_seed(0)
    train, validation, test = data()
    run = dnas.Run(folder / "run")
    found = dnas.search(Net(), train, validation, task=TASK, settings=dnas.SearchSettings(epochs=6), run=run)
    print("kept:", dict(found.architecture.decisions))

    settings = dnas.RetrainSettings(epochs=8, weights=dnas.WeightSGD(lr=dnas.Constant(0.2)))
    retraining = run.child("retrain")
    network = dnas.retrain(found.network(), train, task=TASK, settings=settings, run=retraining, validation=validation)
    measured = dnas.evaluate(network, test, task=TASK)
    print(f"test: mIoU {measured.value('miou'):.1%}, {measured.value('pixel_accuracy'):.1%} of the pixels that count")
    print(dnas.baseline(Net, train, validation, test, run=run, task=TASK, settings=settings, num=3))

    dnas.save(network, found.architecture, folder / "model")
    example, _ = next(iter(test))
    for file in dnas.export(network, example, folder / "export", architecture=found.architecture):
        print(f"{file.format}: {file.path.name}, differs from PyTorch by {file.deviation:.1e}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
