"""The problem of `method_support` as one of classes, for methods that choose by the accuracy of the supernet.

y (batch, 4) are the scores of four classes and L is the cross entropy. Nothing below 'the formulas' uses dnas.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dnas import Batch, CellArchitecture, SearchResult, SearchSettings, Supernet, search
from tests.support.method import SIZE, STEPS, Net, grad, initial_alphas, initial_weights

__all__ = ["CLASS_TRAIN", "CLASS_VAL", "accuracy", "class_loss", "class_search", "grad", "kept"]


def class_batches(seed: int, count: int) -> list[Batch]:
    """Three batches; the class is what the problem with scale on edge 0 and tanh on edge 1 says, with noise."""
    generator = torch.Generator().manual_seed(seed)
    w = initial_weights()

    def draw() -> Tensor:
        return torch.randn(count, SIZE, generator=generator, dtype=torch.float64)

    def teacher(x: Tensor) -> Tensor:
        return w["a0"] * x + torch.tanh(w["b1"] * x * w["u"])

    return [Batch(x, (teacher(x) + 0.2 * draw()).argmax(1)) for x in (draw() for _ in range(STEPS))]


CLASS_TRAIN, CLASS_VAL = class_batches(5, 20), class_batches(6, 40)


def class_search(settings: SearchSettings) -> SearchResult:
    """The result of three search steps and of what the discretization does."""
    supernet = Supernet(Net(initial_weights()), nn.functional.cross_entropy)
    with torch.no_grad():
        supernet.alphas["cell"].copy_(initial_alphas()["cell"])
    return search(supernet, CLASS_TRAIN, CLASS_VAL, settings=settings)


def kept(result: SearchResult) -> tuple[str, ...]:
    """The operations on the two edges."""
    cell = result.architecture.decisions["cell"]
    assert isinstance(cell, CellArchitecture)
    assert [(edge.source, edge.target) for edge in cell.edges] == [(0, 2), (1, 2)]
    return tuple(edge.operation for edge in cell.edges)


# ---- the formulas ----------------------------------------------------------------------------------------------------


def scores(w: dict[str, Tensor], m: Tensor, x: Tensor) -> Tensor:
    """y for a mixture m (2, 3)."""
    y = torch.zeros_like(x)
    for e, state in enumerate((x, x * w["u"])):
        y = y + m[e, 0] * state + m[e, 1] * w[f"a{e}"] * state + m[e, 2] * torch.tanh(w[f"b{e}"] * state)
    return y


def class_loss(w: dict[str, Tensor], m: Tensor, batch: Batch) -> Tensor:
    """-mean log softmax(y) at the right class."""
    log_p = scores(w, m, batch.inputs).log_softmax(1)
    return -log_p[torch.arange(len(log_p)), batch.targets].mean()


def accuracy(w: dict[str, Tensor], m: Tensor, batches: Sequence[Batch] = tuple(CLASS_VAL)) -> float:
    """The share of right first guesses on the validation half."""
    right = [scores(w, m, batch.inputs).argmax(1) == batch.targets for batch in batches]
    return torch.cat(right).double().mean().item()
