"""The space of small vision transformers: parameters by hand, equality of its forms, its parts."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.architecture import Architecture
from dnas.core.choice import Choice
from dnas.core.derive import derive, find_decisions
from dnas.core.run import Run
from dnas.cost import candidate_costs, candidate_parameters, count_parameters
from dnas.data.normalization import Normalization
from dnas.data.resize import ResizeRule
from dnas.method.hypergradient import ExactProduct, FiniteDifference, FirstOrder, Hypergradient, OneStep
from dnas.method.penalty import ExpectedCost
from dnas.method.relaxation import GumbelSoftmax, Relaxation, Softmax
from dnas.searching.search_step import search_step
from dnas.searching.supernet import Supernet
from dnas.shipping.export import export
from dnas.shipping.interface import Interface
from dnas.shipping.load import load
from dnas.shipping.package import save_network
from dnas.shipping.spec import NetworkSpec, SpaceBuilder
from dnas.space import DartsSpace, TransformerSpace, set_drop_path, space_named, space_of
from dnas.space.transformer import Attention, Block, ConvMixing, Head, Mlp, PatchEmbedding, VisionTransformer

SPACE = TransformerSpace(blocks=2, patch_size=2)
SMALL = {"channels": 2, "cells": 2, "num_classes": 3}


def images(size: int = 8) -> Tensor:
    return torch.randn(4, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def supernet(space: TransformerSpace = SPACE, size: dict[str, int] = SMALL) -> Supernet:
    torch.manual_seed(0)
    return Supernet(space.model(**size)).to(dtype=torch.float64)


def drawn(seed: int) -> Architecture:
    return SPACE.random(torch.Generator().manual_seed(seed))


def architecture(*kept: str) -> Architecture:
    return SPACE.architecture(dict(zip(SPACE.decisions(), kept, strict=True)))


# Sizes


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        # 8 channels. Patches 2*2*3*8 + 8 = 104, position 9*8 = 72, head 2*8 + 8*3 + 3 = 43: 219. A block's norms 4*8.
        # Attention 8*24 + 24 + 8*8 + 8 = 288; MLP of ratio 2: 8*16 + 16 + 16*8 + 8 = 280, of ratio 4: 552.
        (("attention_h2", "mlp_r2", "attention_h8", "mlp_r4"), 219 + 2 * 32 + 2 * 288 + 280 + 552),
        # Convolution 2*(8*8 + 8) + 9*8 = 216.
        (("conv_k3", "mlp_r2", "attention_h4", "mlp_r2"), 219 + 2 * 32 + 216 + 288 + 2 * 280),
    ],
)
def test_a_network_has_the_parameters_that_a_hand_counts(kept: tuple[str, ...], expected: int):
    assert count_parameters(SPACE.network(architecture(*kept), **SMALL)) == expected


def test_candidates_cost_what_the_formula_says():
    model = SPACE.model(**SMALL)
    d, patches = 8, 16
    for block in (1, 2):
        assert candidate_parameters(model)[f"block{block}.mixing"] == [288.0] * 3 + [216.0]
        assert candidate_parameters(model)[f"block{block}.mlp"] == [280.0, 552.0]
        flops = candidate_costs(model, torch.zeros(1, 3, 8, 8))
        # Four linear layers; then each patch's product with each, once for the scores and once for the values.
        attention = 2 * patches * 4 * d**2 + 2 * 2 * patches**2 * d
        assert flops[f"block{block}.mixing"] == [attention] * 3 + [2 * patches * (2 * d**2 + 9 * d)]
        assert flops[f"block{block}.mlp"] == [2 * patches * 2 * ratio * d**2 for ratio in (2, 4)]


def test_a_penalty_on_flops_prefers_the_narrow_mlp_and_convolution():
    net = supernet()
    penalty = ExpectedCost(candidate_costs(net.model, images()), target=1e5, exponent=1.0)
    mixtures = net.sample(Softmax(), torch.tensor(0.0))
    penalty(torch.tensor(1.0, dtype=torch.float64), net.alphas, mixtures, torch.tensor(0.0)).backward()
    for name, cheapest in (("block1.mixing", "conv_k3"), ("block2.mlp", "mlp_r2")):
        gradient = net.alphas[name].grad
        assert gradient is not None
        assert SPACE.decisions()[name].candidates[int(gradient.argmin())] == cheapest


# Decisions


@pytest.mark.parametrize("cells", [2, 3, 5])
def test_decisions_are_those_of_the_model_however_deep(cells: int):
    assert find_decisions(SPACE.model(**{**SMALL, "cells": cells})) == SPACE.decisions()


def test_blocks_of_a_deeper_network_follow_their_decisions_in_order():
    model = SPACE.model(**{**SMALL, "cells": 5})
    names = [module.decision.name for module in model.modules() if isinstance(module, Choice)]
    assert names == ["block1.mixing", "block1.mlp"] * 3 + ["block2.mixing", "block2.mlp"] * 2


def test_random_architectures_are_seeded_and_cover_the_space_about_equally():
    assert SPACE.size() == (4 * 2) ** 2
    generator = torch.Generator().manual_seed(0)
    counts = Counter(tuple(SPACE.random(generator).decisions.items()) for _ in range(3200))
    # 50 expected in each of 64 places, standard deviation 7.
    assert len(counts) == SPACE.size()
    assert all(20 < count < 85 for count in counts.values())
    assert drawn(3) == drawn(3)
    assert space_of(Architecture.from_json(drawn(3).to_json())) == SPACE


# Forms


@pytest.mark.parametrize("seed", range(6))
def test_a_one_hot_supernet_the_derived_network_and_the_network_with_its_weights_are_equal(seed: int):
    net, found = supernet(), drawn(seed)
    derived = derive(net.model, found)
    with net.bound(net.one_hot(found)) as model:
        assert_close(derived(images()), model(images()), rtol=0, atol=1e-12)
    network = SPACE.network(found, **SMALL).double()
    network.load_state_dict(derived.state_dict())
    assert torch.equal(network(images()), derived(images()))


def test_an_image_s_logits_do_not_depend_on_the_batch():
    network = SPACE.network(drawn(0), **SMALL).double()
    assert_close(network(images())[1:2], network(images()[1:2]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("stem", "grid"), [("cifar", 16), ("imagenet", 4)])
def test_networks_take_images_of_any_size_and_have_an_auxiliary_head(stem, grid: int):
    network = SPACE.network(drawn(0), **SMALL, in_channels=1, stem=stem, auxiliary=True)
    for height, width in ((1, 1), (8, 8), (9, 32)):
        logits, auxiliary = network(torch.randn(2, 1, height, width))
        assert logits.shape == auxiliary.shape == (2, 3)
    assert network.eval()(torch.randn(1, 1, 8, 8)).shape == (1, 3)
    assert network.embedding(torch.zeros(1, 1, 32, 32)).shape == (1, 8, grid, grid)  # type: ignore[operator]


def test_drop_path_reaches_both_sums_of_each_block():
    network = SPACE.network(drawn(0), **SMALL).double()
    set_drop_path(network, 1 - 1e-9)  # so that all samples lose both terms
    assert isinstance(network, VisionTransformer)
    x = torch.randn(4, 8, 3, 5, dtype=torch.float64)
    for block in network.blocks:
        assert torch.equal(block(x), x)


# Parts


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_that_of_pytorch(heads: int):
    torch.manual_seed(0)
    attention = Attention(8, heads).double()
    reference = nn.MultiheadAttention(8, heads, batch_first=True, dtype=torch.float64)
    weights = (attention.qkv.weight, attention.qkv.bias, attention.out.weight, attention.out.bias)
    for weight, own in zip(reference.parameters(), weights, strict=True):
        weight.data.copy_(own)
    x_NHWC = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    tokens = x_NHWC.flatten(1, 2)
    expected, _ = reference(tokens, tokens, tokens, need_weights=False)
    assert_close(attention(x_NHWC), expected.reshape(2, 3, 5, 8), rtol=0, atol=1e-12)


def test_convolution_mixing_and_mlp_are_their_formulas():
    torch.manual_seed(0)
    x_NHWC = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    mixing, mlp = ConvMixing(8, 3).double(), Mlp(8, 2).double()
    hidden_NCHW = F.gelu(mixing.into(x_NHWC)).permute(0, 3, 1, 2)
    mixed_NCHW = F.conv2d(hidden_NCHW, mixing.depthwise.weight, padding=1, groups=8)
    assert_close(mixing(x_NHWC), mixing.out(mixed_NCHW.permute(0, 2, 3, 1)), rtol=0, atol=1e-12)
    assert torch.equal(mlp(x_NHWC), mlp.out(F.gelu(mlp.into(x_NHWC))))
    assert mlp.into.weight.shape == (16, 8)


def test_a_block_adds_what_it_makes_of_normed_patches():
    torch.manual_seed(0)
    block = Block(8, nn.Linear(8, 8), nn.Tanh()).double()
    x_NHWC = 3 + torch.randn(2, 3, 5, 8, dtype=torch.float64)
    y = x_NHWC + block.mixing(F.layer_norm(x_NHWC, (8,)))
    expected = y + F.layer_norm(y, (8,)).tanh()
    assert_close(block(x_NHWC.permute(0, 3, 1, 2)), expected.permute(0, 3, 1, 2), rtol=0, atol=1e-12)


def test_the_head_classifies_the_mean_of_normed_patches():
    torch.manual_seed(0)
    head = Head(8, 3).double()
    x_NHWC = 3 + torch.randn(2, 3, 5, 8, dtype=torch.float64)
    expected = head.classifier(F.layer_norm(x_NHWC, (8,)).mean(dim=(1, 2)))
    assert_close(head(x_NHWC.permute(0, 3, 1, 2)), expected, rtol=0, atol=1e-12)


def test_a_patch_that_an_image_does_not_fill_is_filled_with_zeros():
    embedding = PatchEmbedding(3, 8, 4).double()
    x = images(size=6)
    filled = torch.zeros(4, 3, 8, 8, dtype=torch.float64)
    filled[:, :, :6, :6] = x
    assert_close(embedding(x), embedding(filled), rtol=0, atol=1e-12)


def test_the_position_encoding_alone_tells_patches_apart():
    network = SPACE.network(architecture("attention_h2", "mlp_r2", "attention_h4", "mlp_r2"), **SMALL).double()
    assert isinstance(network, VisionTransformer)
    x = images()
    turned = x.roll((2, 4), dims=(2, 3))  # by one patch and two
    assert not torch.allclose(network(x), network(turned))
    with torch.no_grad():
        network.position.weight.zero_()
    assert_close(network(x), network(turned), rtol=0, atol=1e-12)


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
def test_two_steps_move_alphas_to_finite_values(relaxation: Relaxation, hypergradient: Hypergradient):
    net = supernet()
    before = {name: alpha.detach().clone() for name, alpha in net.alphas.items()}
    weights = torch.optim.SGD(net.model.parameters(), lr=0.05, momentum=0.9)
    alphas = torch.optim.Adam(net.alpha_parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        result = step(net, weights, alphas, relaxation, hypergradient, generator)
        assert result.loss.isfinite()
    for name, alpha in net.alphas.items():
        assert alpha.isfinite().all()
        assert not torch.equal(alpha, before[name])


def step(net, weights, alphas, relaxation, hypergradient, generator=None):
    targets = torch.tensor([0, 1, 2, 0])
    return search_step(
        net,
        weight_batch=(images(), targets),
        alpha_batch=(images().flip(3), targets),
        weight_optimizer=weights,
        alpha_optimizer=alphas,
        relaxation=relaxation,
        hypergradient=hypergradient,
        generator=generator,
    )


def test_finite_difference_and_exact_product_agree_on_this_smooth_network():
    found = []
    for mixed in (ExactProduct(), FiniteDifference(1e-4)):
        net = supernet()
        # A rate at which the second term is a sizable part of the whole.
        weights, alphas = torch.optim.SGD(net.model.parameters(), lr=1.0), torch.optim.SGD(net.alpha_parameters(), lr=0)
        step(net, weights, alphas, Softmax(), OneStep(mixed))
        found.append(torch.cat([alpha.grad for alpha in net.alpha_parameters() if alpha.grad is not None]))
    first = supernet()
    weights, alphas = torch.optim.SGD(first.model.parameters(), lr=1.0), torch.optim.SGD(first.alpha_parameters(), lr=0)
    step(first, weights, alphas, Softmax(), FirstOrder())
    without = torch.cat([alpha.grad for alpha in first.alpha_parameters() if alpha.grad is not None])
    assert (found[0] - without).norm() > 0.1 * found[0].norm()
    # GELU, softmax and layer norm are smooth: the error of central differences is about radius^2.
    assert (found[1] - found[0]).norm() < 1e-6 * found[0].norm()


@pytest.mark.slow
@pytest.mark.parametrize("kept", [("attention_h2", "mlp_r2", "conv_k3", "mlp_r4")])
def test_a_trained_network_is_exported_and_loaded(tmp_path: Path, kept: tuple[str, ...]):
    builder = SpaceBuilder(channels=2, cells=3, num_classes=3, in_channels=3, auxiliary=True)
    interface = Interface(("a", "b", "c"), ResizeRule(9), Normalization((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)))
    network = builder.network(architecture(*kept))
    save_network(Run(tmp_path / "retrain"), network, NetworkSpec(architecture(*kept), builder, interface))
    assert [file.format for file in export(tmp_path)] == ["onnx", "torch", "state_dict", "safetensors"]
    x = images(size=9).float()
    assert torch.equal(load(tmp_path)(x), network.eval()(x))


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": 0}, "blocks must be 1 or more; got 0"),
        ({"patch_size": 0}, "patch_size must be 1 or more; got 0"),
        ({"heads": (2, 2)}, r"heads must be different numbers of 1 or more; got \[2, 2\]"),
        ({"ratios": (0,)}, "ratios must be different numbers"),
        ({"kernels": (3, 4)}, r"kernels must be odd.*\[3, 4\]"),
        ({"heads": (), "kernels": ()}, "needs heads or kernels"),
        ({"ratios": ()}, "needs heads or kernels to mix by, and ratios"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        TransformerSpace(**arguments)


@pytest.mark.parametrize("arguments", [{"heads": [2.0]}, {"heads": ["2"]}, {"heads": 2}])
def test_lists_of_other_things_are_refused_from_files(arguments: dict):
    with pytest.raises(ValueError, match=f"'{next(iter(arguments))}' must look like"):
        space_named("transformer", arguments)


def test_what_does_not_belong_here_is_refused():
    found = drawn(0)
    with pytest.raises(ValueError, match="belongs to space 'darts'"):
        SPACE.network(DartsSpace().random(torch.Generator()), **SMALL)
    with pytest.raises(ValueError, match=r"'block1.mlp' has no candidate 'mlp_r8'"):
        SPACE.check(replace(found, decisions={**found.decisions, "block1.mlp": "mlp_r8"}))
    missing = {name: kept for name, kept in found.decisions.items() if name != "block2.mlp"}
    with pytest.raises(ValueError, match=r"the model needs .*'block2.mlp'"):
        SPACE.check(replace(found, decisions=missing))


@pytest.mark.parametrize("build", ["model", "network"])
def test_wrong_sizes_are_refused(build: str):
    def make(**size) -> nn.Module:
        size = {**SMALL, **size}
        return SPACE.model(**size) if build == "model" else SPACE.network(drawn(0), **size)

    with pytest.raises(ValueError, match=r"must be 2 or more, .* got 1. Give --cells 2, or --space.blocks 1"):
        make(cells=1)
    with pytest.raises(ValueError, match=r"= 12 channels, which heads \[2, 4, 8\] must divide; .* multiple of 2"):
        make(channels=3)
    with pytest.raises(ValueError, match="num_classes must be 1 or more; got 0"):
        make(num_classes=0)
    with pytest.raises(ValueError, match="stem must be 'cifar' or 'imagenet'; got 'audio'"):
        make(stem="audio")
