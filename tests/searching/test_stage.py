"""Stages: their lengths in proportion, their progress, and what makes no sense is refused when settings are read."""

from dataclasses import replace
from typing import Any

import pytest

from dnas import Constant, DartsSpace, MobileSpace, NasBench201Space, SearchSettings, Space, Stage
from dnas.jobs.job import Job, job_of_stage
from dnas.searching.stage import parts, scaled, scaled_warmup, sizes_in_job


def test_progress_goes_on_where_stages_carry_and_begins_anew_where_not():
    first, second, third = parts([Stage(2, 1), Stage(6), Stage(4, 2, carry=False)])
    assert [(part.first, part.end, part.warmup_end) for part in (first, second, third)] == [
        (0, 2, 1),
        (2, 8, 2),
        (8, 12, 10),
    ]
    assert (first.progress(0), first.progress(2), second.progress(8)) == (0.0, 0.25, 1.0)
    assert (third.progress(8), third.progress(9), third.progress(12)) == (0.0, 0.25, 1.0)
    assert second.progress(2 * 7 + 3, 7) == (2 * 7 + 3) / (8 * 7)  # within an epoch of seven steps


def test_the_first_stage_begins_a_progress_whatever_it_carries():
    assert [part.span for part in parts([Stage(2, carry=False), Stage(3)])] == [(0, 5), (0, 5)]


def test_a_search_without_stages_is_one():
    settings = SearchSettings(epochs=7, warmup_epochs=3)
    assert settings.all_stages == (Stage(7, 3),)
    assert [(part.first, part.end, part.warmup_end, part.span) for part in settings.parts] == [(0, 7, 3, (0, 7))]


def test_epochs_of_the_search_shorten_all_stages_and_their_warm_ups_in_proportion():
    stages = (Stage(25, 10), Stage(25, 10), Stage(50, 0))
    assert SearchSettings(epochs=100, stages=stages).stages == stages
    shorter = SearchSettings(epochs=20, stages=stages)
    assert [(stage.epochs, stage.warmup_epochs) for stage in shorter.stages] == [(5, 2), (5, 2), (10, 0)]
    assert [stage.epochs for stage in replace(shorter, epochs=8).stages] == [2, 2, 4]


@pytest.mark.parametrize("epochs", range(3, 40))
def test_scaled_stages_add_up_and_each_has_an_epoch(epochs: int):
    stages = scaled([Stage(1, 0), Stage(40, 20), Stage(9, 9)], epochs)
    assert sum(stage.epochs for stage in stages) == epochs
    assert all(stage.epochs >= 1 for stage in stages)
    assert stages[1].warmup_epochs < stages[1].epochs  # an epoch for the alphas stays
    assert stages[2].warmup_epochs == stages[2].epochs  # none where there was none


def test_warm_up_in_proportion():
    assert [scaled_warmup(15, 50, epochs) for epochs in (1, 3, 30, 50, 100)] == [0, 1, 9, 15, 30]


def test_sizes_of_stages_are_in_proportion_to_those_of_the_job():
    stages = [Stage(cells=5, channels=16), Stage(cells=11), Stage(cells=17, channels=24)]
    assert [sizes_in_job(stages, stage, cells=5, channels=16) for stage in stages] == [(5, 16), (11, 16), (17, 24)]
    assert [sizes_in_job(stages, stage, cells=1, channels=4) for stage in stages] == [(1, 4), (2, 4), (3, 6)]


