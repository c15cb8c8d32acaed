"""Refused settings of language models."""

import pytest

from dnas.language.settings import LanguageLoss, LanguageTraining


def test_a_number_of_epochs_below_1_is_refused():
    with pytest.raises(ValueError, match="epochs must be 1 or more"):
        LanguageTraining(epochs=0)


def test_a_number_of_epochs_before_averaging_below_1_is_refused():
    with pytest.raises(ValueError, match="average_after must be 1 or more"):
        LanguageTraining(average_after=0)


def test_a_factor_of_the_loss_below_0_is_refused():
    with pytest.raises(ValueError, match="slowness must be 0 or more; got -1"):
        LanguageLoss(slowness=-1.0)
