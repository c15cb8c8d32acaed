"""Cells of NAS-Bench-201 in a stacked form beside the per-edge ones, their mixtures and derivatives."""

import copy

import pytest
import torch
from torch import Tensor

from dnas.core.cell import Cell
from dnas.core.mixture import Mixture
from dnas.space.nasbench201 import CANDIDATES, EDGES, NB201_SEARCH, OUTPUT
from dnas.space.ops import operation
from dnas.space.stacked import StackedCell
from tests.support.cell_forms import second_derivatives

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
    return [result, *first, *second_derivatives(first, outer)]


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