def test_the_job_of_a_stage_has_its_sizes_space_and_length():
    stages = (Stage(10, 2, cells=2), Stage(20, 4, cells=4, partial_channels=2, skip_dropout=Constant(0.3)))
    job = Job(cells=3, channels=8, search=SearchSettings(epochs=30, stages=stages))
    second = job_of_stage(job, stages[1])
    assert (second.cells, second.channels) == (6, 8)
    assert second.space == DartsSpace(partial_channels=2, skip_dropout=Constant(0.3))
    assert (second.search.epochs, second.search.warmup_epochs, second.search.stages) == (20, 4, ())
    assert job_of_stage(job, stages[0]).space == job.space
    assert job_of_stage(replace(job, cells=None), stages[1]).cells is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs of a stage must be at least 1; got 0"),
        ({"num_candidates": 0}, "num_candidates of a stage must be at least 1; got 0"),
        ({"cells": 0}, "cells of a stage must be at least 1"),
        ({"partial_channels": -1}, "partial_channels of a stage must be at least 1"),
        ({"epochs": 2, "warmup_epochs": 3}, "between 0 and its epochs = 2; got 3"),
        ({"warmup_epochs": -1}, "between 0 and its epochs"),
    ],
)
def test_a_stage_with_an_impossible_number_is_refused(setting: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Stage(**setting)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((Stage(num_candidates=2), Stage()), "first stage has no effect: there are no alphas yet"),
        ((Stage(), Stage(num_candidates=2), Stage(num_candidates=3)), "stage 3 is 3, but only 2 are left"),
        ((Stage(), Stage(cells=3)), "Stage 2 sets cells, so the first stage must set it too"),
    ],
)
def test_stages_that_do_not_follow_from_each_other_are_refused(stages: tuple[Stage, ...], message: str):
    with pytest.raises(ValueError, match=message):
        SearchSettings(stages=stages)


def test_settings_that_stages_leave_without_effect_or_room_are_refused():
    with pytest.raises(ValueError, match="warmup_epochs = 2 has no effect beside stages"):
        SearchSettings(warmup_epochs=2, stages=(Stage(), Stage()))
    with pytest.raises(ValueError, match="at least 1 for each of the 2 stages; got 1"):
        SearchSettings(epochs=1, stages=(Stage(), Stage()))


@pytest.mark.parametrize(
    ("space", "changes", "message"),
    [
        (DartsSpace(), {"num_candidates": 9}, "is 9, but there are no more than 8 candidates"),
        (DartsSpace(), {"num_candidates": 1}, "'normal' could be left with nothing but 'none'"),
        (DartsSpace(), {"partial_channels": 3}, "partial_channels=3 of stage 2 cuts .* there are 16"),
        (DartsSpace(partial_channels=3), {}, "partial_channels=3 of stage 1 cuts"),
        (MobileSpace(), {"partial_channels": 2}, "sets partial_channels, which MobileSpace does not have"),
        (NasBench201Space(), {"skip_dropout": Constant(1.5)}, "skip_dropout is the probability"),
    ],
)
def test_stages_that_a_space_cannot_be_searched_in_are_refused(space: Space, changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Job(space=space, channels=16, search=SearchSettings(stages=(Stage(), Stage(**changes))))


def test_one_candidate_may_stay_where_all_may_be_kept():
    stages = (Stage(), Stage(num_candidates=1))
    Job(space=NasBench201Space(), search=SearchSettings(stages=stages))
    Job(space=DartsSpace(candidates=("skip_connect", "sep_conv_3x3")), search=SearchSettings(stages=stages))


@pytest.mark.parametrize(
    ("recipe", "own", "expected"),
    [
        ("pc_darts", ["--search.epochs", "30"], (9, [])),
        ("pc_darts", ["--search.epochs=30", "--search.warmup_epochs", "3"], (3, [])),
        ("pc_darts", [], (15, [])),
        ("p_darts", ["--search.epochs=30"], (0, [(10, 4)] * 3)),
        ("darts_1st", ["--search.epochs", "30"], (0, [])),
    ],
)
def test_compare_shortens_warm_ups_with_the_epochs(recipe: str, own: list[str], expected: tuple[int, list[Any]]):
    from dnas.cli.arguments import read_arguments
    from dnas.cli.compare import job_of_recipe

    search = job_of_recipe(recipe, read_arguments(["--recipes", recipe, "--run", "out", *own])).search
    stages = [(stage.epochs, stage.warmup_epochs) for stage in search.stages]
    assert (search.warmup_epochs, stages) == expected
