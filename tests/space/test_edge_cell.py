"""Edges that do more than mix: the cell's equation, written out."""

import copy
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.batch import Batch
from dnas.core.candidates import Zero
from dnas.core.cell import Cell, PlainCell
from dnas.core.derive import derive
from dnas.core.mixture import Mixture
from dnas.core.progress import FollowsProgress, set_progress
from dnas.core.schedule import Constant, Linear, Schedule
from dnas.method.hypergradient import ExactProduct, FirstOrder, Hypergradient, OneStep
from dnas.method.hypergradient.randomness import repeatable
from dnas.method.relaxation import GumbelSoftmax, Softmax
from dnas.searching.search_step import search_step
from dnas.searching.supernet import Supernet
from dnas.space import DartsSpace, NasBench201Space, ReducedDartsSpace
from dnas.space.edge_cell import EdgeCell
from dnas.space.partial import PartialPlainCell

SMALL = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3")
CHANNELS = 4


def darts(**settings) -> DartsSpace:
    return DartsSpace(nodes=2, candidates=SMALL, **settings)


def nb201(**settings) -> NasBench201Space:
    return NasBench201Space(**settings)


EVERYTHING = {
    "edge_weights": True,
    "partial_channels": 2,
    "auxiliary_skip": Linear(1.0, 0.0),
    "drop_path": Constant(0.4),
}
SETTINGS: list[dict] = [
    {"partial_channels": 2},
    {"partial_channels": 2, "edge_weights": True},
    {"auxiliary_skip": Linear(1.0, 0.0)},
    {"auxiliary_skip": Linear(1.0, 0.0), "edge_weights": True},
    {"drop_path": Constant(0.4)},
    EVERYTHING,
]


def cells_of(model: nn.Module) -> list[EdgeCell]:
    return [module for module in model.modules() if isinstance(module, EdgeCell)]


def a_cell(space: DartsSpace | NasBench201Space, *, reduction: bool = False, progress: float = 0.25) -> EdgeCell:
    torch.manual_seed(0)
    model = space.model(channels=CHANNELS, cells=2, num_classes=3).double()
    set_progress(model, progress)
    return cells_of(model)[1 if reduction else 0]


def states_of(cell: EdgeCell, width: int, size: int = 6) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    shape = (3, width, size, size)
    return tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(cell.num_inputs)
    )


def written_out(
    cell: EdgeCell,
    mixture: Mixture,
    inputs: Sequence[Tensor],
    *,
    parts: int = 1,
    beta: float = 0.0,
    rate: float | None = None,
    edge_weights: Tensor | None = None,
) -> Tensor:
    """Each edge by itself, as in the docstring, with torch's own shuffle and masks drawn as the cell draws them."""
    edges = cell.decision.edges
    masks = torch.ones(len(edges), 1, 1, 1, 1, dtype=torch.float64)
    if rate is not None:
        masks = (torch.rand(len(edges), len(inputs[0]), 1, 1, 1) < 1 - rate).double() / (1 - rate)
    states = dict(enumerate(inputs))
    for edge, (source, target) in enumerate(edges):
        x = states[source]
        seen, others = x[:, : x.shape[1] // parts], x[:, x.shape[1] // parts :]
        stride = cell.strides[edge]
        mixed = torch.zeros_like(seen[:, :, ::stride, ::stride])
        for k in mixture.row(edge):
            mixed = mixed + mixture.values[edge, k] * cell.operations[edge][k](seen)  # type: ignore[index]
        if cell.auxiliary is not None:
            mixed = mixed + beta * cell.auxiliary[edge](seen)
        if stride == 2 and parts > 1:
            others = F.max_pool2d(others, 2, 2)
        term = nn.ChannelShuffle(parts)(torch.cat([mixed, others], 1)) if parts > 1 else mixed
        term = term * masks[edge]
        if edge_weights is not None:
            term = term * edge_weights[edge]
        if mixture.row(edge):
            states[target] = states[target] + term if target in states else term
    return torch.cat([states[index] for index in cell.decision.output], 1)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "+".join(settings))
