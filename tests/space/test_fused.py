"""Fused cells equal the per-edge cells, in values and in first and second derivatives."""

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.cell import Cell
from dnas.core.choice import Choice
from dnas.core.derive import derive
from dnas.core.schedule import Linear
from dnas.method.hypergradient import ExactProduct, FiniteDifference, FirstOrder, Hypergradient, OneStep
from dnas.method.relaxation import GumbelSoftmax, Relaxation, Softmax
from dnas.searching.search_step import search_step
from dnas.searching.supernet import Supernet
from dnas.space import DartsSpace, NasBench201Space
from dnas.space.base import Space
from dnas.space.fused import FusedCell, FusedEdgeCell, fuse, unfuse
from dnas.space.node_sum import NodeSum, Round, Term, plain_sum
from tests.support.cell_forms import (
    assert_all_close,
    assert_computes_only_what_is_active,
    batch,
    derivatives,
    supernets,
)

DARTS = DartsSpace()
EDGE_WEIGHTS = DartsSpace(nodes=2, edge_weights=True)
WIDE = DartsSpace(nodes=1, candidates=("skip_connect", "sep_conv_7x7", "conv_7x1_1x7", "nor_conv_3x3"))
NB201 = NasBench201Space()
PARTIAL = DartsSpace(nodes=2, edge_weights=True, partial_channels=2)


@pytest.mark.parametrize("size", [8, 7])
@pytest.mark.parametrize("relaxation", [Softmax(), GumbelSoftmax(hard=True)], ids=["softmax", "hard"])
@pytest.mark.parametrize(
    "space", [DARTS, EDGE_WEIGHTS, WIDE, NB201, PARTIAL], ids=["darts", "edges", "wide", "nb201", "partial"]
)
def test_value_and_all_gradients_equal_those_of_the_edges(space: Space, relaxation: Relaxation, size: int):
    plain, fused = supernets(space, fuse, cells=2 if isinstance(space, DartsSpace) else 1)
    expected = derivatives(plain, relaxation, batch(size), second=False)
    assert_all_close(derivatives(fused, relaxation, batch(size), second=False), expected, 1e-10)


@pytest.mark.parametrize("space", [EDGE_WEIGHTS, NB201, PARTIAL], ids=["darts", "nb201", "partial"])
def test_second_derivatives_equal_those_of_the_edges(space: Space):
    plain, fused = supernets(space, fuse, cells=2 if isinstance(space, DartsSpace) else 1)
    expected = derivatives(plain, Softmax(), batch(), second=True)
    assert_all_close(derivatives(fused, Softmax(), batch(), second=True), expected, 1e-10)


