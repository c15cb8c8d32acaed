"""Three search steps of GDAS against its formulas.

Read: D-X-Y/AutoDL-Projects, exps/NAS-Bench-201-algos/GDAS.py and xautodl/models/cell_searchs/search_model_gdas.py.
There the temperature changes once per epoch, here with the steps.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dnas import GumbelSoftmax, Linear, Relaxation, Softmax
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
    progress,
    searched,
    settings_of,
)


def gdas() -> dict[str, Tensor]:
    """Eq. 3 to 6: one candidate per edge is drawn and computed, in each of the two steps anew."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025, weight_decay=5e-4, nesterov=True), Adam()
    generator = torch.Generator().manual_seed(0)
    for step, (train, val) in enumerate(zip(TRAIN, VAL, strict=True)):
        temperature = 10 + (0.1 - 10) * progress(step)
        alpha = leaf(a)
        a = adam.step(a, grad(loss(w, drawn(alpha["cell"], temperature, generator), val), alpha))
        leaves = leaf(w)
        w = sgd.step(w, grad(loss(leaves, drawn(a["cell"], temperature, generator), train), leaves))
    return w | a


def drawn(alpha: Tensor, temperature: Tensor, generator: torch.Generator) -> Tensor:
    """h - sg(p) + p at the drawn candidate, p = softmax((log softmax(alpha) + G) / T); nothing at the others."""
    p = ((alpha.log_softmax(-1) + gumbel(generator)) / temperature).softmax(-1)
    h = one_hot_of(p.detach())
    return h * (h - p.detach() + p)


def test_three_steps_of_gdas_are_its_formulas():
    assert_same(final(searched(settings_of("gdas"))), gdas())


@pytest.mark.parametrize(
    "other", [Softmax(), GumbelSoftmax(Linear(10.0, 0.1), hard=False), GumbelSoftmax(Linear(10.0, 1.0))]
)
def test_they_differ_without_hard_samples_and_with_another_temperature(other: Relaxation):
    found = final(searched(replace(settings_of("gdas"), relaxation=other)))
    assert differs(found, gdas(), "cell")
