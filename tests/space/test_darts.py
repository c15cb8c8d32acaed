"""The convolutional space of DARTS: published numbers, and equality of its forms."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.core.batch import Batch
from dnas.core.candidates import Zero
from dnas.core.cell import Cell
from dnas.core.derive import derive, find_decisions
from dnas.core.mixture import Mixture
from dnas.method.relaxation import GumbelSoftmax, Softmax
from dnas.searching.supernet import Supernet
from dnas.space import DartsSpace, NasBench201Space, set_drop_path
from dnas.space.ops import OPERATIONS

SPACE = DartsSpace()
SMALL = {"channels": 4, "cells": 3, "num_classes": 3}


def genotype_cell(*pairs: tuple[str, int]) -> CellArchitecture:
    """A cell of four nodes in the order of a published genotype: two pairs (operation, source) for each node."""
    edges = [KeptEdge(source, 2 + index // 2, name) for index, (name, source) in enumerate(pairs)]
    return CellArchitecture(tuple(edges), (2, 3, 4, 5))


DARTS_V1 = SPACE.architecture(
    {
        "normal": genotype_cell(
            ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 0),
            ("skip_connect", 0),
            ("sep_conv_3x3", 1),
            ("skip_connect", 0),
            ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 0),
            ("skip_connect", 2),
        ),
        "reduce": genotype_cell(
            ("max_pool_3x3", 0),
            ("max_pool_3x3", 1),
            ("skip_connect", 2),
            ("max_pool_3x3", 0),
            ("max_pool_3x3", 0),
            ("skip_connect", 2),
            ("skip_connect", 2),
            ("avg_pool_3x3", 0),
        ),
    }
)
DARTS_V2 = SPACE.architecture(
    {
        "normal": genotype_cell(
            ("sep_conv_3x3", 0),
            ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 0),
            ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 1),
            ("skip_connect", 0),
            ("skip_connect", 0),
            ("dil_conv_3x3", 2),
        ),
        "reduce": genotype_cell(
            ("max_pool_3x3", 0),
            ("max_pool_3x3", 1),
            ("skip_connect", 2),
            ("max_pool_3x3", 1),
            ("max_pool_3x3", 0),
            ("skip_connect", 2),
            ("skip_connect", 2),
            ("max_pool_3x3", 1),
        ),
    }
)


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def images(batch: int = 4, size: int = 8, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def supernet(space: DartsSpace = SPACE) -> Supernet:
    torch.manual_seed(0)
    return Supernet(space.model(**SMALL)).to(dtype=torch.float64)


# Published numbers


@pytest.mark.parametrize(("channels", "cells", "expected"), [(16, 8, 1_930_618), (8, 5, 394_210)])
def test_the_supernet_has_the_published_number_of_parameters(channels: int, cells: int, expected: int):
    assert num_parameters(SPACE.model(channels=channels, cells=cells, num_classes=10)) == expected


@pytest.mark.parametrize(
    ("architecture", "auxiliary", "expected"),
    [(DARTS_V2, False, 3_349_342), (DARTS_V2, True, 3_825_768), (DARTS_V1, False, 3_169_414)],
)
def test_cifar_networks_have_the_published_number_of_parameters(architecture, auxiliary: bool, expected: int):
    network = SPACE.network(architecture, channels=36, cells=20, num_classes=10, auxiliary=auxiliary)
    assert num_parameters(network) == expected


def test_the_imagenet_network_has_the_published_number_of_parameters():
    network = SPACE.network(DARTS_V2, channels=48, cells=14, num_classes=1000, stem="imagenet")
    assert num_parameters(network) == 4_718_752


def test_the_auxiliary_head_sees_the_features_after_the_second_reduction():
    network = SPACE.network(DARTS_V2, channels=36, cells=20, num_classes=10, auxiliary=True)
    assert network.auxiliary_after == 13
    assert network.auxiliary_head.conv0.in_channels == 4 * 4 * 36  # type: ignore[union-attr]


# One-hot supernet, derived network


@pytest.mark.parametrize("seed", range(6))
def test_a_one_hot_supernet_in_train_mode_equals_the_derived_network(seed: int):
    net = supernet()
    architecture = SPACE.random(torch.Generator().manual_seed(seed))
    derived = derive(net.model, architecture)
    with net.bound(net.one_hot(architecture)) as model:
        assert_close(derived(images()), model(images()), rtol=0, atol=1e-12)
    assert not any(isinstance(module, Cell) for module in derived.modules())


@pytest.mark.parametrize("name", [name for name in SPACE.candidates if name != "none"])
def test_a_derived_network_of_one_operation_equals_the_supernet_also_in_gradients(name: str):
    net = supernet()
    cell = genotype_cell(*[(name, source) for _ in range(4) for source in (0, 1)])
    architecture = SPACE.architecture({"normal": cell, "reduce": cell})
    derived, x = derive(net.model, architecture), images().requires_grad_()
    with net.bound(net.one_hot(architecture)) as model:
        searched = model(x)
    ours, expected = (torch.autograd.grad(y.square().sum(), x, create_graph=True)[0] for y in (derived(x), searched))
    assert_close(ours, expected, rtol=1e-10, atol=1e-12)


def test_a_one_hot_supernet_with_edge_weights_equals_the_derived_network():
    space = DartsSpace(nodes=2, edge_weights=True)
    net, architecture = supernet(space), space.random(torch.Generator().manual_seed(0))
    derived = derive(net.model, architecture)
    with net.bound(net.one_hot(architecture)) as model:
        assert_close(derived(images()), model(images()), rtol=0, atol=1e-12)


# Shared work


def naive(cell: Cell, mixture: Mixture, inputs: tuple[Tensor, ...], edge_weights: Tensor | None = None) -> Tensor:
    """The cell's equation, each operation of each edge computed by itself."""
    states = dict(enumerate(inputs))
    for edge, (source, target) in enumerate(cell.decision.edges):
        for k, operation in enumerate(cell.operations[edge]):  # type: ignore[arg-type]
            weight = mixture.values[edge, k] * (1 if edge_weights is None else edge_weights[edge])
            term = weight * operation(states[source])
            states[target] = states[target] + term if target in states else term
    return torch.cat([states[index] for index in cell.decision.output], dim=1)


