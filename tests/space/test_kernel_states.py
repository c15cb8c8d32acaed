"""Cells with dense convolutions on compiled kernels equal the per-edge cells."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dnas.core.cell import Cell
from dnas.core.mixture import Mixture
from dnas.searching.supernet import Supernet
from dnas.space.kernel_states import MOST_CHANNELS, KernelStackedCell, KernelStates
from dnas.space.stacked import StackedCell
from dnas.system.threads import num_threads
from tests.support.cell_forms import after_twenty_steps, assert_all_close
from tests.support.stacked_cells import (
    ACTIVE,
    F64,
    HARD,
    PRUNED,
    derivatives,
    images,
    mixtures,
    stacked_cells,
)

pytest.importorskip("numba")

# With vectors of eight numbers, and in float64, these channels take whole vectors, pairs of them and a rest.
CHANNELS = 12


@pytest.mark.parametrize("edge_weights", [False, True], ids=["no edge weights", "edge weights"])
@pytest.mark.parametrize("active", ACTIVE)
def test_values_and_all_derivatives_equal_those_of_the_edges(active, edge_weights: bool):
    plain, other = stacked_cells(KernelStackedCell, channels=CHANNELS, edge_weights=edge_weights)
    x = images(CHANNELS, size=5, channels_last=edge_weights)
    expected = derivatives(plain, x, mixtures(plain, active), second=True)
    assert_all_close(derivatives(other, x, mixtures(other, active), second=True), expected)
    # First gradients take another way where no second ones follow.
    assert_all_close(derivatives(other, x, mixtures(other, active)), expected[: 1 + len(expected) // 2])


@pytest.mark.parametrize("kind", [StackedCell, KernelStackedCell])
def test_values_that_are_not_drawn_are_added(kind: type[StackedCell]):
    plain, other = stacked_cells(kind, channels=CHANNELS if kind is KernelStackedCell else 4)
    x = images(plain.operations[0][3].conv.weight.shape[0])  # type: ignore[index, union-attr, arg-type]
    found = []
    for cell in (plain, other):
        bound = {name: replace(mixture, adds_inactive=True) for name, mixture in mixtures(cell, HARD).items()}
        found.append(derivatives(cell, x, bound, second=True))
    assert_all_close(found[1], found[0])


def test_several_threads_compute_what_one_does():
    _, other = stacked_cells(KernelStackedCell, channels=CHANNELS)
    one = derivatives(other, images(CHANNELS), mixtures(other))
    with num_threads(2):
        assert_all_close(derivatives(other, images(CHANNELS), mixtures(other)), one, 1e-12)


def test_gradients_that_nobody_needs_are_left_out_and_the_others_are_the_same():
    found = []
    for cell in stacked_cells(KernelStackedCell, channels=CHANNELS):
        bound = mixtures(cell, PRUNED)
        cell.requires_grad_(False).bind(bound)
        found.append(torch.autograd.grad((cell(images(CHANNELS)) ** 3).sum(), bound["cell"].values))
    assert_all_close(found[1], found[0])


def test_a_node_that_nothing_enters_is_zero():
    _, other = stacked_cells(KernelStackedCell, channels=CHANNELS)
    other.bind({"cell": Mixture(torch.zeros(other.decision.shape, dtype=F64), ((0,),) * 6)})
    assert torch.equal(other(images(CHANNELS)), torch.zeros_like(images(CHANNELS)))


def test_a_value_that_is_not_finite_stays_so():
    _, other = stacked_cells(KernelStackedCell, channels=CHANNELS)
    x = images(CHANNELS)
    x[0, 0, 0, 0] = torch.nan
    assert other(x).isnan().any()


class OneCell(nn.Module):
    """A supernet of one cell, all of whose channels take the same vectors."""

    def __init__(self, cell: Cell):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1, dtype=F64)
        self.cell = cell
        self.classifier = nn.Linear(CHANNELS, 3, dtype=F64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.cell(self.stem(x)).mean((2, 3)))


def test_twenty_steps_of_a_search_are_those_of_the_edges():
    ends = [
        after_twenty_steps(Supernet(OneCell(cell)), 6, 3)
        for cell in stacked_cells(KernelStackedCell, channels=CHANNELS)
    ]
    assert_all_close(ends[1], ends[0])


@pytest.mark.parametrize(
    "x",
    [
        torch.empty(2, 6, 4, 4),
        torch.empty(2, 2 * MOST_CHANNELS, 4, 4),
        torch.empty(2, 8, 4, 3),
        torch.empty(2, 8, 4, 4, dtype=torch.bfloat16),
        torch.empty(2, 8, 4, 4, device="meta"),
    ],
    ids=["6 channels", "many channels", "3 pixels wide", "bfloat16", "another device"],
)
def test_what_has_no_kernel_is_left_to_the_usual_operations(x: torch.Tensor):
    assert not KernelStates.takes(x)


def test_cells_with_other_operations_or_hooks_compute_as_usual():
    plain, other = stacked_cells(KernelStackedCell, channels=8)
    seen: list[torch.nn.Module] = []
    conv = other.operations[2][3].conv  # type: ignore[index, union-attr]
    conv.register_forward_hook(lambda module, *_: seen.append(module))  # type: ignore[union-attr]
    assert_close(other(images(8)), plain(images(8)), rtol=0, atol=1e-12)
    assert seen == [conv]
