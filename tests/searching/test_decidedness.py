"""How decided a search is: shares of equal choices, leads of candidates, and the case of 135 steps."""

import math
from dataclasses import replace

import pytest
import torch

from dnas import Mixture, RandomSampling
from dnas.core.decision import Decision
from dnas.jobs.planning.rate import fitted_rate
from dnas.searching.decidedness import agreement, decidedness, is_open
from tests.support.method import STEPS, Adam, new_supernet, searched, settings_of

CHOICES = {name: Decision(name, "choice", ("a", "b", "c")) for name in ("one", "two")}


def mixtures(one: list[float], two: list[float]) -> dict[str, Mixture]:
    return {"one": Mixture(torch.tensor(one)), "two": Mixture(torch.tensor(two))}


def test_agreement_is_the_share_of_equal_choices():
    assert agreement({"one": "a", "two": "b"}, {"one": "a", "two": "c"}, CHOICES) == 0.5
    assert agreement({"one": "a", "two": "b"}, {"one": "a", "two": "b"}, CHOICES) == 1.0


def test_stability_is_the_mean_agreement_and_the_lead_the_median_ratio():
    final, before = {"one": "a", "two": "b"}, [{"one": "a", "two": "c"}, {"one": "a", "two": "b"}]
    found = decidedness(final, before, mixtures([0.6, 0.3, 0.1], [0.1, 0.8, 0.1]), CHOICES, gates=False)
    assert found.stability == 0.75
    assert found.lead == pytest.approx((2.0 + 8.0) / 2)
    assert not found.is_decided  # one of four choices changed
    assert decidedness(final, [final], mixtures([0.6, 0.3, 0.1], [0.1, 0.8, 0.1]), CHOICES, gates=False).is_decided


def test_equal_weights_are_not_decided_however_stable_they_are():
    final = {"one": "a", "two": "a"}
    found = decidedness(final, [final] * 5, mixtures([0.34, 0.33, 0.33], [0.34, 0.33, 0.33]), CHOICES, gates=False)
    assert found.stability == 1.0
    assert not found.is_decided
    assert "not decided: the candidates are nearly equal" in str(found)


def test_only_what_leaves_a_choice_is_open():
    single = Decision("act", "choice", ("relu",))
    assert (is_open(single, gates=False), is_open(single, gates=True)) == (False, True)
    assert is_open(CHOICES["one"], gates=False)
    edges = ((0, 2), (1, 2))
    cell = Decision("cell", "operations", ("none", "skip"), edges=edges, num_kept=2, excluded=("none",), output=(2,))
    assert not is_open(cell, gates=False)
    assert is_open(replace(cell, num_kept=1), gates=False)
    assert is_open(replace(cell, excluded=()), gates=False)
    inputs = Decision("in", "inputs", ("a", "b"), num_kept=2)
    assert (is_open(inputs, gates=False), is_open(replace(inputs, num_kept=1), gates=False)) == (False, True)


def test_gates_lead_by_their_odds():
    gate = {"one": Mixture(torch.tensor([0.9, 0.1, 0.2]))}
    found = decidedness({"one": "a"}, [{"one": "a"}], gate, {"one": CHOICES["one"]}, gates=True)
    assert found.lead == pytest.approx(9.0)


def test_adam_carries_an_alpha_of_constant_gradient_by_rate_times_steps():
    # The reach: m_hat / sqrt(v_hat) is the sign of a constant gradient, whatever its size.
    adam, alpha = Adam(0.01, weight_decay=0.0), {"a": torch.zeros(2, dtype=torch.float64)}
    for _ in range(135):
        alpha = adam.step(alpha, {"a": torch.tensor([-3.0, 0.2], dtype=torch.float64)})
    torch.testing.assert_close(alpha["a"], torch.tensor([1.35, -1.35], dtype=torch.float64), rtol=1e-6, atol=0)


def test_135_steps_at_the_rate_of_darts_end_undecided_and_at_the_fitted_rate_decided():
    assert STEPS * 45 == 135
    darts = settings_of("default", epochs=45)
    fitted = replace(darts, alphas=replace(darts.alphas, lr=fitted_rate(darts.alphas.lr, 135)))
    assert darts.alphas.lr == 3e-4
    supernets = [new_supernet(), new_supernet()]
    for supernet in supernets:
        with torch.no_grad():
            supernet.alphas["cell"].mul_(1e-3)  # as a search begins
    slow, fast = (searched(settings, supernet) for settings, supernet in zip((darts, fitted), supernets, strict=True))
    assert slow.decidedness is not None and fast.decidedness is not None
    assert not slow.decidedness.is_decided
    assert "It is not decided" in str(slow.decidedness)
    assert slow.decidedness.lead < math.exp(4 * 135 * 3e-4)  # two alphas, and twice what a constant gradient would move
    assert fast.decidedness.is_decided
    assert "The search is decided" in str(fast.decidedness)
    assert slow.decidedness.epochs == 12  # a quarter of 45, rounded up


def test_what_is_found_by_evaluation_has_no_decidedness():
    settings = replace(settings_of("random_sharing"), discretization=RandomSampling(samples=2))
    assert searched(settings).decidedness is None
