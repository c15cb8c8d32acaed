"""Cells of NAS-Bench-201 in a stacked form beside the per-edge ones, their mixtures and derivatives."""

import copy
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dnas.core.cell import Cell
from dnas.core.mixture import Mixture
from dnas.space.nasbench201 import CANDIDATES, EDGES, NB201_SEARCH, OUTPUT
from dnas.space.ops import operation
from dnas.space.stacked import StackedCell

F64 = torch.float64


def stacked_cells(
    kind: type[StackedCell] = StackedCell, *, channels: int = 4, edge_weights: bool = False
) -> tuple[Cell, StackedCell]:
    """A per-edge and a stacked cell of equal weights in float64."""
    torch.manual_seed(0)
    operations = [{name: operation(name, channels, 1, NB201_SEARCH) for name in CANDIDATES} for _ in EDGES]
    plain = Cell("cell", EDGES, operations, num_inputs=1, output=OUTPUT, edge_weights=edge_weights)
    stacked = kind("cell", EDGES, operations, num_inputs=1, output=OUTPUT, edge_weights=edge_weights)
    return plain.double(), copy.deepcopy(stacked).double()


def images(channels: int = 4, size: int = 6, *, channels_last: bool = True) -> Tensor:
    x = torch.randn(3, channels, size, size + 1, dtype=F64, generator=torch.Generator().manual_seed(1))
    return x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def mixtures(cell: Cell, active: tuple[tuple[int, ...], ...] | None = None) -> dict[str, Mixture]:
    """Random values, 0 where a candidate is not active; they take gradients."""
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(cell.decision.shape, dtype=F64, generator=generator)
    if active is not None:
        mask = torch.zeros_like(values)
        for edge, row in enumerate(active):
            mask[edge, list(row)] = 1.0
        values = values * mask
    found = {"cell": Mixture(values.requires_grad_(), active)}
    if cell.edge_decision is not None:
        edges = torch.rand(len(EDGES), dtype=F64, generator=generator)
        found[cell.edge_decision.name] = Mixture(edges.requires_grad_())
    return found


def derivatives(cell: Cell, x: Tensor, bound: dict[str, Mixture], *, second: bool = False) -> list[Tensor]:
    """The result, the gradients of a function of it, and those of a product of these gradients with a fixed vector."""
    cell.bind(bound)
    x = x.detach().requires_grad_()
    result = cell(x)
    weights = [weight for weight in cell.parameters() if weight.requires_grad]
    outer = [x, *weights, *(mixture.values for mixture in bound.values())]
    first = torch.autograd.grad((result**3).mean(), outer, create_graph=second, materialize_grads=True)
    if not second:
        return [result, *first]
    generator = torch.Generator().manual_seed(3)
    vectors = [torch.randn(gradient.shape, generator=generator, dtype=F64) for gradient in first]
    product = torch.stack([(g * v).sum() for g, v in zip(first, vectors, strict=True)]).sum()
    return [result, *first, *torch.autograd.grad(product, outer, materialize_grads=True)]


def assert_all_close(found: Iterable[Tensor], expected: Iterable[Tensor], tolerance: float = 1e-10) -> None:
    """Each tensor to `tolerance` of its largest entry; gradients that are 0 by symmetry have none."""
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        scale = max(float(b.detach().abs().max()), 1e-3)
        assert_close(a, b, rtol=0, atol=tolerance * scale, msg=lambda text, number=number: f"{number}: {text}")


ALL = ((0, 1, 2, 3, 4),) * 6
PRUNED = ((1, 2), (3, 4), (0, 2, 3), (2,), (0, 1), (2, 3, 4))
HARD = ((3,), (2,), (4,), (1,), (3,), (2,))
CHAIN = ((3,), (0,), (2,), (0,), (0,), (3,))
DEAD_END = ((3,), (2,), (0,), (1,), (0,), (2,))
ACTIVE = [
    pytest.param(None, id="soft"),
    pytest.param(ALL, id="all"),
    pytest.param(PRUNED, id="pruned"),
    pytest.param(HARD, id="hard"),
    pytest.param(CHAIN, id="one path"),
    pytest.param(DEAD_END, id="a state that feeds nothing"),
]
