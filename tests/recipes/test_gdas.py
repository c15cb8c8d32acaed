"""Three search steps of GDAS against its formulas.

Read: D-X-Y/AutoDL-Projects, exps/NAS-Bench-201-algos/GDAS.py (`search_func`: the weights move first, and the alphas'
gradients are clipped with theirs) and xautodl/models/cell_searchs/search_cells.py (`forward_gdas`: candidates that are
not drawn add their weight as a number). There the temperature changes once per epoch, here with the steps; there the
clipped norm also holds what the last step of the alphas left in their gradients.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dnas import Batch, GumbelSoftmax, Linear, Mixture, Relaxation, Softmax, WeightSGD
from tests.support.method import (
    SGD,
    TRAIN,
    VAL,
    Adam,
    assert_same,
    differs,
    final,
    grad,
    gumbel,
    initial_alphas,
    initial_weights,
    leaf,
    loss,
    new_supernet,
    one_hot_of,
    progress,
    searched,
    settings_of,
)


def gdas(*, clip: float = 5.0) -> dict[str, Tensor]:
    """As in the official code, with draws of their own for weights and alphas."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025, weight_decay=5e-4, nesterov=True, clip=None), Adam()
    generator = torch.Generator().manual_seed(0)
    for step, (train, val) in enumerate(zip(TRAIN, VAL, strict=True)):
        temperature = 10 + (0.1 - 10) * progress(step)
        leaves, alpha = leaf(w), leaf(a)
        g = grad(drawn_loss(leaves, alpha["cell"], temperature, generator, train), leaves | alpha)
        norm = torch.stack([(value**2).sum() for value in g.values()]).sum().sqrt()
        scale = (clip / (norm + 1e-6)).clamp(max=1.0)
        w = sgd.step(w, {name: scale * g[name] for name in w})
        alpha = leaf(a)
        a = adam.step(a, grad(drawn_loss(w, alpha["cell"], temperature, generator, val), alpha))
    return w | a


def paper() -> dict[str, Tensor]:
    """Eq. 3 to 6 of the paper, as DARTS alternates: what is not drawn is not there."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025, weight_decay=5e-4, nesterov=True), Adam()
    generator = torch.Generator().manual_seed(0)
    for step, (train, val) in enumerate(zip(TRAIN, VAL, strict=True)):
        temperature = 10 + (0.1 - 10) * progress(step)
        alpha = leaf(a)
        h, m = drawn(alpha["cell"], temperature, generator)
        a = adam.step(a, grad(loss(w, h * m, val), alpha))
        leaves = leaf(w)
        h, m = drawn(a["cell"], temperature, generator)
        w = sgd.step(w, grad(loss(leaves, h * m, train), leaves))
    return w | a


def drawn(alpha: Tensor, temperature: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """h, one-hot at the largest p = softmax((log softmax(alpha) + G) / T), and h - sg(p) + p."""
    p = ((alpha.log_softmax(-1) + gumbel(generator)) / temperature).softmax(-1)
    h = one_hot_of(p.detach())
    return h, h - p.detach() + p


def drawn_loss(
    w: dict[str, Tensor], alpha: Tensor, temperature: Tensor, generator: torch.Generator, batch: Batch
) -> Tensor:
    """mean (y + s - target)^2 with y of the drawn candidates, and s the sum of the weights of the others."""
    h, m = drawn(alpha, temperature, generator)
    s = ((1 - h) * m).sum()
    return loss(w, h * m, Batch(batch.inputs, batch.targets - s))


def test_three_steps_of_gdas_are_those_of_the_official_code():
    assert_same(final(searched(settings_of("gdas"))), gdas())


def test_clipping_counts_the_gradients_of_the_alphas():
    settings = settings_of("gdas")
    clipped = replace(settings, weights=WeightSGD(weight_decay=5e-4, nesterov=True, clip=0.5))
    assert_same(final(searched(clipped)), gdas(clip=0.5))
    assert differs(final(searched(replace(clipped, clip_over="weights"))), gdas(clip=0.5), "u")


def test_without_what_the_code_adds_they_are_the_formulas_of_the_paper():
    plain = replace(
        settings_of("gdas"), relaxation=GumbelSoftmax(Linear(10.0, 0.1)), weights_first=False, clip_over="weights"
    )
    assert_same(final(searched(plain)), paper())


def test_an_undrawn_candidate_has_the_sum_of_the_gradient_of_the_output():
    supernet = new_supernet()
    values = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    supernet.loss(supernet.weights(), {"cell": Mixture(values, ((0,), (1,)), adds_inactive=True)}, VAL[0])[0].backward()
    w, batch = initial_weights(), VAL[0]
    y = batch.inputs + w["a1"] * batch.inputs * w["u"]
    g = 2 * (y - batch.targets) / y.numel()
    own = ((g * batch.inputs).sum(), (g * w["a1"] * batch.inputs * w["u"]).sum())
    expected = torch.stack([own[0], g.sum(), g.sum(), g.sum(), own[1], g.sum()]).reshape(2, 3)
    torch.testing.assert_close(values.grad, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "other", [Softmax(), GumbelSoftmax(Linear(10.0, 0.1), hard=False), GumbelSoftmax(Linear(10.0, 1.0))]
)
def test_they_differ_without_hard_samples_and_with_another_temperature(other: Relaxation):
    found = final(searched(replace(settings_of("gdas"), relaxation=other)))
    assert differs(found, gdas(), "cell")
