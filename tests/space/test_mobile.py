"""The space of inverted residual blocks: parameters by hand, equality of its forms, widths."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.architecture import Architecture
from dnas.core.candidates import Zero
from dnas.core.derive import derive, find_decisions
from dnas.core.run import Run
from dnas.cost import candidate_costs, candidate_parameters, count_flops, count_parameters
from dnas.data.normalization import Normalization
from dnas.data.resize import ResizeRule
from dnas.method.hypergradient import FiniteDifference, FirstOrder, Hypergradient, OneStep
from dnas.method.penalty import ExpectedCost
from dnas.method.relaxation import GumbelSoftmax, Relaxation, Softmax
from dnas.searching.search_step import search_step
from dnas.searching.supernet import Supernet
from dnas.shipping.export import export
from dnas.shipping.interface import Interface
from dnas.shipping.load import load
from dnas.shipping.package import save_network
from dnas.shipping.spec import NetworkSpec, SpaceBuilder
from dnas.space import DartsSpace, MobileSpace, set_drop_path, space_named, space_of
from dnas.space.mobile import BLOCKS, SKIP
from dnas.space.mobile_network import FirstChannels, InvertedResidual, Layer, Shape
from dnas.space.ops import SEARCH

SPACE = MobileSpace(layers=2, stages=2)
SMALL = {"channels": 3, "cells": 2, "num_classes": 3}
TWO_LAYERS = MobileSpace(layers=1, stages=2)
WIDE = MobileSpace(layers=2, stages=2, width_multipliers=(0.5, 0.75, 1.0))
WIDE_SIZE = {"channels": 8, "cells": 3, "num_classes": 3}


def images(size: int = 8) -> Tensor:
    return torch.randn(4, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def supernet(space: MobileSpace = SPACE, size: dict[str, int] = SMALL) -> Supernet:
    torch.manual_seed(0)
    return Supernet(space.model(**size)).to(dtype=torch.float64)


def changed(architecture: Architecture, **decisions: str) -> Architecture:
    return replace(architecture, decisions={**architecture.decisions, **decisions})


def drawn(space: MobileSpace, seed: int) -> Architecture:
    return space.random(torch.Generator().manual_seed(seed))


# Sizes


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # Stem 3 -> 2: 9*3*2 + 2*2 = 58. Head 4 -> 4*4: 64 + 2*16 = 96, and 16*3 + 3 = 51. In all 205.
        # k3_e3, 2 -> 6 -> 2: 2*6 + 2*6, 6*9 + 2*6, 6*2 + 2*2 = 106. k5_e6, 2 -> 12 -> 4: 48, 324, 56 = 428.
        ("k3_e3", "k5_e6", 205 + 106 + 428),
        # k7_e3, 2 -> 6 -> 4: 2*6 + 2*6, 6*49 + 2*6, 6*4 + 2*4 = 362.
        (SKIP, "k7_e3", 205 + 362),
    ],
)
def test_a_network_has_the_parameters_that_a_hand_counts(first: str, second: str, expected: int):
    architecture = TWO_LAYERS.architecture({"stage1.layer1": first, "stage2.layer1": second})
    assert count_parameters(TWO_LAYERS.network(architecture, channels=2, cells=1, num_classes=3)) == expected


def block_parameters(name: str, inputs: int, outputs: int) -> int:
    """Without batch norm: inputs*h + h*k^2 + h*outputs, h = expansion * inputs."""
    if name == SKIP:
        return 0
    kernel, expansion = BLOCKS[name]
    return expansion * inputs * (inputs + kernel**2 + outputs)


def test_candidates_cost_what_the_formula_says():
    model = SPACE.model(**SMALL)
    sizes = {"stage1.layer1": (3, 3), "stage1.layer2": (3, 3), "stage2.layer1": (3, 6), "stage2.layer2": (6, 6)}
    decisions = SPACE.decisions()
    expected = {
        name: [float(block_parameters(candidate, *sizes[name])) for candidate in decisions[name].candidates]
        for name in decisions
    }
    assert candidate_parameters(model) == expected
    # Without stride every weight is used once per pixel, a multiplication and an addition: 8x8, then 4x4 pixels.
    flops = candidate_costs(model, torch.zeros(1, 3, 8, 8))
    assert flops["stage1.layer2"] == [2 * 64 * count for count in expected["stage1.layer2"]]
    assert flops["stage2.layer2"] == [2 * 16 * count for count in expected["stage2.layer2"]]
    # Where the depthwise convolution halves the image, only the first convolution sees all of it.
    for candidate, count in zip(decisions["stage2.layer1"].candidates, flops["stage2.layer1"], strict=True):
        kernel, expansion = BLOCKS[candidate]
        assert count == 2 * expansion * 3 * (64 * 3 + 16 * kernel**2 + 16 * 6)
    # The supernet has all candidates, the stem's 81 + 6, the head's 6*24 + 48 and the classifier's 24*3 + 3.
    assert count_parameters(model) == sum(map(sum, expected.values())) + 87 + 192 + 75


def test_a_penalty_on_flops_prefers_to_leave_layers_out():
    net = supernet()
    penalty = ExpectedCost(candidate_costs(net.model, images()), target=1e6, exponent=1.0)
    mixtures = net.sample(Softmax(), torch.tensor(0.0))
    penalty(torch.tensor(1.0, dtype=torch.float64), net.alphas, mixtures, torch.tensor(0.0)).backward()
    gradient = net.alphas["stage1.layer1"].grad
    assert gradient is not None
    # The last candidate costs nothing: more of it lowers the price, so descent raises its alpha.
    assert gradient.argmax() == SPACE.decisions()["stage1.layer1"].candidates.index("k7_e6")
    assert gradient.argmin() == SPACE.decisions()["stage1.layer1"].candidates.index(SKIP)


# Decisions


@pytest.mark.parametrize("space", [SPACE, MobileSpace(), WIDE])
@pytest.mark.parametrize("cells", [3, 4])
def test_decisions_are_those_of_the_model_however_deep(space: MobileSpace, cells: int):
    assert find_decisions(space.model(channels=2, cells=cells, num_classes=2)) == space.decisions()


def test_a_layer_may_be_left_out_where_it_keeps_its_input_s_shape():
    may_skip = {name: SKIP in decision.candidates for name, decision in SPACE.decisions().items()}
    assert may_skip == {
        "stage1.layer1": True,
        "stage1.layer2": True,
        "stage2.layer1": False,
        "stage2.layer2": True,
    }


def test_layers_of_a_deeper_network_follow_their_decision_in_order():
    names = [
        choice.decision.name for choice in SPACE.model(**{**SMALL, "cells": 5}).modules() if hasattr(choice, "decision")
    ]
    first = ["stage1.layer1"] * 3 + ["stage1.layer2"] * 2
    assert names == [*first, *(name.replace("stage1", "stage2") for name in first)]


def test_the_size_is_the_number_of_different_architectures():
    space = MobileSpace(layers=1, stages=2, width_multipliers=(0.5, 1.0))
    assert space.size() == 7 * 6 * 2 * 2
    generator = torch.Generator().manual_seed(0)
    counts = Counter(tuple(sorted(space.random(generator).decisions.items())) for _ in range(5000))
    # 30 expected in each of 168 places, standard deviation 5.5.
    assert len(counts) == space.size()
    assert all(5 < count < 60 for count in counts.values())


def test_random_architectures_are_seeded_and_fit():
    assert drawn(WIDE, 3) == drawn(WIDE, 3)
    WIDE.check(drawn(WIDE, 3))
    assert space_of(Architecture.from_json(drawn(WIDE, 3).to_json())) == WIDE


# Forms


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("space", "size"), [(SPACE, SMALL), (WIDE, WIDE_SIZE)], ids=["blocks", "widths"])
def test_a_one_hot_supernet_in_train_mode_equals_the_derived_network(
    space: MobileSpace, size: dict[str, int], seed: int
):
    net, found = supernet(space, size), drawn(space, seed)
    derived = derive(net.model, found)
    with net.bound(net.one_hot(found)) as model:
        assert_close(derived(images()), model(images()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("space", "size"), [(SPACE, SMALL), (WIDE, WIDE_SIZE)], ids=["blocks", "widths"])
def test_the_evaluation_network_with_the_first_channels_weights_equals_the_derived_one_in_train_mode(
    space: MobileSpace, size: dict[str, int], seed: int
):
    # A new learned scale is 1 and a shift 0, so both forms of batch norm agree until they are trained.
    derived, network = (
        derive(supernet(space, size).model, drawn(space, seed)),
        space.network(drawn(space, seed), **size),
    )
    network.double()
    load_first_channels(network, derived)
    assert_close(network(images()), derived(images()), rtol=0, atol=1e-12)
    if space is WIDE and set(dict(drawn(space, seed).decisions).values()) >= {"0.5"}:
        assert count_flops(network, images()) < count_flops(derived, images())


def load_first_channels(narrow: nn.Module, wide: nn.Module) -> None:
    """Every weight of `narrow` that `wide` has too becomes the leading part of that."""
    weights = dict(wide.named_parameters())
    with torch.no_grad():
        for name, weight in narrow.named_parameters():
            if name in weights:
                weight.copy_(weights[name][tuple(slice(length) for length in weight.shape)])
            else:
                assert "norm" in name


def test_chosen_widths_are_the_channels_of_the_network():
    found = changed(drawn(WIDE, 0), **{"stage1.width": "0.5", "stage2.width": "0.75", "stage1.layer1": "k3_e6"})
    network = WIDE.network(found, **WIDE_SIZE)
    shapes = [tuple(network.stem(torch.zeros(1, 3, 8, 8)).shape)]  # type: ignore[operator]
    for block in network.blocks:  # type: ignore[union-attr]
        shapes.append(tuple(block(torch.zeros(shapes[-1])).shape))
    assert shapes == [(1, 4, 8, 8)] * 4 + [(1, 12, 4, 4)] * 3
    # Expansions multiply the width before the choice, so that the network is what was searched.
    assert network.blocks[0].operation.expand.weight.shape == (48, 4, 1, 1)  # type: ignore[index,union-attr]


def test_a_single_multiplier_scales_all_widths_and_is_not_decided():
    half = MobileSpace(layers=1, stages=2, width_multipliers=(0.5,))
    found = half.architecture({"stage1.layer1": "k3_e3", "stage2.layer1": "k5_e6"})
    # As the network of 2 channels above, but for the head, which stays: 4 -> 4*8 is 128 + 64, and 32*3 + 3 = 99.
    assert count_parameters(half.network(found, channels=4, cells=1, num_classes=3)) == 58 + 106 + 428 + 192 + 99
    assert list(half.decisions()) == ["stage1.layer1", "stage2.layer1"]


def test_masks_keep_the_first_channels():
    x = images()
    assert torch.equal(FirstChannels(2)(x), x * torch.tensor([1.0, 1.0, 0.0]).reshape(3, 1, 1))
    assert FirstChannels(3)(x) is x


def test_a_layer_adds_its_input_and_one_that_is_left_out_is_its_input():
    x = images()
    assert torch.equal(Layer(nn.Tanh(), nn.Identity(), residual=True)(x), x + x.tanh())
    assert torch.equal(Layer(nn.Tanh(), nn.Identity(), residual=False)(x), x.tanh())
    assert Layer(Zero(), nn.Identity(), residual=True)(x) is x


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_is_its_formula(stride: int):
    torch.manual_seed(0)
    block = InvertedResidual(Shape(3, 5, 4, stride), kernel=5, expansion=3, form=SEARCH).double()

    def norm(x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, training=True)

    x = images()
    x[0, :, 4, 4] = 100.0  # far enough from the others for ReLU6 to cut it
    y = norm(F.conv2d(x, block.expand.weight)).clamp(0, 6)
    y = norm(F.conv2d(y, block.depthwise.weight, stride=stride, padding=2, groups=12)).clamp(0, 6)
    assert_close(block(x), norm(F.conv2d(y, block.project.weight)), rtol=0, atol=1e-12)


def test_search_keeps_no_statistics_and_evaluation_does():
    norms = [module for module in SPACE.model(**SMALL).modules() if isinstance(module, nn.BatchNorm2d)]
    assert not any(norm.track_running_stats for norm in norms)
    assert sum(norm.affine for norm in norms) == 2  # stem and head
    network = SPACE.network(drawn(SPACE, 0), **SMALL)
    assert all(m.affine and m.track_running_stats for m in network.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_networks_take_images_of_any_size_and_have_an_auxiliary_head(stem):
    network = SPACE.network(drawn(SPACE, 0), **SMALL, in_channels=1, stem=stem, auxiliary=True)
    for size in (8, 9, 32):
        logits, auxiliary = network(torch.randn(2, 1, size, size))
        assert logits.shape == auxiliary.shape == (2, 3)
    assert network.eval()(torch.randn(1, 1, 8, 12)).shape == (1, 3)
    features = network.stem(torch.zeros(1, 1, 32, 32))  # type: ignore[operator]
    assert features.shape[2:] == ((32, 32) if stem == "cifar" else (4, 4))


def test_drop_path_reaches_the_layers_that_add_their_input():
    found = SPACE.architecture(dict.fromkeys(SPACE.decisions(), "k3_e3"))
    network = SPACE.network(found, **SMALL).double()
    before = network(images())
    set_drop_path(network, 0.5)
    assert not torch.equal(network(images()), before)
    assert [type(block.drop_path) is nn.Identity for block in network.blocks] == [False, False, True, False]  # type: ignore[union-attr]


# Search


@pytest.mark.parametrize(
    ("relaxation", "hypergradient"),
    [
        (Softmax(), FirstOrder()),
        (Softmax(), OneStep(FiniteDifference())),
        (GumbelSoftmax(), FirstOrder()),
    ],
    ids=["first order", "second order", "single path"],
)
def test_two_steps_move_alphas_and_weights_to_finite_values(relaxation: Relaxation, hypergradient: Hypergradient):
    net = supernet(WIDE, {**WIDE_SIZE, "cells": 2, "channels": 4})
    before = {name: alpha.detach().clone() for name, alpha in net.alphas.items()}
    weights = torch.optim.SGD(net.model.parameters(), lr=0.05, momentum=0.9)
    alphas = torch.optim.Adam(net.alpha_parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    batch = (images(), torch.tensor([0, 1, 2, 0]))
    for _ in range(2):
        result = search_step(
            net,
            weight_batch=batch,
            alpha_batch=(images().flip(3), batch[1]),
            weight_optimizer=weights,
            alpha_optimizer=alphas,
            relaxation=relaxation,
            hypergradient=hypergradient,
            generator=generator,
        )
        assert result.loss.isfinite()
    for name, alpha in net.alphas.items():
        assert alpha.isfinite().all()
        assert not torch.equal(alpha, before[name])


@pytest.mark.slow
def test_a_trained_network_is_exported_and_loaded(tmp_path: Path):
    found = changed(drawn(WIDE, 1), **{"stage1.layer1": SKIP, "stage1.width": "0.5"})
    builder = SpaceBuilder(channels=8, cells=2, num_classes=3, in_channels=3, auxiliary=True)
    interface = Interface(("a", "b", "c"), ResizeRule(8), Normalization((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)))
    network = builder.network(found)
    network(torch.randn(16, 3, 8, 8))
    save_network(Run(tmp_path / "retrain"), network, NetworkSpec(found, builder, interface))
    assert [file.format for file in export(tmp_path)] == ["onnx", "torch", "state_dict", "safetensors"]
    x = images().float()
    assert torch.equal(load(tmp_path)(x), network.eval()(x))


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 0}, "layers must be 1 or more; got 0"),
        ({"stages": 0}, "stages must be 1 or more; got 0"),
        ({"width_multipliers": ()}, r"different numbers above 0; got \[\]"),
        ({"width_multipliers": (1.0, 1.0)}, "different numbers above 0"),
        ({"width_multipliers": (0.0, 1.0)}, "different numbers above 0"),
        ({"width_multipliers": (float("nan"),)}, "different numbers above 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        MobileSpace(**arguments)


@pytest.mark.parametrize(
    "arguments", [{"width_multipliers": ["0.5"]}, {"width_multipliers": [True]}, {"width_multipliers": 0.5}]
)
def test_lists_of_other_things_are_refused_from_files(arguments: dict):
    with pytest.raises(ValueError, match=f"'{next(iter(arguments))}' must look like"):
        space_named("mobile", arguments)


def test_what_does_not_belong_here_is_refused():
    found = drawn(SPACE, 0)
    with pytest.raises(ValueError, match="belongs to space 'darts'"):
        SPACE.network(DartsSpace().random(torch.Generator()), **SMALL)
    with pytest.raises(ValueError, match=r"'stage1.layer1' has no candidate 'k9_e6'"):
        SPACE.check(changed(found, **{"stage1.layer1": "k9_e6"}))
    with pytest.raises(ValueError, match=r"'stage2.layer1' has no candidate 'skip_connect'"):
        SPACE.check(changed(found, **{"stage2.layer1": SKIP}))
    missing = {name: kept for name, kept in found.decisions.items() if name != "stage2.layer2"}
    with pytest.raises(ValueError, match=r"the model needs .*'stage2.layer2'"):
        SPACE.check(replace(found, decisions=missing))
    with pytest.raises(ValueError, match="they belong to different spaces"):
        WIDE.check(found)


@pytest.mark.parametrize("build", ["model", "network"])
def test_wrong_sizes_are_refused(build: str):
    def make(**size) -> nn.Module:
        size = {**SMALL, **size}
        return SPACE.model(**size) if build == "model" else SPACE.network(drawn(SPACE, 0), **size)

    with pytest.raises(ValueError, match=r"must be 2 or more, .* got 1. Give --cells 2, or --space.layers 1"):
        make(cells=1)
    with pytest.raises(ValueError, match="channels must be 1 or more; got 0"):
        make(channels=0)
    with pytest.raises(ValueError, match="stem must be 'cifar' or 'imagenet'; got 'audio'"):
        make(stem="audio")
