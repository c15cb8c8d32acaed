"""The loss of language models, and refused settings."""

import math

import pytest
import torch
from torch.testing import assert_close

from dnas.language.settings import LanguageLoss, LanguageTraining
from dnas.space.recurrent_model import LanguageOutput


def test_the_loss_is_cross_entropy_with_size_and_slowness_of_the_states():
    draw = torch.Generator().manual_seed(0)
    logits, states, dropped = (torch.randn(3, 2, 4, dtype=torch.float64, generator=draw) for _ in range(3))
    targets = torch.tensor([[0, 1], [2, 3], [1, 1]])
    terms = LanguageLoss(activation=2.0, slowness=3.0)(LanguageOutput(logits, states, dropped), targets)
    probabilities = logits.exp() / logits.exp().sum(-1, keepdim=True)
    entropy = -sum(math.log(probabilities[t, b, targets[t, b]]) for t in range(3) for b in range(2)) / 6
    slow = sum((states[t] - states[t - 1]).square().sum() for t in (1, 2)) / 16
    expected = {"cross_entropy": entropy, "activation": 2 * (dropped**2).mean(), "slowness": 3 * slow}
    assert_close(terms, {k: torch.as_tensor(v, dtype=torch.float64) for k, v in expected.items()}, rtol=1e-12, atol=0)
    # In evaluation the states are not given out, and the loss is the logarithm of the perplexity.
    assert list(LanguageLoss(2.0, 3.0)(LanguageOutput(logits), targets)) == ["cross_entropy"]


def test_a_number_of_epochs_below_1_is_refused():
    with pytest.raises(ValueError, match="epochs must be 1 or more"):
        LanguageTraining(epochs=0)


def test_a_number_of_epochs_before_averaging_below_1_is_refused():
    with pytest.raises(ValueError, match="average_after must be 1 or more"):
        LanguageTraining(average_after=0)