@pytest.mark.parametrize(("space", "reduction"), [(darts, False), (darts, True), (nb201, False)])
def test_the_cell_is_its_equation_in_values_and_in_first_and_second_derivatives(space, reduction: bool, settings: dict):
    cell = a_cell(space(**settings), reduction=reduction)
    name = cell.decision.name
    values = torch.rand(cell.decision.shape, dtype=torch.float64, requires_grad=True)  # rows need not add up to 1
    weights = torch.rand(len(cell.decision.edges), dtype=torch.float64, requires_grad=True)
    inputs = states_of(cell, CHANNELS * 2 if reduction else CHANNELS)
    cell.bind({name: Mixture(values), f"{name}.edges": Mixture(weights)})
    weighed = bool(settings.get("edge_weights"))
    everything = (*inputs, values, *cell.parameters(), *((weights,) if weighed else ()))

    def derivatives(y: Tensor) -> list[Tensor]:
        generator = torch.Generator().manual_seed(2)
        scalar = (y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum()
        first = torch.autograd.grad(scalar, everything, create_graph=True)
        parts = [(part * torch.randn(part.shape, generator=generator, dtype=y.dtype)).sum() for part in first]
        return [y, *first, *torch.autograd.grad(torch.stack(parts).sum(), everything)]

    torch.manual_seed(5)
    expected = written_out(
        cell,
        Mixture(values),
        inputs,
        parts=settings.get("partial_channels", 1),
        beta=0.75,
        rate=0.4 if "drop_path" in settings else None,
        edge_weights=weights if weighed else None,
    )
    torch.manual_seed(5)
    got = cell(*inputs)
    assert_close(got, expected, rtol=0, atol=1e-12)
    for ours, theirs in zip(derivatives(got), derivatives(expected), strict=True):
        assert_close(ours, theirs, rtol=1e-10, atol=1e-10 * max(1.0, theirs.abs().max().item()))


@pytest.mark.parametrize("active", [((0,), (3,), (), (0,), (2, 3)), ((), (), (), (), ()), ((0,),) * 5])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("reduction", [False, True])
def test_an_edge_without_active_candidate_gives_nothing_and_one_with_none_alone_lets_the_others_pass(
    active, parts: int, reduction: bool
):
    cell = a_cell(darts(partial_channels=parts, auxiliary_skip=Linear(1.0, 0.0)), reduction=reduction)
    inputs = states_of(cell, CHANNELS * 2 if reduction else CHANNELS)
    values = torch.zeros(cell.decision.shape, dtype=torch.float64)
    for row, candidates in enumerate(active):
        values[row, list(candidates)] = 0.5
    mixture = Mixture(values, active)
    cell.bind({cell.decision.name: mixture})
    if any(active):
        assert_close(cell(*inputs), written_out(cell, mixture, inputs, parts=parts, beta=0.75), rtol=0, atol=1e-12)
    else:
        assert_close(cell(*inputs), torch.zeros_like(cell(*inputs)), rtol=0, atol=0)


def test_only_what_is_active_is_computed():
    space = darts(**EVERYTHING)
    net = Supernet(space.model(channels=CHANNELS, cells=2, num_classes=3))
    mixtures = net.sample(GumbelSoftmax(), torch.tensor(0.5), torch.Generator().manual_seed(0))
    called: set[nn.Module] = set()
    expected: set[nn.Module] = set()
    for cell in cells_of(net.model):
        for edge, operations in enumerate(cell.operations):
            for k, candidate in enumerate(operations):  # type: ignore[arg-type]
                convolutions = [module for module in candidate.modules() if isinstance(module, nn.Conv2d)]
                for convolution in convolutions:
                    convolution.register_forward_hook(lambda module, *_: called.add(module))
                if k in mixtures[cell.decision.name].row(edge):
                    expected.update(convolutions)
    with net.bound(mixtures) as model:
        model(torch.randn(2, 3, 8, 8))
    assert called == expected
    assert expected


# Where the extras are off


@pytest.mark.parametrize(
    "settings",
    [{"auxiliary_skip": Linear(1.0, 0.0)}, {"drop_path": Linear(0.5, 0.0)}, {"skip_dropout": Linear(0.5, 0.0)}],
)
@pytest.mark.parametrize("space", [darts, nb201])
def test_at_the_end_of_its_schedule_the_supernet_is_the_plain_one(space, settings: dict):
    special, plain = (
        Supernet(s.model(channels=CHANNELS, cells=2, num_classes=3)).to(dtype=torch.float64)
        for s in (space(**settings), space())
    )
    # The auxiliary skips of reduction cells have weights of their own.
    special.model.load_state_dict({**special.model.state_dict(), **plain.model.state_dict()})
    mixtures = plain.expected(Softmax(), torch.tensor(0.5))
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    with special.bound(mixtures) as model, plain.bound(mixtures) as expected:
        set_progress(model, 1.0)
        assert_close(model(images), expected(images), rtol=0, atol=1e-12)
        set_progress(model, 0.0)
        assert not torch.allclose(model(images), expected(images))


def test_drop_path_and_skip_dropout_are_off_in_eval_mode():
    space = darts(drop_path=Constant(0.5), skip_dropout=Constant(0.5))
    model = space.model(channels=CHANNELS, cells=2, num_classes=3)
    images = torch.randn(3, 3, 8, 8)
    assert not torch.allclose(model(images), model(images))
    model.eval()
    assert_close(model(images), model(images), rtol=0, atol=0)


def test_skip_dropout_follows_skip_connections_of_stride_1_only():
    model = darts(skip_dropout=Constant(0.5)).model(channels=CHANNELS, cells=2, num_classes=3)
    for cell in cells_of(model):
        for stride, operations in zip(cell.strides, cell.operations, strict=True):
            names = [type(candidate).__name__ for candidate in operations]  # type: ignore[union-attr]
            assert names == ["Zero", "Pool", "SkipDropout" if stride == 1 else "FactorizedReduce", "SepConv"]


# Derived networks


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("space", [darts, nb201, lambda **settings: ReducedDartsSpace(number=1, **settings)])
@pytest.mark.parametrize(
    "settings",
    [
        {"partial_channels": 2},
        {"partial_channels": 2, "edge_weights": True},
        {"auxiliary_skip": Linear(1.0, 0.0), "skip_dropout": Linear(0.5, 0.0), "drop_path": Linear(0.5, 0.0)},
        {"partial_channels": 4, "auxiliary_skip": Linear(1.0, 0.0), "drop_path": Linear(0.5, 0.0)},
    ],
    ids=lambda settings: "+".join(settings),
)
def test_a_one_hot_supernet_at_the_end_of_the_search_equals_the_derived_network(space, settings: dict, seed: int):
    net = Supernet(space(**settings).model(channels=8, cells=3, num_classes=3)).to(dtype=torch.float64)
    set_progress(net.model, 1.0)
    architecture = space(**settings).random(torch.Generator().manual_seed(seed))
    derived = derive(net.model, architecture)
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    with net.bound(net.one_hot(architecture)) as model:
        assert_close(derived(images), model(images), rtol=0, atol=1e-12)
    assert not any(isinstance(module, Cell | FollowsProgress) for module in derived.modules())
    kind = PartialPlainCell if "partial_channels" in settings else PlainCell
    assert any(isinstance(module, kind) for module in derived.modules())


@pytest.mark.parametrize("space", [darts, nb201])
def test_the_evaluation_network_does_not_depend_on_the_supernets_edges(space):
    architecture = space().random(torch.Generator().manual_seed(0))
    found = []
    for settings in ({}, EVERYTHING):
        torch.manual_seed(0)
        network = space(**settings).network(architecture, channels=CHANNELS, cells=2, num_classes=3)
        found.append(network.state_dict())
    assert list(found[0]) == list(found[1])
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


# The rest of dnas with such cells


def test_what_is_scheduled_is_one_buffer_each_and_no_state():
    special = darts(auxiliary_skip=Linear(1.0, 0.0), skip_dropout=Constant(0.1), drop_path=Constant(0.1))
    model = special.model(channels=CHANNELS, cells=3, num_classes=3)
    assert len(list(model.buffers())) == 3
    assert not [name for name in model.state_dict() if "progress" in name]
    plain = darts().model(channels=CHANNELS, cells=3, num_classes=3)
    only_here = set(model.state_dict()) - set(plain.state_dict())
    assert only_here
    assert all("auxiliary" in name for name in only_here)


def test_copies_have_their_own_progress():
    model = darts(auxiliary_skip=Linear(1.0, 0.0)).model(channels=CHANNELS, cells=2, num_classes=3)
    other = copy.deepcopy(model)
    set_progress(model, 1.0)
    assert {module.progress.item() for module in other.modules() if isinstance(module, FollowsProgress)} == {0.0}
    assert len(list(other.buffers())) == 1


@pytest.mark.parametrize("hypergradient", [FirstOrder(), OneStep(mixed=ExactProduct())], ids=["first", "second"])
def test_a_step_of_search_sees_the_schedules_and_repeats_under_a_seed(hypergradient: Hypergradient):
    def step(drop_path: Schedule | None) -> list[Tensor]:
        torch.manual_seed(0)
        space = darts(partial_channels=2, edge_weights=True, auxiliary_skip=Linear(1.0, 0.0), drop_path=drop_path)
        net = Supernet(space.model(channels=CHANNELS, cells=2, num_classes=3)).to(dtype=torch.float64)
        generator = torch.Generator().manual_seed(1)
        train, val = (
            (torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64), torch.arange(4) % 3) for _ in range(2)
        )
        w = torch.optim.SGD(net.model.parameters(), lr=0.1, momentum=0.9)
        a = torch.optim.Adam(net.alpha_parameters(), lr=0.1)
        torch.manual_seed(7)
        search_step(
            net,
            weight_batch=train,
            weight_optimizer=w,
            alpha_batch=val,
            alpha_optimizer=a,
            hypergradient=hypergradient,
            progress=0.5,
        )
        buffers = {module.progress.item() for module in net.model.modules() if isinstance(module, FollowsProgress)}
        assert buffers == {0.5}
        return [*net.alpha_parameters(), *net.model.parameters()]

    def equal(one: list[Tensor], other: list[Tensor]) -> bool:
        return all(torch.equal(x, y) for x, y in zip(one, other, strict=True))

    assert equal(step(Constant(0.4)), step(Constant(0.4)))
    assert not equal(step(Constant(0.4)), step(None))


