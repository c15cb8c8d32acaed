"""Stacked cells equal the per-edge cells, in values and in first and second derivatives."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.batch import Batch
from dnas.core.candidates import Zero
from dnas.core.cell import Cell
from dnas.core.derive import derive
from dnas.core.mixture import Mixture
from dnas.method.hypergradient import ExactProduct, FiniteDifference, FirstOrder, Hypergradient, OneStep
from dnas.method.relaxation import GumbelSoftmax, Relaxation, Softmax
from dnas.searching.search_step import search_step
from dnas.searching.supernet import Supernet
from dnas.space import NasBench201Space
from dnas.space.edges import EdgeSettings
from dnas.space.fused import fuse, unfuse
from dnas.space.nasbench201 import EDGES, NB201_SEARCH, _searchable_cell
from dnas.space.ops import EVALUATION, average3x3, operation
from dnas.space.stacked import StackedCell, StackedNorm, plain_norm
from tests.support.cell_forms import assert_all_close
from tests.support.stacked_cells import (
    ACTIVE,
    F64,
    HARD,
    derivatives,
    images,
    mixtures,
    stacked_cells,
)

SPACE = NasBench201Space()


@pytest.mark.parametrize("channels_last", [True, False], ids=["channels-last", "contiguous"])
@pytest.mark.parametrize("edge_weights", [False, True], ids=["no edge weights", "edge weights"])
@pytest.mark.parametrize("active", ACTIVE)
def test_values_and_all_derivatives_equal_those_of_the_edges(active, edge_weights: bool, channels_last: bool):
    plain, stacked = stacked_cells(edge_weights=edge_weights)
    x = images(channels_last=channels_last)
    expected = derivatives(plain, x, mixtures(plain, active), second=True)
    assert_all_close(derivatives(stacked, x, mixtures(stacked, active), second=True), expected)
    # First gradients take another way where no second ones follow.
    assert_all_close(derivatives(stacked, x, mixtures(stacked, active)), expected[: 1 + len(expected) // 2])


def test_without_a_mixture_all_candidates_weigh_the_same():
    plain, stacked = stacked_cells()
    assert_close(stacked(images()), plain(images()), rtol=0, atol=1e-12)


def test_a_node_that_nothing_enters_is_zero():
    _, stacked = stacked_cells()
    stacked.bind({"cell": Mixture(torch.zeros(stacked.decision.shape, dtype=F64), ((0,),) * 6)})
    assert torch.equal(stacked(images()), torch.zeros_like(images()))


def test_only_what_is_active_is_computed():
    _, stacked = stacked_cells()
    for edge, on_edge in enumerate(stacked.operations):
        for k, candidate in enumerate(on_edge):  # type: ignore[arg-type]
            if k not in HARD[edge]:
                for weight in candidate.parameters():
                    weight.data.fill_(torch.nan)
    stacked.bind(mixtures(stacked, HARD))
    assert stacked(images()).isfinite().all()


def test_a_frozen_weight_takes_part_and_gets_no_gradient():
    plain, stacked = stacked_cells()
    for cell in (plain, stacked):
        cell.operations[1][3].conv.weight.requires_grad_(False)  # type: ignore[index,union-attr]
        cell.operations[5][2].conv.weight.requires_grad_(False)  # type: ignore[index,union-attr]
    expected = derivatives(plain, images(), mixtures(plain), second=True)
    assert_all_close(derivatives(stacked, images(), mixtures(stacked), second=True), expected)
    (stacked(images()) ** 2).sum().backward()
    assert [name for name, weight in stacked.named_parameters() if weight.grad is None] == [
        "operations.1.3.conv.weight",
        "operations.5.2.conv.weight",
    ]


def test_gradients_of_the_mixture_are_the_same_where_neither_weights_nor_images_need_any():
    found = []
    for cell in stacked_cells():
        bound = mixtures(cell)
        cell.requires_grad_(False).bind(bound)
        found.append(torch.autograd.grad((cell(images()) ** 3).sum(), bound["cell"].values))
    assert_all_close(found[1], found[0])


class Scaled(nn.Module):
    """A candidate that cells know nothing about."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x.tanh()


