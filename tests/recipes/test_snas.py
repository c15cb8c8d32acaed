"""Three search steps of SNAS, and of DARTS with one level, against their formulas.

Read: SNAS-Series/SNAS-Series, SNAS/train_search.py, model_search.py and utils.py (the step without its resource term,
the alphas' optimizer as in the distributed form; the temperature changes there once per epoch). One level with softmax
is from the paper of DARTS, section 3.3: the official code has none.
"""

from dataclasses import replace

import torch
from torch import Tensor

from dnas import Softmax
from tests.support.method import (
    SGD,
    TRAIN,
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
    progress,
    searched,
    settings_of,
)


def snas(gumbel_noise: bool) -> dict[str, Tensor]:
    """min over w and alpha of L_train(w, m), m = softmax((log softmax(alpha) + G) / T): both from one draw and pass."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025), Adam()
    generator = torch.Generator().manual_seed(0)
    for step, batch in enumerate(TRAIN):
        leaves = leaf(w | a)
        m = leaves["cell"].softmax(-1)
        if gumbel_noise:
            temperature = 1 + (0.03 - 1) * progress(step)
            m = ((leaves["cell"].log_softmax(-1) + gumbel(generator)) / temperature).softmax(-1)
        g = grad(loss(leaves, m, batch), leaves)
        w, a = sgd.step(w, {name: g[name] for name in w}), adam.step(a, {"cell": g["cell"]})
    return w | a


def test_three_steps_of_snas_are_its_formulas():
    assert_same(final(searched(settings_of("snas"))), snas(gumbel_noise=True))


def test_they_differ_without_the_samples():
    assert differs(final(searched(replace(settings_of("snas"), relaxation=Softmax()))), snas(gumbel_noise=True), "cell")


def test_they_differ_with_two_levels():
    assert differs(final(searched(replace(settings_of("snas"), one_level=False))), snas(gumbel_noise=True), "cell")


def test_three_steps_of_one_level_are_both_gradients_at_the_same_weights_and_batch():
    assert_same(final(searched(settings_of("one_level"))), snas(gumbel_noise=False))


def test_one_level_differs_from_two():
    found = final(searched(replace(settings_of("one_level"), one_level=False)))
    assert differs(found, snas(gumbel_noise=False), "cell")
    assert differs(found, snas(gumbel_noise=False), "u")
