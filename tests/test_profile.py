"""The profile of a search: its parts against counts by hand and against each other."""

import json
from dataclasses import replace

import pytest
import torch

from dnas.cli import carry_out
from dnas.cost import count_flops
from dnas.hypergradient import OneStep
from dnas.job import Job, build_supernet_model
from dnas.peak import Peak
from dnas.profile import (
    Operation,
    Phases,
    Profile,
    StepFlops,
    Timing,
    _max_batch_size,
    _search_seconds,
    device_name,
    expensive_operations,
    profile_job,
    profile_search,
    search_step_flops,
    step_phases,
)
from dnas.relaxation import GumbelSoftmax
from dnas.settings import SearchSettings
from dnas.threads import num_threads
from dnas.trial import Trial

CPU = torch.device("cpu")
JOB = Job(image_size=8, batch_size=4, channels=2, cells=1)


def example() -> Profile:
    return Profile(
        device="a machine, 2 threads",
        torch_version="2.13",
        image_size=32,
        batch_size=64,
        channels=16,
        cells=8,
        step=Timing(2.0, 1.5, 2.5),
        architecture_step=Phases(0.3, 0.4, 0.05, 0.05),
        weight_step=Phases(0.4, 0.7, 0.05, 0.05),
        data=Timing(0.01, 0.01, 0.02),
        evaluation=Timing(0.3, 0.3, 0.3),
        memory=3 * 2**30,
        available=16 * 2**30,
        max_batch_size=400,
        flops=StepFlops(70e9, 130e9),
        peak=Peak(400e9, 30e9, 2048, "float32"),
        operations=(Operation("aten::mm", 12, 0.5, 0.25), Operation("aten::add", 3, 0.1, 0.05)),
        search_seconds=7200.0,
    )


# FLOPs


@pytest.fixture(scope="module")
def first() -> StepFlops:
    """Of a first-order step."""
    return search_step_flops(JOB, num_classes=5)


@pytest.fixture(scope="module")
def forward() -> int:
    """FLOPs of one forward pass over a batch."""
    return count_flops(build_supernet_model(JOB, num_classes=5, in_channels=3), torch.zeros(4, 3, 8, 8))


def test_a_weight_step_takes_three_times_the_forward_pass_but_for_the_gradient_of_the_images(first, forward):
    stem = 4 * 2 * 8 * 8 * (3 * 2) * 3 * 9  # 3x3 convolution of 3 to 3 * 2 channels
    assert first.weight == 3 * forward - stem


def test_a_first_order_architecture_step_leaves_out_the_gradients_of_weights(first, forward):
    assert forward < first.architecture < 2 * forward


def test_a_second_order_step_takes_two_more_trainings_and_one_more_first_order_gradient(first):
    second = search_step_flops(replace(JOB, search=SearchSettings(hypergradient=OneStep())), num_classes=5)
    assert second.architecture == 2 * first.architecture + 2 * first.weight
    assert second.weight == first.weight


def test_flops_go_with_the_batch(first):
    twice = search_step_flops(replace(JOB, batch_size=8), num_classes=5)
    assert twice.total == 2 * first.total


def test_a_step_that_draws_one_candidate_takes_a_fraction_of_the_supernet(first):
    drawn = search_step_flops(replace(JOB, search=SearchSettings(relaxation=GumbelSoftmax())), num_classes=5)
    assert 0 < drawn.total < first.total / 2


# Time


def test_phases_are_those_of_both_halves_and_leave_no_hook_behind():
    trial = Trial(JOB, num_classes=5, batch_size=4, device=CPU)
    for phases in step_phases(trial, CPU, repeats=1):
        assert min(phases.forward, phases.backward, phases.optimizer, phases.other) > 0
        assert phases.total == phases.forward + phases.backward + phases.optimizer + phases.other
    assert not trial.supernet.model._forward_hooks
    assert not trial.supernet.model._forward_pre_hooks


def test_the_spread_is_that_of_all_repeats():
    assert Timing.of([3.0, 1.0, 2.0, 9.0]) == Timing(2.5, 1.0, 9.0)


def test_the_most_expensive_operations_come_first_and_are_counted():
    a = torch.randn(256, 256)

    def work() -> None:
        for _ in range(7):
            a.mm(a)
        a.add(1)

    first, *others = expensive_operations(work, CPU)
    assert (first.name, first.count) == ("aten::mm", 7)
    assert others
    assert all(first.seconds >= other.seconds for other in others)
    assert sum(operation.share for operation in (first, *others)) == pytest.approx(1)


def test_a_search_takes_the_steps_of_all_epochs_and_none_of_the_alphas_in_warm_up():
    job = replace(JOB, batch_size=10, search=SearchSettings(epochs=5, warmup_epochs=2))
    step, data, evaluation = Timing(8.0, 7.0, 9.0), Timing(0.5, 0.5, 0.5), Timing(2.0, 2.0, 2.0)
    weight_step = Phases(1.0, 2.0, 0.0, 0.0)
    # 41 images: 5 batches per epoch. Two batches of data are 0.5 s, so one is 0.25 s.
    searching, warming, evaluating = 3 * (8.0 + 0.5), 2 * (3.0 + 0.25), 5 * (2.0 + 0.25)
    assert _search_seconds(job, 41, step, weight_step, data, evaluation) == 5 * (searching + warming + evaluating)