def test_candidates_of_any_kind_are_computed_on_their_edges():
    torch.manual_seed(0)
    biased = operation("nor_conv_3x3", 4, 1, NB201_SEARCH)
    biased.conv = nn.Conv2d(4, 4, 3, padding=1)  # type: ignore[assignment]
    operations = [
        {
            "none": Zero(),
            "scaled": Scaled(),
            "affine": operation("nor_conv_3x3", 4, 1, EVALUATION),
            "sep": operation("sep_conv_3x3", 4, 1, NB201_SEARCH),
            "max": operation("max_pool_3x3", 4, 1, NB201_SEARCH),
            "conv": copy.deepcopy(biased) if edge == 1 else operation("nor_conv_3x3", 4, 1, NB201_SEARCH),
        }
        for edge in range(len(EDGES))
    ]
    plain, stacked = (
        kind("cell", EDGES, copy.deepcopy(operations), num_inputs=1, output=(1, 3)).double()
        for kind in (Cell, StackedCell)
    )
    expected = derivatives(plain, images(), mixtures(plain), second=True)
    assert_all_close(derivatives(stacked, images(), mixtures(stacked), second=True), expected)


def test_a_hook_on_a_convolution_fires():
    _, stacked = stacked_cells()
    seen: list[nn.Module] = []
    conv = stacked.operations[2][3].conv  # type: ignore[index,union-attr]
    conv.register_forward_hook(lambda module, *_: seen.append(module))  # type: ignore[union-attr]
    stacked(images())
    assert seen == [conv]


@pytest.mark.parametrize("stride", [1, 2])
def test_operations_of_a_stride_are_stacked(stride: int):
    torch.manual_seed(0)
    names = ("none", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    operations = [{name: operation(name, 4, stride, NB201_SEARCH) for name in names} for _ in range(2)]
    plain, stacked = (
        kind("cell", ((0, 1), (0, 2)), copy.deepcopy(operations), num_inputs=1, output=(1, 2)).double()
        for kind in (Cell, StackedCell)
    )
    expected = derivatives(plain, images(), mixtures(plain), second=True)
    assert_all_close(derivatives(stacked, images(), mixtures(stacked), second=True), expected)


def test_in_bfloat16_under_autocast_and_with_many_channels_the_cell_computes_its_edges():
    plain, stacked = stacked_cells(channels=16)
    assert torch.equal(stacked(images(16)), plain(images(16)))
    plain, stacked = stacked_cells()
    x = images().float()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(stacked.float()(x), plain.float()(x))
    assert torch.equal(stacked.bfloat16()(x.bfloat16()), plain.bfloat16()(x.bfloat16()))


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_norm_of_a_stack_is_batch_norm(channels_last: bool):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    ys = [
        (torch.randn(3, 6, 4, 5, dtype=F64, generator=generator) + 2).contiguous(memory_format=layout) for _ in range(2)
    ]
    scales = [torch.randn(2, dtype=F64, generator=generator) for _ in range(2)]
    tensors = [tensor.requires_grad_() for tensor in (*scales, *ys)]
    found, expected = StackedNorm.apply(1e-5, *tensors), plain_norm(1e-5, scales, ys)
    gradient = torch.randn(expected.shape, dtype=F64, generator=generator)
    assert_close(found, expected, rtol=0, atol=1e-12)
    assert_all_close(
        torch.autograd.grad(found, tensors, gradient), torch.autograd.grad(expected, tensors, gradient), 1e-12
    )
    assert torch.autograd.gradgradcheck(lambda *tensors: StackedNorm.apply(1e-5, *tensors), tensors)


def test_a_channel_without_variance_gives_no_nan():
    stacked = _searchable_cell(4, EdgeSettings())
    x = torch.randn(2, 4, 6, 6)
    x[:, 0] = -1.0  # nothing is left of it after ReLU
    for weight in stacked.parameters():
        weight.data[:, 1:] = 0
    x.requires_grad_()
    (gradient,) = torch.autograd.grad((stacked(x) ** 2).sum(), x)
    assert gradient.isfinite().all()


def test_one_pixel_has_no_batch_norm():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        _searchable_cell(4, EdgeSettings())(torch.randn(1, 4, 1, 1))


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_in_float32_the_error_is_near_that_of_the_edges(offset: float):
    """`offset` lifts the states over the ReLU, so that their mean is three times their deviation."""
    exact, stacked = stacked_cells(channels=8)
    x = torch.randn(16, 8, 12, 12, dtype=F64, generator=torch.Generator().manual_seed(0)) + offset
    gradient = torch.randn(16, 8, 12, 12, dtype=F64, generator=torch.Generator().manual_seed(1))

    def result_and_gradient(cell: nn.Module, dtype: torch.dtype) -> list[Tensor]:
        leaf = x.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
        result = cell(leaf)
        return [result.detach(), *torch.autograd.grad(result, leaf, gradient.to(dtype))]

    expected = result_and_gradient(exact, F64)

    def errors(cell: nn.Module) -> list[float]:
        found = result_and_gradient(cell, torch.float32)
        return [float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True)]

    (of_result, of_gradient), (bound_of_result, bound_of_gradient) = errors(stacked.float()), errors(exact.float())
    assert of_result < 3 * bound_of_result
    # A ReLU whose input rounds to the other side of 0 moves the gradient at that pixel, in either form.
    assert of_gradient < 3 * bound_of_gradient + 1e-3


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 3), (5, 6)])
def test_the_average_of_neighbours_is_that_of_torch(size: tuple[int, int]):
    x = torch.randn(2, 3, *size, dtype=F64, requires_grad=True)
    expected = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    found, gradient = average3x3(x, 1), torch.randn_like(expected)
    assert_close(found, expected, rtol=0, atol=1e-13)
    assert_close(
        torch.autograd.grad(found, x, gradient), torch.autograd.grad(expected, x, gradient), rtol=0, atol=1e-13
    )
    assert torch.autograd.gradgradcheck(lambda x: average3x3(x, 1) ** 2, x)