def term(rounds: Sequence[Round]) -> tuple[tuple[Term, ...], list[Tensor]]:
    """One separable term of 3 channels and 3x3 kernels, and what `NodeSum` takes: values, images, weights."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 6, 6, dtype=torch.float64).relu()
    weights = [torch.randn(shape, dtype=torch.float64) for _ in rounds for shape in ((3, 1, 3, 3), (3, 3, 1, 1))]
    tensors = [torch.randn(1, 1, dtype=torch.float64), images, *weights]
    return (Term(0, 0, 0, tuple(rounds), 1e-5),), [tensor.requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("rounds", [[Round(1, 2)], [Round(2, 2)], [Round(2, 1), Round(1, 1)]], ids=str)
def test_the_moments_of_a_1x1_convolution_follow_from_those_of_its_input(rounds: Sequence[Round]):
    terms, tensors = term(rounds)
    found, expected = NodeSum.apply(terms, 1, *tensors), plain_sum(terms, 1, *tensors)
    gradient = torch.randn_like(expected)
    assert_close(found, expected, rtol=0, atol=1e-12)
    assert_all_close(
        torch.autograd.grad(found, tensors, gradient), torch.autograd.grad(expected, tensors, gradient), 1e-11
    )


def test_second_derivatives_of_a_term_agree_with_finite_differences():
    terms, tensors = term([Round(1, 1)])
    assert torch.autograd.gradgradcheck(lambda *tensors: NodeSum.apply(terms, 1, *tensors), tensors)


def test_gradients_are_the_same_where_the_weights_need_none():
    terms, (value, images, *weights) = term([Round(1, 1), Round(1, 1)])
    weights = [weight.detach() for weight in weights]
    found = torch.autograd.grad((NodeSum.apply(terms, 1, value, images, *weights) ** 2).sum(), [value, images])
    expected = torch.autograd.grad((plain_sum(terms, 1, value, images, *weights) ** 2).sum(), [value, images])
    assert_all_close(found, expected, 1e-11)


def test_a_hard_sample_computes_only_what_is_active():
    cell = fuse(DARTS._searchable_cell(4, reduction=False)).double()
    assert isinstance(cell, FusedCell)
    assert_computes_only_what_is_active(cell, 4)


def test_a_one_hot_mixture_computes_what_the_derived_network_computes():
    _, fused = supernets(DARTS, fuse, cells=3)
    architecture = DARTS.random(torch.Generator().manual_seed(4))
    data = batch()
    found = fused.forward(fused.weights(), fused.one_hot(architecture), data)
    assert_close(found, derive(fused.model, architecture)(data.inputs), rtol=0, atol=1e-12)


def test_states_of_both_forms_load_into_each_other():
    plain, fused = supernets(EDGE_WEIGHTS, fuse)
    other = Supernet(EDGE_WEIGHTS.model(channels=4, cells=2, num_classes=3), seed=5).to(dtype=torch.float64)
    other.load_state_dict(fused.state_dict())
    fused.load_state_dict(plain.state_dict())
    mixtures = other.expected(Softmax(), torch.tensor(0.0))
    outputs = [net.forward(net.weights(), mixtures, batch()) for net in (plain, fused, other)]
    assert_close(outputs[1], outputs[0])
    assert torch.equal(outputs[2], outputs[0])


def test_unfuse_gives_the_cells_back_with_their_operations():
    model = EDGE_WEIGHTS.model(channels=4, cells=2, num_classes=3)
    before = {name: type(module) for name, module in model.named_modules()}
    weights = dict(model.named_parameters())
    fuse(model)
    assert sum(isinstance(module, FusedCell) for module in model.modules()) == 2
    unfuse(model)
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert all(parameter is weights[name] for name, parameter in model.named_parameters())


def test_a_cell_used_in_two_places_stays_one_and_other_choices_stay_as_they_are():
    cell = DARTS._searchable_cell(4, reduction=False)
    choice = Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()})
    model = fuse(nn.ModuleList([cell, choice, cell]))
    assert isinstance(model[0], FusedCell)  # type: ignore[index]
    assert model[0] is model[2] and model[1] is choice  # type: ignore[index]


def test_a_channel_without_variance_gives_no_nan():
    cell = fuse(DARTS._searchable_cell(4, reduction=False))
    images = torch.randn(2, 4, 6, 6)
    images[:, 0] = -1.0  # nothing is left of it after ReLU
    images.requires_grad_()
    (gradient,) = torch.autograd.grad((cell(images, images) ** 2).sum(), images)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_in_float32_the_error_is_near_that_of_the_edges(offset: float):
    """`offset` lifts the states over the ReLU, so that their mean is three times their deviation."""
    exact = DARTS._searchable_cell(16, reduction=False).double()
    plain, fused = copy.deepcopy(exact).float(), fuse(copy.deepcopy(exact).float())
    torch.manual_seed(0)
    images = (torch.randn(8, 16, 12, 12, dtype=torch.float64) + offset).contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(8, 64, 12, 12, dtype=torch.float64)

    def result_and_gradient(cell: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        x = images.to(dtype).requires_grad_()
        result = cell(x, x)
        (found,) = torch.autograd.grad(result, x, gradient.to(dtype))
        return result.detach(), found

    expected = result_and_gradient(exact, torch.float64)

    def errors(cell: nn.Module) -> list[float]:
        found = result_and_gradient(cell, torch.float32)
        return [float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True)]

    (of_result, of_gradient), (bound_of_result, bound_of_gradient) = errors(fused), errors(plain)
    assert of_result < 3 * bound_of_result
    # A ReLU whose input rounds to the other side of 0 moves the gradient at that pixel, in either form.
    assert of_gradient < 3 * bound_of_gradient + 1e-3


@pytest.mark.parametrize(
    ("space", "relaxation", "hypergradient", "steps"),
    [
        pytest.param(DartsSpace(nodes=2), Softmax(), FirstOrder(), 20, id="darts"),
        pytest.param(DartsSpace(nodes=2), GumbelSoftmax(hard=True), FirstOrder(), 20, id="hard gumbel"),
        pytest.param(PARTIAL, Softmax(), FirstOrder(), 20, id="partial channels"),
        pytest.param(DartsSpace(nodes=2), Softmax(), OneStep(mixed=ExactProduct()), 5, id="exact second order"),
        pytest.param(DartsSpace(nodes=2), Softmax(), OneStep(mixed=FiniteDifference()), 3, id="finite difference"),
    ],
)
def test_a_search_follows_that_of_the_edges(
    space: Space, relaxation: Relaxation, hypergradient: Hypergradient, steps: int
):
    ends = []
    for supernet in supernets(space, fuse, cells=2):
        weight_optimizer = torch.optim.SGD(supernet.model.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)
        alpha_optimizer = torch.optim.Adam(supernet.alpha_parameters(), lr=3e-3, betas=(0.5, 0.999))
        generator = torch.Generator().manual_seed(6)
        for step in range(steps):
            train, val = (batch(8, 4, seed=10 * step + half) for half in (0, 1))
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
        ends.append(supernet.alphas)
    for name, alpha in ends[0].items():
        assert_close(ends[1][name], alpha, rtol=0, atol=1e-8)


def test_a_fused_model_keeps_only_the_states():
    """What autograd saves is far less than the tensors between the operations."""

    def saved(cell: nn.Module) -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        images = torch.randn(4, 4, 8, 8).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            result = cell(images, images)
        del result
        return sum(sizes.values())

    cell = DARTS._searchable_cell(4, reduction=False)
    assert isinstance(cell, Cell)
    plain = saved(cell)
    assert saved(fuse(cell)) < plain / 4


def test_partial_channels_are_fused_and_an_auxiliary_skip_stays_per_edge():
    partial = fuse(PARTIAL.model(channels=4, cells=2, num_classes=3))
    assert sum(isinstance(module, FusedEdgeCell) for module in partial.modules()) == 2
    before = PARTIAL.model(channels=4, cells=2, num_classes=3).state_dict()
    partial.load_state_dict(before)
    back = unfuse(partial)
    assert not any(isinstance(module, FusedEdgeCell) for module in back.modules())
    assert all(torch.equal(back.state_dict()[name], value) for name, value in before.items())
    skipping = fuse(DartsSpace(nodes=2, auxiliary_skip=Linear(1.0, 0.0)).model(channels=4, cells=2, num_classes=3))
    assert not any(isinstance(module, FusedCell | FusedEdgeCell) for module in skipping.modules())
