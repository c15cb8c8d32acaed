"""Three search steps of beta-DARTS against its formulas.

Read: Sunshine-Ye/Beta-DARTS, optimizers/darts/architect.py (`mlc_loss`), nasbench201/train_search.py (`train`) and
model.py (`softmax_arch_parameters`: in the weights' step the mixtures stand in for the alphas, so that what is clipped
with the weights is the gradient by the mixtures). There the weight is 50 * epoch / 100, here 50 t with the steps.
"""

from dataclasses import replace

import torch
from torch import Tensor

from dnas import BetaDecay, Constant, WeightSGD
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
)


def beta_darts(*, clip: float = 5.0) -> dict[str, Tensor]:
    """L_val + 50 t mean over edges of log sum_k exp(alpha_k); the clipped norm counts dL_train/dm, too."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025, clip=None), Adam()
    for step, (train, val) in enumerate(zip(TRAIN, VAL, strict=True)):
        alpha = leaf(a)
        decay = alpha["cell"].exp().sum(-1).log().mean()
        a = adam.step(a, grad(loss(w, alpha["cell"].softmax(-1), val) + 50 * progress(step) * decay, alpha))
        leaves, m = leaf(w), leaf({"m": a["cell"].softmax(-1)})
        g = grad(loss(leaves, m["m"], train), leaves | m)
        norm = torch.stack([(value**2).sum() for value in g.values()]).sum().sqrt()
        w = sgd.step(w, {name: g[name] * (clip / (norm + 1e-6)).clamp(max=1.0) for name in w})
    return w | a


def test_three_steps_of_beta_darts_are_its_formulas():
    assert_same(final(searched(settings_of("beta_darts"))), beta_darts())


def test_the_clipped_norm_counts_the_mixtures():
    settings = settings_of("beta_darts")
    settings = replace(settings, weights=WeightSGD(clip=0.5))
    assert_same(final(searched(settings)), beta_darts(clip=0.5))
    assert differs(final(searched(replace(settings, clip_over="weights"))), beta_darts(clip=0.5), "u")


def test_they_differ_without_the_penalty_and_with_one_that_does_not_grow():
    for penalties in ((), (BetaDecay(Constant(50.0)),)):
        found = final(searched(replace(settings_of("beta_darts"), penalties=penalties)))
        assert differs(found, beta_darts(), "cell")