# In a supernet


def supernets() -> tuple[Supernet, Supernet]:
    """A per-edge and a stacked supernet in float64, of equal weights and alphas."""
    torch.manual_seed(0)
    stacked = SPACE.model(channels=4, cells=1, num_classes=3)
    plain = unfuse(fuse(copy.deepcopy(stacked)))
    return Supernet(plain).to(dtype=F64), Supernet(stacked).to(dtype=F64)


def batch(images: int = 4, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(images, 3, 8, 8, generator=generator, dtype=F64), torch.arange(images) % 3)


def test_the_space_has_stacked_cells_and_the_reference_has_none():
    plain, stacked = supernets()
    assert sum(type(module) is StackedCell for module in stacked.model.modules()) == 3
    assert sum(type(module) is Cell for module in plain.model.modules()) == 3
    assert list(plain.model.state_dict()) == list(stacked.model.state_dict())


def test_a_one_hot_mixture_computes_what_the_derived_network_computes():
    _, stacked = supernets()
    architecture = SPACE.random(torch.Generator().manual_seed(4))
    data = batch()
    found = stacked.forward(stacked.weights(), stacked.one_hot(architecture), data)
    assert_close(found, derive(stacked.model, architecture)(data.inputs), rtol=0, atol=1e-12)


def test_weights_of_a_call_stand_in_for_those_of_the_model():
    _, stacked = supernets()
    other = {name: weight.detach() * 0.5 + 0.1 for name, weight in stacked.weights().items()}
    mixture = stacked.expected(Softmax(), torch.tensor(0.0))
    found = stacked.forward(other, mixture, batch())
    stacked.model.load_state_dict(other, strict=False)
    assert torch.equal(found, stacked.forward(stacked.weights(), mixture, batch()))


@pytest.mark.parametrize(
    ("relaxation", "hypergradient", "steps"),
    [
        pytest.param(Softmax(), FirstOrder(), 20, id="darts"),
        pytest.param(GumbelSoftmax(hard=True), FirstOrder(), 20, id="hard gumbel"),
        pytest.param(Softmax(), OneStep(mixed=ExactProduct()), 4, id="exact second order"),
        pytest.param(Softmax(), OneStep(mixed=FiniteDifference()), 3, id="finite difference"),
    ],
)
def test_a_search_follows_that_of_the_edges(relaxation: Relaxation, hypergradient: Hypergradient, steps: int):
    ends = []
    for supernet in supernets():
        weight_optimizer = torch.optim.SGD(supernet.model.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)
        alpha_optimizer = torch.optim.Adam(supernet.alpha_parameters(), lr=3e-3, betas=(0.5, 0.999))
        generator = torch.Generator().manual_seed(6)
        for step in range(steps):
            train, val = (batch(seed=10 * step + half) for half in (0, 1))
            search_step(
                supernet,
                weight_batch=(train.inputs, train.targets),
                weight_optimizer=weight_optimizer,
                alpha_batch=(val.inputs, val.targets),
                alpha_optimizer=alpha_optimizer,
                relaxation=relaxation,
                hypergradient=hypergradient,
                generator=generator,
                clip=5.0,
            )
        ends.append(supernet.alphas["cell"])
    assert_close(ends[1], ends[0], rtol=0, atol=1e-8)
