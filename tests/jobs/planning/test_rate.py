"""The alphas' learning rate fits the steps that they take."""

import doctest
from dataclasses import replace

import pytest

import dnas.jobs.planning.rate
from dnas import SearchSettings
from dnas.data import open_source
from dnas.jobs.job import Job
from dnas.jobs.planning.rate import FASTEST, REACH, alpha_steps, said_of_rate, with_fitted_rate
from tests.support.method import settings_of

# 763 images in each half of the digits: 9 steps an epoch.
SHORT = Job(data="digits", image_size=8, channels=4, cells=3, batch_size=85, search=SearchSettings(epochs=15))


def test_examples_hold():
    assert doctest.testmod(dnas.jobs.planning.rate).failed == 0


def test_a_search_of_135_steps_gets_the_rate_that_carries_an_alpha_by_the_reach():
    catalog = open_source("digits")
    assert alpha_steps(SHORT, catalog) == 135
    fitted = with_fitted_rate(SHORT, catalog)
    assert fitted.search.alphas.lr * 135 == pytest.approx(REACH)
    assert "0.044 instead of 0.0003" in said_of_rate(SHORT, fitted, catalog)


def test_warm_up_takes_steps_and_the_fastest_rate_is_bounded():
    search = replace(SHORT.search, warmup_epochs=13)
    job = replace(SHORT, search=search)
    catalog = open_source("digits")
    assert alpha_steps(job, catalog) == 18
    assert with_fitted_rate(job, catalog).search.alphas.lr == FASTEST


def test_a_rate_that_is_large_enough_stays_and_paths_without_alphas_too():
    catalog = open_source("digits")
    fast = replace(SHORT, search=replace(SHORT.search, alphas=replace(SHORT.search.alphas, lr=0.1)))
    paths = replace(SHORT, search=settings_of("random_sharing"))
    assert with_fitted_rate(fast, catalog) == fast
    assert with_fitted_rate(paths, catalog) == paths
