"""The search for a recurrent cell on a small text."""

import doctest
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

import dnas.language.search
from dnas.core.run import Run
from dnas.core.schedule import Constant
from dnas.language.search import search_language
from dnas.language.settings import LanguageLoss, LanguageSearch
from dnas.method.hypergradient import OneStep
from dnas.searching.observer import EpochReport, Observer
from dnas.searching.settings import AlphaAdam, SearchSettings
from dnas.space.recurrent import RecurrentDropout
from tests.support.small_language import SGD, SPACE, H, V, corpus


def settings(epochs: int = 2, **others) -> LanguageSearch:
    slow = replace(SGD, lr=Constant(0.5))  # every epoch is better than the last one, by 0.03 or more
    search = SearchSettings(epochs=epochs, weights=slow, alphas=AlphaAdam(3e-3, (0.9, 0.999)), **others)
    sizes: dict[str, Any] = {"hidden": H, "batch_size": 8, "validation_batch_size": 4, "bptt": 7}
    return LanguageSearch(**sizes, dropout=RecurrentDropout(0.1, 0.1, 0.1, 0.1, 0.0), search=search)


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.language.search).failed == 0


def test_a_search_learns_and_is_the_same_for_one_seed():
    first, second = (search_language(corpus(), space=SPACE, settings=settings(3)) for _ in range(2))
    assert first.metrics == second.metrics
    assert first.architecture == second.architecture
    assert all(torch.equal(first.supernet.alphas[name], second.supernet.alphas[name]) for name in first.supernet.alphas)
    losses = [row["train_loss"] for row in first.metrics]
    assert losses[0] > losses[1] > losses[2]
    assert first.metrics[-1]["validation_perplexity"] < V - 1
    SPACE.check(first.architecture)
    assert not [name for name, _ in first.supernet.model.named_buffers()]  # the streams are gone


def test_second_order_runs_through_the_recurrence():
    found = search_language(corpus(), space=SPACE, settings=settings(1, hypergradient=OneStep()))
    assert math.isfinite(found.metrics[-1]["validation_loss"])


def test_logged_perplexity_is_the_exponential_of_a_loss_without_regularisation():
    # The validation loss is measured in evaluation mode, with dropout off and nothing added.
    heavy = LanguageSearch(**{**vars(settings(1)), "loss": LanguageLoss(slowness=100.0)})
    row = search_language(corpus(), space=SPACE, settings=heavy).metrics[-1]
    assert row["train_loss"] > row["train_loss"] - row["slowness"] == pytest.approx(row["cross_entropy"])
    assert row["validation_perplexity"] == pytest.approx(math.exp(row["validation_loss"]), rel=1e-6)
    assert row["validation_perplexity"] < 2 * V


def test_a_search_that_measures_every_second_epoch_says_no_perplexity_in_between():
    rows = search_language(corpus(), space=SPACE, settings=settings(2, validate_every=2)).metrics
    assert ["validation_perplexity" in row for row in rows] == [False, True]


class _StopAfter(Observer):
    """Raises once, as a crash would."""

    def __init__(self, epoch: int):
        self.epoch = epoch

    def epoch_ended(self, report: EpochReport) -> None:
        if report.epoch == self.epoch:
            raise RuntimeError("crash")


def test_a_search_that_was_killed_goes_on_to_the_same_numbers(tmp_path):
    whole = search_language(corpus(), space=SPACE, settings=settings(3))
    with pytest.raises(RuntimeError, match="crash"):
        search_language(corpus(), space=SPACE, settings=settings(3), run=Run(tmp_path), observers=[_StopAfter(2)])
    rest = search_language(corpus(), space=SPACE, settings=settings(3), run=Run(tmp_path))
    assert rest.metrics == whole.metrics
    assert torch.equal(rest.supernet.alphas["recurrent"], whole.supernet.alphas["recurrent"])


def test_a_text_that_is_too_short_for_its_rows_is_refused():
    with pytest.raises(ValueError, match="lower batch_size or bptt"):
        search_language(corpus(), settings=LanguageSearch(batch_size=64))
