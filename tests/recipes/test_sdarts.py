"""Three search steps of SmoothDARTS, random and adversarial, against their formulas.

Read: xiangning-chen/SmoothDARTS, sota/cnn/train_search.py, model_search.py (`clip`) and attacker/perturb.py. There the
radius changes once per epoch, here with the steps; the attack runs there in evaluation mode, which this problem has
not.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dnas import AdversarialSmoothing, Batch
from tests.support.method import (
    SGD,
    TRAIN,
    VAL,
    Adam,
    assert_same,
    differs,
    final,
    grad,
    initial_alphas,
    initial_weights,
    leaf,
    loss,
    progress,
    searched,
    settings_of,
    uniform,
)


def sdarts(adversarial: bool) -> dict[str, Tensor]:
    """Alphas as in DARTS; weights on L_train(w, m + d) with |d| <= 0.03 + 0.27 t, random or as bad as can be found."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025), Adam()
    generator = torch.Generator().manual_seed(0)
    for step, (train, val) in enumerate(zip(TRAIN, VAL, strict=True)):
        alpha = leaf(a)
        a = adam.step(a, grad(loss(w, alpha["cell"].softmax(-1), val), alpha))
        radius = (0.03 + (0.3 - 0.03) * progress(step)).double()
        m = a["cell"].softmax(-1)
        nearby = clip(m + radius * (2 * uniform(generator) - 1))
        if adversarial:
            nearby = attacked(w, m, nearby, radius, train)
        leaves = leaf(w)
        w = sgd.step(w, grad(loss(leaves, nearby, train), leaves))
    return w | a


def clip(m: Tensor) -> Tensor:
    """Into [0, 1], then each row divided by its sum."""
    m = m.clamp(0, 1)
    return m / m.sum(-1, keepdim=True)


def attacked(w: dict[str, Tensor], m: Tensor, start: Tensor, radius: Tensor, batch: Batch) -> Tensor:
    """Seven steps of 2 radius / 7 along the sign of the gradient; m itself where the loss did not grow."""
    nearby = start
    for _ in range(7):
        leaves = leaf({"m": nearby})
        up = grad(loss(w, leaves["m"], batch), leaves)["m"].sign()
        nearby = clip(m + (nearby + 2 * radius / 7 * up - m).clamp(-radius, radius))
    return m if loss(w, m, batch) > loss(w, nearby, batch) else nearby


@pytest.mark.parametrize(("name", "adversarial"), [("sdarts_rs", False), ("sdarts_adv", True)])
def test_three_steps_are_its_formulas(name: str, adversarial: bool):
    assert_same(final(searched(settings_of(name))), sdarts(adversarial))


@pytest.mark.parametrize(("name", "adversarial"), [("sdarts_rs", False), ("sdarts_adv", True)])
def test_they_differ_without_smoothing(name: str, adversarial: bool):
    assert differs(final(searched(replace(settings_of(name), smoothing=None))), sdarts(adversarial), "u", "a0")


def test_the_two_differ_and_so_does_an_attack_of_fewer_steps():
    assert differs(sdarts(adversarial=True), sdarts(adversarial=False), "u")
    settings = replace(settings_of("sdarts_adv"), smoothing=AdversarialSmoothing(steps=3))
    assert differs(final(searched(settings)), sdarts(adversarial=True), "u")
