"""The result of a search with BestEpoch has the alphas of its best epoch.

Read: PasaLab/oles, train_search.py, `main`.
"""

from dataclasses import replace

import pytest
import torch

from dnas import BestEpoch, Constant, SearchSettings, UniformPath, WeightSGD, search
from dnas.searching.observer.base import EpochReport, Observer
from tests.support.method import TRAIN, VAL, batches, new_supernet, settings_of


class Alphas(Observer):
    """Remembers the alphas and the validation loss of every epoch."""

    def __init__(self) -> None:
        self.alphas, self.losses = [], []

    def epoch_ended(self, report: EpochReport) -> None:
        self.alphas.append(report.supernet.alphas["cell"].detach().clone())
        self.losses.append(report.scalars["validation_loss"])


@pytest.mark.parametrize("at_its_start", [False, True])
def test_the_alphas_are_those_of_the_epoch_with_the_least_validation_loss(at_its_start: bool):
    # So fast that the loss rises again: the best epoch is neither the first nor the last.
    settings = settings_of("darts_1st", epochs=8)
    settings = replace(settings, weights=WeightSGD(lr=Constant(0.2)), observers=(BestEpoch(at_its_start),))
    settings = replace(settings, alphas=replace(settings.alphas, lr=0.5))
    seen = Alphas()
    result = search(new_supernet(), TRAIN, VAL, settings=settings, validation=batches(9), observers=[seen])
    best = seen.losses.index(min(seen.losses))
    assert 1 <= best < 7
    assert torch.equal(result.supernet.alphas["cell"], seen.alphas[best - at_its_start])


def test_at_the_first_epoch_its_end_is_taken():
    settings = replace(settings_of("darts_1st"), observers=(BestEpoch(at_its_start=True),))
    seen = Alphas()
    result = search(new_supernet(), TRAIN, VAL, settings=settings, observers=[seen])
    assert torch.equal(result.supernet.alphas["cell"], seen.alphas[0])


def test_it_is_refused_where_nothing_is_measured_or_chosen():
    with pytest.raises(ValueError, match="set validate_every to 1"):
        SearchSettings(observers=(BestEpoch(),), validate_every=0)
    with pytest.raises(ValueError, match="no alphas are trained"):
        replace(settings_of("random_sharing"), observers=(BestEpoch(),), validate_every=1)
    assert UniformPath.trains_alphas is False
