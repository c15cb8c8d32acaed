"""The budget of a job, at the sizes of its retraining."""

from dataclasses import replace

import pytest
import torch

from dnas.core.run import Run
from dnas.cost.budget import Budget
from dnas.data import image_kind
from dnas.jobs.budget import bounds_of_job, check_budget_of, random_architectures
from dnas.jobs.job import Job
from dnas.searching.settings import SearchSettings
from dnas.space import NasBench201Space
from dnas.system.errors import UserError
from dnas.training.baseline import draw_random
from dnas.training.settings import RetrainSettings

# Only a limit in milliseconds needs the folder.
NO_RUN = Run("nowhere")
KIND = image_kind(("a", "b", "c"), channels=1, size=8)


def job(*limits: str) -> Job:
    return Job(
        space=NasBench201Space(),
        image_size=8,
        channels=4,
        cells=1,
        search=SearchSettings(budget=Budget(limits) if limits else None),
        retrain=RetrainSettings(channels=4, cells=1, auxiliary=False),
    )


def test_random_architectures_use_the_budget_of_the_retrained_network():
    within = job("flops<=50%")
    bounds = bounds_of_job(within, NO_RUN, KIND)
    assert bounds is not None
    draw = random_architectures(within, NO_RUN, KIND)
    for index in range(5):
        architecture = draw(index)
        assert architecture == random_architectures(within, NO_RUN, KIND)(index)
        assert 0.85 <= bounds.use(architecture.decisions) <= 1
        within.space.check(architecture)


@pytest.mark.parametrize("limits", [(), ("flops<=100%",), ("parameters<=1G",)])
def test_without_a_budget_that_changes_anything_they_are_those_of_the_space(limits):
    for index in range(3):
        assert random_architectures(job(*limits), NO_RUN, KIND)(index) == draw_random(NasBench201Space(), 0, index)


def test_an_architecture_is_checked_at_the_sizes_of_its_retraining():
    within = job("flops<=200k")
    bounds = bounds_of_job(within, NO_RUN, KIND)
    assert bounds is not None
    kept = bounds.program.costliest(bounds.ranges[0].cost, bounds.all, gap=0.01)
    assert kept is not None
    architecture = within.space.architecture(kept)
    check_budget_of(within, NO_RUN, architecture, KIND)
    larger = replace(within, retrain=replace(within.retrain, channels=5))
    with pytest.raises(UserError, match=r"With 5 channels and 1 cells .* over its budget of 200,000"):
        check_budget_of(larger, NO_RUN, architecture, KIND)


def test_a_budget_makes_no_difference_to_the_settings_file_of_a_job_without_one():
    assert bounds_of_job(job(), NO_RUN, KIND) is None
    architecture = NasBench201Space().random(torch.Generator().manual_seed(0))
    check_budget_of(job(), NO_RUN, architecture, KIND)
