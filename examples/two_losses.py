"""A dict in, a dict out, two losses: which digit an image shows, and how dark it was before it was normalised.

python examples/two_losses.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import dnas

Batch = tuple[dict[str, Tensor], dict[str, Tensor]]


class Net(nn.Module):
    """One body with a kernel size to be chosen, and two heads."""

    def __init__(self) -> None:
        super().__init__()
        kernels = {f"{k}x{k}": nn.Conv2d(1, 8, k, padding=k // 2) for k in (1, 3, 5)}
        self.body = dnas.Choice("kernel", kernels)
        self.act = dnas.Choice("activation", {"relu": nn.ReLU(), "tanh": nn.Tanh()})
        self.digit, self.ink = nn.Linear(8 * 16, 10), nn.Linear(8 * 16 + 1, 1)

    def forward(self, image: Tensor, contrast: Tensor) -> dict[str, Tensor]:
        features = F.avg_pool2d(self.act(self.body(image)), 2).flatten(1)
        return {"digit": self.digit(features), "ink": self.ink(torch.cat([features, contrast], dim=1))}


def losses(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Named terms, which are added up and logged by name."""
    return {
        "digit": F.cross_entropy(outputs["digit"], targets["digit"]),
        "ink": F.mse_loss(outputs["ink"], targets["ink"]),
    }


def right(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    """1 for each digit that is recognised."""
    return (outputs["digit"].argmax(1) == targets["digit"]).double()


def ink_error(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    """Absolute error of the ink of each image."""
    return (outputs["ink"] - targets["ink"]).abs().squeeze(1)


# The first metric decides which network is best.
TASK = dnas.OwnTask(losses, {"right": dnas.Metric(right, "higher"), "ink error": dnas.Metric(ink_error, "lower")})


def data() -> tuple[list[Batch], list[Batch], list[Batch]]:
    """Training, validation and test part, as lists of batches."""
    pixels, digits = (torch.tensor(array) for array in load_digits(return_X_y=True))
    images = pixels.float().reshape(-1, 1, 8, 8) / 16
    ink, contrast = images.mean((1, 2, 3))[:, None], images.std((1, 2, 3))[:, None]
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    batches = [
        (
            {"image": (images[some] - ink[some][..., None, None]) / contrast[some][..., None, None],
             "contrast": contrast[some]},
            {"digit": digits[some], "ink": ink[some]},
        )
        for some in order[:1280].split(64)
    ]  # fmt: skip
    return batches[:8], batches[8:14], batches[14:]


def main(folder: Path) -> None:
    """Search, retrain, evaluate, compare, save, export."""
    torch.manual_seed(0)
    train, validation, test = data()
    run = dnas.Run(folder / "run")
    found = dnas.search(Net(), train, validation, task=TASK, settings=dnas.SearchSettings(epochs=6), run=run)
    print("kept:", dict(found.architecture.decisions))

    settings = dnas.RetrainSettings(epochs=6)
    retraining = run.child("retrain")
    network = dnas.retrain(found.network(), train, task=TASK, settings=settings, run=retraining, validation=validation)
    measured = dnas.evaluate(network, test, task=TASK)
    print(f"test: {measured.value('right'):.1%} of the digits, ink to {measured.value('ink error'):.4f}")
    print(dnas.baseline(Net, train, validation, test, run=run, task=TASK, settings=settings, num=3))

    dnas.save(network, found.architecture, folder / "model")
    inputs, _ = test[0]
    for file in dnas.export(network, inputs, folder / "export", architecture=found.architecture):
        print(f"{file.format}: {file.path.name}, differs from PyTorch by {file.deviation:.1e}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
