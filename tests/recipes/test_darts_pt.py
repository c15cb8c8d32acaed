"""Three search steps of DARTS-PT and its selection by perturbation against its formulas.

Read: ruocwang/darts-pt, nasbench201/projection.py and train_search.py. There the other operations of an edge keep their
weights where one is taken away, and the alphas go on moving between two edges; here the softmax is over what is left,
and the weights alone are tuned.
"""

from dataclasses import replace
from random import Random

import pytest
import torch
from torch import Tensor

from dnas import Argmax, Perturbation, SearchSettings
from tests.support.method import (
    CANDIDATES,
    SGD,
    Adam,
    assert_same,
    differs,
    final,
    grad,
    initial_alphas,
    initial_weights,
    leaf,
    settings_of,
)
from tests.support.method_classes import CLASS_TRAIN, CLASS_VAL, accuracy, class_loss, class_search, kept


def darts_pt(*, afresh: bool = True) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """DARTS; then edge by edge what is missed most stays, with five epochs of a tenth of the rate in between.

    The optimizer of these is a new one (`reset_optimizer`), or goes on with its momentum.
    """
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025), Adam()
    for train, val in zip(CLASS_TRAIN, CLASS_VAL, strict=True):
        alpha = leaf(a)
        a = adam.step(a, grad(class_loss(w, alpha["cell"].softmax(-1), val), alpha))
        w = trained(w, sgd, a["cell"].softmax(-1), train)
    stays = [{0, 1, 2}, {0, 1, 2}]
    first, second = Random(0).sample(range(2), 2)  # the order of the edges
    stays[first] = {missed_most(w, a["cell"], stays, first)}
    sgd = SGD(0.1 * 0.025) if afresh else replace(sgd, lr=0.1 * 0.025)
    for step in range(3, 3 + 5 * 3):
        w = trained(w, sgd, softmax_over(a["cell"], stays), CLASS_TRAIN[step % 3])
    stays[second] = {missed_most(w, a["cell"], stays, second)}
    return w | a, tuple(CANDIDATES[k] for (k,) in stays)


def trained(w: dict[str, Tensor], sgd: SGD, m: Tensor, batch) -> dict[str, Tensor]:
    leaves = leaf(w)
    return sgd.step(w, grad(class_loss(leaves, m, batch), leaves))


def missed_most(w: dict[str, Tensor], alpha: Tensor, stays: list[set[int]], edge: int) -> int:
    """The operation of an edge without which the accuracy is lowest; the first of several."""
    without = {}
    for k in sorted(stays[edge]):
        rows = [row - {k} if e == edge else row for e, row in enumerate(stays)]
        without[k] = accuracy(w, softmax_over(alpha, rows))
    assert len(set(without.values())) > 1  # else the problem could not tell
    return min(without, key=lambda k: without[k])


def softmax_over(alpha: Tensor, rows: list[set[int]]) -> Tensor:
    """exp(alpha_k) over the sum of those that are left, and 0 for the others."""
    left = torch.tensor([[float(k in row) for k in range(3)] for row in rows], dtype=torch.float64)
    weighed = left * alpha.exp()
    return weighed / weighed.sum(-1, keepdim=True)


@pytest.fixture(scope="module")
def settings() -> SearchSettings:
    return settings_of("darts_pt")


def test_steps_tuning_and_selection_of_darts_pt_are_its_formulas(settings: SearchSettings):
    result, (expected, operations) = class_search(settings), darts_pt()
    assert_same(final(result), expected)
    assert kept(result) == operations


def test_without_a_new_optimizer_the_momentum_of_the_search_goes_on(settings: SearchSettings):
    result = class_search(replace(settings, tuning_afresh=False))
    assert_same(final(result), darts_pt(afresh=False)[0])
    assert differs(final(result), darts_pt()[0], "a0", "b1")


def test_it_keeps_others_than_darts(settings: SearchSettings):
    result = class_search(replace(settings, discretization=Argmax(), tuning_afresh=False))
    assert kept(result) != darts_pt()[1]
    assert differs(final(result), darts_pt()[0], "a0", "b1")  # there is no tuning either


def test_the_weights_differ_without_tuning(settings: SearchSettings):
    result = class_search(replace(settings, discretization=Perturbation(epochs_between=0)))
    assert differs(final(result), darts_pt()[0], "a0", "b1")
