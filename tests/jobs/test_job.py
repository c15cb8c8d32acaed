"""What a user asks for: its settings, their seeds, and how they are read back from a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dnas import (
    AlphaAdam,
    Argmax,
    BetaDecay,
    ConjugateGradient,
    Constant,
    Cosine,
    DartsSpace,
    ExactProduct,
    ExpectedCost,
    FiniteDifference,
    FirstOrder,
    GumbelSoftmax,
    LimitedSkips,
    Linear,
    NasBench201Space,
    Neumann,
    OneStep,
    Run,
    SearchSettings,
    Sigmoid,
    Threshold,
    Unrolled,
    WeightSGD,
)
from dnas.cli.run_settings import job_of
from dnas.jobs.job import Job, seeded_retrain, seeded_search
from dnas.system.plain_data import to_plain
from dnas.training.settings import RetrainSettings
from tests.support.cli import make_photos

SMALL = Job(image_size=8, batch_size=8, channels=2, cells=3, retrain=RetrainSettings(batch_size=8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def job(photos: Path) -> Job:
    return replace(SMALL, data=str(photos))


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 0},
        {"channels": -1},
        {"cells": 0},
        {"batch_size": 0},
        {"test_fraction": 0.0},
        {"test_fraction": 1.0},
        {"test_fraction": float("nan")},
        {"validation_fraction": -0.1},
        {"validation_fraction": 1.0},
        {"validation_fraction": float("nan")},
        {"seed": 2**63},
        {"time": "soon"},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict[str, Any]):
    (name,) = wrong
    with pytest.raises(ValueError, match="time" if name == "time" else name):
        Job(**wrong)


def test_what_is_left_to_choose_is_told():
    assert Job().missing_sizes == ("image_size", "channels", "cells", "batch_size")
    assert Job(channels=3, image_size=8).missing_sizes == ("cells", "batch_size")
    assert SMALL.missing_sizes == ()


def test_one_seed_moves_all_others():
    job = Job(seed=5, search=SearchSettings(seed=2), retrain=RetrainSettings(seed=3))
    assert (seeded_search(job).seed, seeded_retrain(job).seed) == (7, 8)
    assert replace(seeded_search(job), seed=2) == job.search


PARTS: dict[str, dict[str, Any]] = {
    "Gumbel": {"relaxation": GumbelSoftmax(temperature=Constant(2.0), hard=False)},
    "sigmoid": {"relaxation": Sigmoid(), "discretization": Threshold(0.3)},
    "first order": {"hypergradient": FirstOrder()},
    "one step, finite difference": {"hypergradient": OneStep(FiniteDifference(0.02))},
    "one step, exact": {"hypergradient": OneStep(ExactProduct())},
    "unrolled": {"hypergradient": Unrolled(3)},
    "Neumann": {"hypergradient": Neumann(terms=3, rate=0.1)},
    "conjugate gradient": {"hypergradient": ConjugateGradient()},
    "penalties": {"penalties": (BetaDecay(), ExpectedCost({"normal": [[1.0, 2.0], [0.5, 0.0]]}, target=3.0))},
    "schedules": {"weights": WeightSGD(lr=Linear(0.1, 0.0), nesterov=True, clip=None)},
    "alphas": {"alphas": AlphaAdam(lr=1e-5, betas=(0.1, 0.2), weight_decay=0.0), "discretization": Argmax()},
    "lengths": {"epochs": 3, "warmup_epochs": 2, "seed": 9, "log_every": 1, "checkpoint_minutes": 0.5},
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize(
    "space", [DartsSpace(nodes=2, edge_weights=True), NasBench201Space()], ids=["darts", "nasbench"]
)
def test_a_runs_config_gives_back_an_equal_job(tmp_path, parts: dict[str, Any], space: Any):
    retrain = RetrainSettings(epochs=7, weights=WeightSGD(lr=Cosine(0.3, 0.1)), auxiliary=False, cutout=0)
    search = SearchSettings(**parts)
    job = replace(SMALL, data="a folder/with: signs", space=space, search=search, retrain=retrain, time="90s", seed=-4)
    run = Run(tmp_path)
    run.write_config({"job": to_plain(job)})
    assert job_of(run, trust=False) == job


def test_skips_that_are_limited_in_a_cell_that_the_space_has_not_are_refused_at_once():
    settings = SearchSettings(discretization=LimitedSkips())
    assert Job(search=settings).search == settings
    with pytest.raises(ValueError, match=r"in cell 'normal', which this model does not have.*{'cell': .*Set decisions"):
        Job(space=NasBench201Space(), search=settings)
    fitting = SearchSettings(discretization=LimitedSkips(decisions=("cell",)))
    assert Job(space=NasBench201Space(), search=fitting).search == fitting