def test_the_largest_batch_goes_by_the_two_largest_that_were_measured():
    # 10 bytes for each image from 4 to 32; the smallest says something else.
    assert _max_batch_size({2: 1, 4: 1000, 32: 1280}, available=2000) == 4 + (1800 - 1000) // 10
    assert _max_batch_size({32: 1280}, available=2000) is None
    assert _max_batch_size({4: 1280, 32: 1280}, available=2000) is None


# What is told


def test_the_share_of_the_peak_is_flops_over_seconds_over_the_rate():
    assert example().flops_per_second == 200e9 / 2.0
    assert example().share_of_peak == 0.25


def test_the_text_names_every_number():
    text = example().to_text()
    for words in ("2000.0 ms (1500.0 to 2500.0)", "3.0 GiB", "batch 400", "200 GFLOP", "25.0%", "2.0 h"):
        assert words in text
    rows = [line.split() for line in text.splitlines()]
    assert ["Architecture", "step", "300.0", "400.0", "50.0", "50.0", "800.0", "70"] in rows
    assert ["aten::mm", "12", "500.0", "25.0%"] in rows


def test_the_json_holds_everything():
    data = json.loads(example().to_json())
    assert data["share_of_peak"] == 0.25
    assert data["architecture_step"] == {"forward": 0.3, "backward": 0.4, "optimizer": 0.05, "other": 0.05}
    assert data["operations"][0] == {"name": "aten::mm", "count": 12, "seconds": 0.5, "share": 0.25}
    assert set(Profile.__dataclass_fields__) < set(data)


@pytest.mark.slow
def test_a_search_is_profiled_and_leaves_the_random_generators_as_they_were():
    job = replace(JOB, batch_size=16, search=SearchSettings(epochs=3))
    before = torch.get_rng_state()
    profile = profile_search(job, num_classes=5, num_images=100, device=CPU, repeats=2, warmup=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(profile.operations) == 10
    assert profile.step.low <= profile.step.median <= profile.step.high
    assert 0 < profile.memory < profile.available
    assert profile.flops.total > 0
    assert json.loads(profile.to_json())["batch_size"] == 16
    assert profile.to_text().startswith(profile.device)


# Threads


@pytest.mark.parametrize("count", [1, 3, None])
def test_a_profile_works_with_the_threads_of_the_job(count, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr("dnas.profile.profile_search", lambda *_, **__: torch.get_num_threads())
    assert profile_job(replace(JOB, threads=count)) == (count or before)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("count", "words"), [(1, ", 1 thread"), (2, ", 2 threads")])
def test_the_head_says_how_many_threads(count, words):
    with num_threads(count):
        assert device_name(CPU).endswith(words)


# Mistakes


@pytest.mark.parametrize("name", ["image_size", "batch_size", "channels", "cells"])
def test_a_job_without_a_size_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"lacks {name}"):
        profile_search(replace(JOB, **{name: None}), num_classes=5, num_images=10, device=CPU)


@pytest.mark.parametrize("wrong", [{"num_classes": 0}, {"num_images": 0}, {"repeats": 0}, {"warmup": -1}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        profile_search(JOB, device=CPU, **{"num_classes": 5, "num_images": 10, **wrong})


def test_a_time_is_refused_since_it_would_have_no_effect():
    with pytest.raises(ValueError, match="no effect"):
        profile_job(replace(JOB, time="30min"))


def test_data_that_are_not_there_are_refused(tmp_path):
    with pytest.raises((FileNotFoundError, ValueError), match="nowhere"):
        profile_job(replace(JOB, data=str(tmp_path / "nowhere")))


# The command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope"], "no recipe 'nope'"),
        (["digits", "--channels", "many"], "--channels: expected a whole number"),
        (["digits", "--channels", "0"], "at least 1"),
        (["digits", "--chanels", "4"], "did you mean '--channels'"),
        (["digits", "extra"], "unexpected argument 'extra'"),
        (["digits", "--time", "5min"], "no effect"),
        (["--data", "nowhere"], "nowhere"),
        (["digits", "--device", "nonsense"], "Unknown device"),
    ],
)
def test_mistakes_on_the_command_line_are_told(words, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        carry_out(["profile", *words])


@pytest.mark.slow
def test_the_command_takes_a_recipe_by_name_and_prints_json(capfd):
    words = "digits --channels 2 --cells 1 --batch-size 8 --search.epochs 2 --search.warmup_epochs 0 --json"
    assert carry_out(["profile", *words.split()]) == 0
    data = json.loads(capfd.readouterr().out)
    assert (data["image_size"], data["batch_size"], data["channels"], data["cells"]) == (8, 8, 2, 1)
    assert data["search_seconds"] > 0
