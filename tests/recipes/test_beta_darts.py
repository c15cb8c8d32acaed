"""Three search steps of beta-DARTS against its formulas.

Read: Sunshine-Ye/Beta-DARTS, optimizers/darts/architect.py (`mlc_loss`) and nasbench201/train_search.py. There the
weight is 50 * epoch / 100, here 50 t with the steps.
"""

from dataclasses import replace

from torch import Tensor

from dnas import BetaDecay, Constant
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


def beta_darts() -> dict[str, Tensor]:
    """L_val + 50 t mean over edges of log sum_k exp(alpha_k)."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025), Adam()
    for step, (train, val) in enumerate(zip(TRAIN, VAL, strict=True)):
        alpha = leaf(a)
        decay = alpha["cell"].exp().sum(-1).log().mean()
        a = adam.step(a, grad(loss(w, alpha["cell"].softmax(-1), val) + 50 * progress(step) * decay, alpha))
        leaves = leaf(w)
        w = sgd.step(w, grad(loss(leaves, a["cell"].softmax(-1), train), leaves))
    return w | a


def test_three_steps_of_beta_darts_are_its_formulas():
    assert_same(final(searched(settings_of("beta_darts"))), beta_darts())


def test_they_differ_without_the_penalty_and_with_one_that_does_not_grow():
    for penalties in ((), (BetaDecay(Constant(50.0)),)):
        found = final(searched(replace(settings_of("beta_darts"), penalties=penalties)))
        assert differs(found, beta_darts(), "cell")