@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("edge_weights", [False, True])
def test_sharing_changes_neither_values_nor_gradients_nor_second_derivatives(reduction: bool, edge_weights: bool):
    torch.manual_seed(0)
    space = DartsSpace(nodes=2, edge_weights=edge_weights)
    cell = space._searchable_cell(2, reduction).double()
    mixture = torch.rand(cell.decision.shape, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(len(cell.decision.edges), dtype=torch.float64, requires_grad=True)
    inputs = tuple(images(3, 6, 2).requires_grad_() for _ in range(2))
    inputs = tuple((x.detach() + index).requires_grad_() for index, x in enumerate(inputs))
    everything = (*inputs, mixture, *cell.parameters(), *((weights,) if edge_weights else ()))
    name = cell.decision.name
    cell.bind({name: Mixture(mixture), f"{name}.edges": Mixture(weights)})

    def derivatives(y: Tensor) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(1)
        scalar = (y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum()
        first = torch.autograd.grad(scalar, everything, create_graph=True)
        along = sum((part * torch.randn(part.shape, generator=generator, dtype=y.dtype)).sum() for part in first)
        return (y, *first, *torch.autograd.grad(along, everything))

    expected = derivatives(naive(cell, Mixture(mixture), inputs, weights if edge_weights else None))
    for got, want in zip(derivatives(cell(*inputs)), expected, strict=True):
        assert_close(got, want, rtol=1e-10, atol=1e-10 * max(1.0, want.abs().max().item()))
    assert_close(cell(*inputs), expected[0], rtol=0, atol=1e-12)


def test_relu_and_pooling_of_a_state_are_computed_once_for_all_edges():
    cell = SPACE._searchable_cell(2, reduction=False)
    keys: Counter = Counter()
    for operations in cell.operations:
        for candidate in operations:  # type: ignore[union-attr]
            if hasattr(candidate, "prefix_key"):
                prefix, key = candidate.prefix, candidate.prefix_key

                def counted(x: Tensor, prefix=prefix, key=key) -> Tensor:
                    keys[key] += 1
                    return prefix(x)

                candidate.prefix = counted
    cell(torch.randn(2, 2, 4, 4), torch.randn(2, 2, 4, 4))
    # Five states have outgoing edges; ReLU and the two poolings of each are computed once.
    assert sorted(keys.values()) == [5, 5, 5]


def test_a_hard_sample_computes_only_the_sampled_candidates():
    net = supernet()
    mixtures = net.sample(GumbelSoftmax(), torch.tensor(0.5), torch.Generator().manual_seed(0))
    called: set[nn.Module] = set()
    expected: set[nn.Module] = set()
    for cell in net.model.modules():
        if isinstance(cell, Cell):
            for edge, operations in enumerate(cell.operations):
                for k, candidate in enumerate(operations):  # type: ignore[arg-type]
                    convolutions = [module for module in candidate.modules() if isinstance(module, nn.Conv2d)]
                    for convolution in convolutions:
                        convolution.register_forward_hook(lambda module, *_: called.add(module))
                    if k in mixtures[cell.decision.name].row(edge):
                        expected.update(convolutions)
    with net.bound(mixtures) as model:
        model(images())
    assert called == expected
    assert expected


def test_none_is_never_computed():
    model = SPACE.model(**SMALL)
    for module in model.modules():
        if isinstance(module, Zero):
            module.register_forward_hook(lambda *_: pytest.fail("'none' was computed"))
    model(torch.randn(2, 3, 8, 8))


def test_forward_passes_leave_no_buffers():
    assert dict(SPACE.model(**SMALL).named_buffers()) == {}


# Edge weights


def test_edges_have_a_decision_of_their_own_normalised_over_the_edges_of_each_node():
    net = supernet(DartsSpace(edge_weights=True))
    mixtures = net.sample(Softmax(), torch.tensor(0.0))
    edges = mixtures["normal.edges"].values
    for node in range(2, 6):
        assert edges[list(net.decisions["normal"].incoming(node))].sum().item() == pytest.approx(1.0)
    loss, _ = net.loss(net.weights(), mixtures, Batch(images(), torch.tensor([0, 1, 2, 0])))
    gradients = torch.autograd.grad(loss, [net.alphas["normal.edges"], net.alphas["reduce.edges"]])
    assert all(gradient.abs().max() > 0 for gradient in gradients)


# Decisions, random architectures, checks


@pytest.mark.parametrize("space", [SPACE, DartsSpace(nodes=2), DartsSpace(edge_weights=True)])
@pytest.mark.parametrize("cells", [2, 3, 5])
def test_decisions_are_those_of_the_model(space: DartsSpace, cells: int):
    model = space.model(channels=2, cells=cells, num_classes=2)
    assert find_decisions(model) == space.decisions()
    assert list(find_decisions(model)) == list(space.decisions())


def test_a_network_of_one_cell_has_only_the_normal_cell_and_cannot_grow():
    model = SPACE.model(channels=2, cells=1, num_classes=2)
    assert list(find_decisions(model)) == ["normal"]
    architecture = SPACE.architecture({"normal": DARTS_V2.decisions["normal"]})
    assert derive(model, architecture)(torch.randn(2, 3, 4, 4)).shape == (2, 2)
    assert SPACE.network(architecture, channels=2, cells=1, num_classes=2)(torch.randn(2, 3, 4, 4)).shape == (2, 2)
    with pytest.raises(ValueError, match=r"no 'reduce' cell.*search with 2 or more cells"):
        SPACE.network(architecture, channels=2, cells=3, num_classes=2)


def test_random_architectures_are_seeded_valid_and_cover_the_space_about_equally():
    space = DartsSpace(nodes=2)
    drawn = [space.random(torch.Generator().manual_seed(seed)) for seed in range(300)]
    assert drawn[7] == space.random(torch.Generator().manual_seed(7))
    operations: Counter[str] = Counter()
    pairs: Counter[tuple[int, ...]] = Counter()
    for architecture in drawn:
        space.check(architecture)
        architecture.check(space.decisions())
        for cell in architecture.decisions.values():
            assert isinstance(cell, CellArchitecture)
            operations.update(edge.operation for edge in cell.edges)
            pairs[tuple(edge.source for edge in cell.edges if edge.target == 3)] += 1
    # 2400 operations, 343 expected of each of seven, standard deviation 17; 600 pairs, 200 of each, 12.
    assert set(operations) == set(space.candidates) - {"none"}
    assert all(257 < count < 429 for count in operations.values())
    assert set(pairs) == {(0, 1), (0, 2), (1, 2)}
    assert all(140 < count < 260 for count in pairs.values())


def test_the_size_counts_pairs_of_edges_and_operations():
    assert SPACE.size() == (180 * 7**8) ** 2
    assert DartsSpace(nodes=1, candidates=("none", "skip_connect", "sep_conv_3x3")).size() == 4**2


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (NasBench201Space().random(torch.Generator()), "belongs to space 'nasbench201'"),
        (replace(DARTS_V2, version=2), "version 2; expected 'darts', version 1"),
        (replace(DARTS_V2, decisions={"reduce": DARTS_V2.decisions["reduce"]}), r"this one has \['reduce'\]"),
        (
            replace(DARTS_V2, decisions={"normal": genotype_cell(("conv_9x9", 0)), "reduce": genotype_cell()}),
            "'normal' has an unknown operation 'conv_9x9'",
        ),
        (
            replace(
                DARTS_V2,
                decisions=dict(DARTS_V2.decisions) | {"reduce": CellArchitecture((KeptEdge(0, 2, "none"),), (1, 2))},
            ),
            "'reduce' must give out states from 2 to 2",
        ),
    ],
)
def test_an_architecture_that_does_not_fit_is_refused(architecture: Architecture, message: str):
    with pytest.raises(ValueError, match=message):
        SPACE.network(architecture, **SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": 0}, "nodes must be 1 or more"),
        ({"candidates": ("none", "conv_9x9")}, r"Unknown candidates \['conv_9x9'\]"),
        ({"candidates": ("none",)}, "one besides 'none'"),
        ({"candidates": ("skip_connect", "skip_connect")}, "must be different"),
    ],
)
def test_spaces_that_make_no_sense_are_refused(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        DartsSpace(**arguments)


# Evaluation networks


def test_networks_take_any_number_of_nodes_any_output_and_all_operations():
    edges = tuple(KeptEdge(index % 2, 2 + index, name) for index, name in enumerate(OPERATIONS))
    edges = (*edges[:1], KeptEdge(0, 2, "max_pool_3x3"), KeptEdge(0, 2, "max_pool_3x3"), *edges[1:])
    normal = CellArchitecture(edges, (0, 5, 13, 5))
    architecture = SPACE.architecture({"normal": normal, "reduce": CellArchitecture(edges, (3, 4, 12))})
    network = SPACE.network(architecture, channels=4, cells=5, num_classes=3, in_channels=1, auxiliary=True)
    logits, auxiliary = network(torch.randn(2, 1, 8, 8))
    assert logits.shape == auxiliary.shape == (2, 3)


@pytest.mark.parametrize("in_channels", [1, 4])
@pytest.mark.parametrize("size", [4, 7])
def test_the_supernet_takes_any_image(in_channels: int, size: int):
    for cells in (1, 2, 4):
        model = SPACE.model(channels=2, cells=cells, num_classes=3, in_channels=in_channels)
        assert model(torch.randn(2, in_channels, size, size)).shape == (2, 3)


def test_drop_path_is_off_by_default_and_in_eval_mode_and_keeps_identities():
    torch.manual_seed(0)
    network = SPACE.network(DARTS_V2, **SMALL).double()
    before = network(images())
    set_drop_path(network, 0.0)
    assert torch.equal(network(images()), before)
    in_eval = network.eval()(images())
    set_drop_path(network, 0.9)
    assert torch.equal(network(images()), in_eval)
    assert not torch.equal(network.train()(images()), before)

    skip = CellArchitecture((KeptEdge(0, 2, "skip_connect"), KeptEdge(1, 2, "skip_connect")), (2,))
    only_identities = SPACE.network(SPACE.architecture({"normal": skip}), channels=4, cells=1, num_classes=3).double()
    with pytest.warns(UserWarning, match="no edge to drop"):
        set_drop_path(only_identities, 0.5)


def test_derived_and_evaluation_networks_of_one_architecture_have_the_same_shape_but_for_batch_norm():
    derived = derive(SPACE.model(**SMALL), DARTS_V2)
    network = SPACE.network(DARTS_V2, **SMALL)

    def convolutions(module: nn.Module) -> list[tuple[int, ...]]:
        return [tuple(part.weight.shape) for part in module.modules() if isinstance(part, nn.Conv2d)]

    assert convolutions(derived) == convolutions(network)
