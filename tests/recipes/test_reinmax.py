"""Three search steps with ReinMax against its formulas.

Read: automl/ConfigurableOptimizer, src/confopt/oneshot/archsampler/reinmax/sampler.py, which calls the package
`reinmax`; the gradient is algorithm 2 of the paper (Liu et al. 2023) at temperature 1.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dnas import Constant, GumbelSoftmax, Relaxation, Softmax
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
    one_hot_of,
    searched,
    settings_of,
)


def reinmax() -> dict[str, Tensor]:
    """d alpha = (2 J((p + D) / 2) - J(p) / 2) g with p = softmax(alpha), D drawn from it and g = dL/dm at m = D."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025, weight_decay=5e-4, nesterov=True), Adam()
    generator = torch.Generator().manual_seed(0)
    for train, val in zip(TRAIN, VAL, strict=True):
        p, d = a["cell"].softmax(-1), drawn(a["cell"], generator)
        m = leaf({"m": d})
        g = grad(loss(w, m["m"], val), m)["m"]
        a = adam.step(a, {"cell": 2 * jacobian_times((p + d) / 2, g) - jacobian_times(p, g) / 2})
        leaves, d = leaf(w), drawn(a["cell"], generator)
        w = sgd.step(w, grad(loss(leaves, d, train), leaves))
    return w | a


def drawn(alpha: Tensor, generator: torch.Generator) -> Tensor:
    return one_hot_of(alpha.log_softmax(-1) + gumbel(generator))


def jacobian_times(q: Tensor, g: Tensor) -> Tensor:
    """(diag(q) - q q^T) g for each of the two edges."""
    return torch.stack([(torch.diag(q[e]) - torch.outer(q[e], q[e])) @ g[e] for e in range(2)])


def test_three_steps_of_reinmax_are_its_formulas():
    assert_same(final(searched(settings_of("reinmax"))), reinmax())


@pytest.mark.parametrize(
    "other", [Softmax(), GumbelSoftmax(Constant(1.0)), GumbelSoftmax(Constant(1.0), compute_all=True)]
)
def test_they_differ_with_softmax_and_with_straight_through_gradients(other: Relaxation):
    assert differs(final(searched(replace(settings_of("reinmax"), relaxation=other))), reinmax(), "cell")
