"""A recurrent choice on packed sequences of different lengths: whether marks or gaps are in the majority.

ONNX and torch.export take no packed sequences, so the trained network is exported as a state dict alone.

    python examples/recurrent.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import dnas

TASK = dnas.Classification()
Batch = tuple[PackedSequence, Tensor]


class Net(nn.Module):
    """A recurrent layer to be chosen; each candidate gives the same pair (outputs, last state)."""

    def __init__(self) -> None:
        super().__init__()
        layers = {
            "tanh": nn.RNN(2, 16),
            "relu": nn.RNN(2, 16, nonlinearity="relu"),
            "gru": nn.GRU(2, 16),
        }
        self.layer = dnas.Choice("layer", layers)
        self.head = nn.Linear(16, 2)

    def forward(self, sequences: PackedSequence) -> Tensor:
        _, last = self.layer(sequences)
        return self.head(last[0])


def data() -> tuple[list[Batch], list[Batch], list[Batch]]:
    """Training, validation and test part, as lists of batches of 32 sequences of 3 to 8 steps."""
    generator = torch.Generator().manual_seed(0)

    def batch() -> Batch:
        lengths = torch.randint(3, 9, (32,), generator=generator)
        marks = [torch.randint(2, (int(length),), generator=generator) for length in lengths]
        sequences = [nn.functional.one_hot(one, 2).float() for one in marks]
        return pack_sequence(sequences, enforce_sorted=False), torch.stack(
            [(one.float().mean() > 0.5).long() for one in marks]
        )

    return [batch() for _ in range(10)], [batch() for _ in range(8)], [batch() for _ in range(6)]


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
    print(f"test: {dnas.evaluate(network, test, task=TASK).top1:.1%} right")
    print(dnas.baseline(Net, train, validation, test, run=run, task=TASK, settings=settings, num=2))

    dnas.save(network, found.architecture, folder / "model")
    sequences, _ = test[0]
    formats = ("state_dict",)
    for file in dnas.export(network, sequences, folder / "export", formats=formats, architecture=found.architecture):
        print(f"{file.format}: {file.path.name}, differs from PyTorch by {file.deviation:.1e}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
