"""Cells on compiled kernels equal the per-edge cells: values, all gradients, second derivatives, whole searches."""

import copy

import pytest
import torch
from torch import Tensor, nn

from dnas.core.cell import Cell
from dnas.method.relaxation import GumbelSoftmax, Relaxation, Softmax
from dnas.space import DartsSpace, NasBench201Space
from dnas.space.base import Space
from dnas.space.fused import unfuse
from dnas.space.kernel_cells import KernelCell, KernelEdgeCell, with_kernels
from dnas.space.kernel_states import KernelStackedCell
from dnas.space.kernel_sum import KernelSum
from dnas.system.threads import num_threads
from tests.support.cell_forms import (
    after_twenty_steps,
    assert_all_close,
    assert_computes_only_what_is_active,
    batch,
    derivatives,
    supernets,
)

pytest.importorskip("numba")

DARTS = DartsSpace()
PARTIAL = DartsSpace(nodes=2, edge_weights=True, partial_channels=2)


@pytest.mark.parametrize("size", [8, 7])
@pytest.mark.parametrize("relaxation", [Softmax(), GumbelSoftmax(hard=True)], ids=["softmax", "hard"])
@pytest.mark.parametrize(("space", "channels"), [(DARTS, 8), (PARTIAL, 48)], ids=["darts", "partial"])
def test_value_and_all_gradients_equal_those_of_the_edges(
    space: DartsSpace, channels: int, relaxation: Relaxation, size: int
):
    plain, other = supernets(space, with_kernels, channels=channels)
    expected = derivatives(plain, relaxation, batch(size), second=False)
    assert_all_close(derivatives(other, relaxation, batch(size), second=False), expected, 1e-10)


def test_second_derivatives_equal_those_of_the_edges():
    plain, other = supernets(PARTIAL, with_kernels, channels=16)
    expected = derivatives(plain, Softmax(), batch(), second=True)
    assert_all_close(derivatives(other, Softmax(), batch(), second=True), expected, 1e-10)


def test_several_threads_compute_what_one_does():
    _, other = supernets(DARTS, with_kernels, channels=8)
    one = derivatives(other, Softmax(), batch(images=3), second=False)
    with num_threads(2):
        assert_all_close(derivatives(other, Softmax(), batch(images=3), second=False), one, 1e-12)


def test_twenty_steps_of_a_search_are_those_of_the_edges():
    """In the alphas' steps weights have no gradients, and the first cell's inputs neither."""
    both = supernets(DartsSpace(nodes=1), with_kernels, cells=3, channels=8)
    ends = [after_twenty_steps(supernet, 8, 4) for supernet in both]
    assert_all_close(ends[1], ends[0], 1e-10)


def test_in_float32_the_error_is_near_that_of_the_edges():
    """With 12 channels, whose vectors do not fill a register."""
    exact = DARTS._searchable_cell(12, reduction=True).double()
    torch.manual_seed(0)
    images = torch.randn(8, 12, 12, 12, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    results = []
    for cell, dtype in (
        (exact, torch.float64),
        *((form(copy.deepcopy(exact)), torch.float32) for form in (nn.Identity(), with_kernels)),
    ):
        x = images.to(dtype).requires_grad_()
        result = cell.to(dtype)(x, x)
        results.append((result.detach(), *torch.autograd.grad(result.square().sum(), x)))
    for expected, usual, found in zip(*results, strict=True):
        error = (found - expected).abs().max() / expected.abs().max()
        assert error < max(1e-5, 3 * float((usual - expected).abs().max() / expected.abs().max()))


def test_a_hard_sample_computes_only_what_is_active():
    cell = with_kernels(DARTS._searchable_cell(8, reduction=False)).double()
    assert isinstance(cell, KernelCell)
    assert_computes_only_what_is_active(cell, 8)


def test_values_that_are_not_finite_stay_so():
    """Comparisons with NaN are false, so that a ReLU written carelessly would hide it."""
    cell = with_kernels(DARTS._searchable_cell(8, reduction=False)).double()
    images = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    images[0, 0, 0, 0] = torch.nan
    assert cell(images, images).isnan().any()


@pytest.mark.parametrize(
    ("x", "size"),
    [
        (torch.empty(2, 6, 4, 4), 3),
        (torch.empty(2, 8, 4, 4), 7),
        (torch.empty(2, 8, 4, 4, dtype=torch.bfloat16), 3),
        (torch.empty(2, 8, 4, 4, device="meta"), 3),
    ],
    ids=["6 channels", "7x7", "bfloat16", "another device"],
)
def test_what_has_no_kernel_is_left_to_the_edges(x: Tensor, size: int):
    assert not KernelSum.takes(x, [torch.empty(8, 1, size, size), torch.empty(8, 8, 1, 1)])


@pytest.mark.parametrize(
    ("space", "kind", "count"), [(PARTIAL, KernelEdgeCell, 2), (NasBench201Space(), KernelStackedCell, 6)]
)
def test_unfuse_gives_the_cells_back(space: Space, kind: type[Cell], count: int):
    model = space.model(channels=16, cells=2, num_classes=3)
    before, weights = [type(module) for module in model.modules()], dict(model.named_parameters())
    with_kernels(model)
    assert sum(isinstance(module, kind) for module in model.modules()) == count
    assert all(parameter is weights[name] for name, parameter in model.named_parameters())
    assert [type(module) for module in unfuse(model).modules()] == before
