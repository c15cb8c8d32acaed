"""Three search steps of FairDARTS and its choice of operations against its formulas.

Read: xiaomi-automl/FairDARTS, fairdarts/architect.py, separate_loss.py, train_search.py and utils.py. There the mean of
the zero-one loss runs over the gates of both cells; this problem has one.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dnas import Argmax, CellArchitecture, KeptEdge, Softmax, Threshold
from tests.support.method import (
    CANDIDATES,
    EDGES,
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
    new_supernet,
    searched,
    settings_of,
)


def fair_darts() -> dict[str, Tensor]:
    """m = sigmoid(alpha); L_val - 10 mean (m - 1/2)^2."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.005), Adam(3e-3, betas=(0.9, 0.999))
    for train, val in zip(TRAIN, VAL, strict=True):
        alpha = leaf(a)
        gates = 1 / (1 + torch.exp(-alpha["cell"]))
        a = adam.step(a, grad(loss(w, gates, val) - 10 * ((gates - 0.5) ** 2).mean(), alpha))
        leaves = leaf(w)
        w = sgd.step(w, grad(loss(leaves, 1 / (1 + torch.exp(-a["cell"])), train), leaves))
    return w | a


def test_three_steps_of_fair_darts_are_its_formulas():
    assert_same(final(searched(settings_of("fair_darts"))), fair_darts())


def test_they_differ_with_softmax_and_without_the_zero_one_loss():
    gates = replace(settings_of("fair_darts"), penalties=())
    assert differs(final(searched(gates)), fair_darts(), "cell")
    softmax = replace(gates, relaxation=Softmax(), discretization=Argmax())
    assert differs(final(searched(softmax)), final(searched(gates)), "cell")


@pytest.mark.parametrize(
    ("one_per_edge", "kept"),
    [
        (True, [(0, 0)]),  # fairdarts/utils.py, `parse` with 'threshold_sparse': the strongest of an edge, from 0.85 on
        (False, [(0, 0), (0, 2)]),  # the paper, section 4.3: every gate above 0.85
    ],
)
def test_gates_from_0_85_on_stay(one_per_edge: bool, kept: list[tuple[int, int]]):
    supernet, settings = new_supernet(), settings_of("fair_darts")
    with torch.no_grad():
        supernet.alphas["cell"].copy_(torch.logit(torch.tensor([[0.9, 0.2, 0.88], [0.1, 0.8, 0.3]])))
    assert settings.discretization == Threshold(0.85, one_per_edge=True)
    found = searched(replace(settings, discretization=Threshold(0.85, one_per_edge=one_per_edge)), supernet)
    cell = found.architecture.decisions["cell"]
    assert isinstance(cell, CellArchitecture)
    assert cell.edges == tuple(KeptEdge(*EDGES[edge], CANDIDATES[k]) for edge, k in kept)