@pytest.mark.parametrize(
    "space",
    [ReducedDartsSpace(number=4), darts(drop_path=Constant(0.5)), nb201(skip_dropout=Constant(0.5))],
    ids=["noise", "drop-path", "skip dropout"],
)
def test_all_passes_of_a_hypergradient_over_a_batch_draw_the_same(space):
    net = Supernet(space.model(channels=CHANNELS, cells=2, num_classes=3))
    batch = Batch(torch.randn(4, 3, 8, 8), torch.arange(4) % 3)
    mixtures = net.expected(Softmax(), torch.tensor(0.5))

    class Problem:
        def train(self, weights, outer, index: int) -> Tensor:
            return net.loss(weights, mixtures, batch)[0]

        def val(self, weights, outer) -> Tensor:
            return net.loss(weights, mixtures, batch)[0]

    weights: dict[str, Tensor] = {**net.weights()}
    with repeatable(Problem(), weights) as problem:
        first, validation, second = (
            problem.train(weights, {}, 0),
            problem.val(weights, {}),
            problem.train(weights, {}, 0),
        )
    assert torch.equal(first, second)
    assert not torch.equal(first, validation)


def test_zero_is_never_computed():
    model = darts(**EVERYTHING).model(channels=CHANNELS, cells=2, num_classes=3)
    for module in model.modules():
        if isinstance(module, Zero):
            module.register_forward_hook(lambda *_: pytest.fail("'none' was computed"))
    model(torch.randn(2, 3, 8, 8))
