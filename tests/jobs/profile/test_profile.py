"""The profile of a search: its parts against counts by hand and against each other."""

import json
from dataclasses import replace

import pytest
import torch

from dnas.cli.main import carry_out
from dnas.cost import count_flops
from dnas.cost.traffic import TrafficCounter
from dnas.data import SampleKind, image_kind
from dnas.jobs.job import Job
from dnas.jobs.networks import build_supernet_model
from dnas.jobs.planning.counts import Counts
from dnas.jobs.planning.fit import Measured
from dnas.jobs.planning.trial import Trial
from dnas.jobs.profile.flops import search_step_bytes, search_step_flops
from dnas.jobs.profile.profile import (
    _max_batch_size,
    device_and_threads,
    expensive_operations,
    profile_job,
    profile_search,
)
from dnas.jobs.profile.stopwatch import step_phases
from dnas.jobs.profile.text import profile_text
from dnas.jobs.profile.values import Operation, Phases, Profile, StagedProfile, StepFlops, Timing
from dnas.method.discretization import RandomSampling
from dnas.method.hypergradient import OneStep
from dnas.method.relaxation import GumbelSoftmax, UniformPath
from dnas.searching.observer import OperationFreeze, SkipStop
from dnas.searching.settings import SearchSettings
from dnas.searching.stage import Stage
from dnas.space import DartsSpace
from dnas.system import peak
from dnas.system.peak import Peak
from dnas.system.threads import num_threads

KIND = image_kind(tuple("abcde"), channels=3, size=8)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The highest rates of the machine are measured with less than the 200 GFLOP of each profile."""
    monkeypatch.setitem(peak._SIZE, "cpu", 128)
    monkeypatch.setitem(peak._COPIED, "cpu", 2**16)


JOB = Job(image_size=8, batch_size=4, channels=2, cells=1)


WORK = Counts(steps=2000, weight_steps=0, epochs=20, evaluations=2000)
MEASURED = Measured(step=2.01, weight_step=1.2, evaluation=0.3, memory=0)


def example() -> Profile:
    return Profile(
        device="a machine, 2 threads",
        torch_version="2.13",
        image_size=32,
        batch_size=64,
        channels=16,
        cells=8,
        step=Timing(2.0, 1.5, 2.5),
        one_level=False,
        weight_steps=1,
        architecture_step=Phases(0.3, 0.4, 0.05, 0.05),
        weight_step=Phases(0.4, 0.7, 0.05, 0.05),
        observers=None,
        data=Timing(0.01, 0.01, 0.02),
        evaluation=Timing(0.3, 0.3, 0.3),
        memory=3 * 2**30,
        available=16 * 2**30,
        max_batch_size=400,
        flops=StepFlops(70e9, 130e9),
        num_bytes=90e9,
        peak=Peak(400e9, 30e9, 2048, "float32"),
        operations=(Operation("aten::mm", 12, 0.5, 0.25), Operation("aten::add", 3, 0.1, 0.05)),
        work=WORK,
        measured=MEASURED,
        search_seconds=7200.0,
    )


# FLOPs


@pytest.fixture(scope="module")
def first() -> StepFlops:
    """Of a first-order step."""
    return search_step_flops(JOB, KIND)


@pytest.fixture(scope="module")
def forward() -> int:
    """FLOPs of one forward pass over a batch."""
    return count_flops(build_supernet_model(JOB, KIND), torch.zeros(4, 3, 8, 8))


def test_a_weight_step_takes_three_times_the_forward_pass_but_for_the_gradient_of_the_images(first, forward):
    stem = 4 * 2 * 8 * 8 * (3 * 2) * 3 * 9  # 3x3 convolution of 3 to 3 * 2 channels
    assert first.weight == 3 * forward - stem


def test_a_first_order_architecture_step_leaves_out_the_gradients_of_weights(first, forward):
    assert forward < first.architecture < 2 * forward


def test_a_second_order_step_takes_two_more_trainings_and_one_more_first_order_gradient(first):
    second = search_step_flops(replace(JOB, search=SearchSettings(hypergradient=OneStep())), KIND)
    assert second.architecture == 2 * first.architecture + 2 * first.weight
    assert second.weight == first.weight


def test_flops_go_with_the_batch(first):
    twice = search_step_flops(replace(JOB, batch_size=8), KIND)
    assert twice.total == 2 * first.total


def test_bytes_are_those_of_two_batches_continued_to_any_other():
    """3 and 6 images are counted by hand where 2 and 4 are continued to them."""
    found = [search_step_bytes(replace(JOB, batch_size=batch), KIND) for batch in (2, 3, 6)]
    trial = Trial(JOB, KIND, batch_size=6, device=CPU)
    trial.step()
    with TrafficCounter() as counter:
        trial.step()
    assert found[2] == counter.num_bytes
    assert found[1] == found[0] + (found[2] - found[0]) / 4


def test_bytes_of_compiled_kernels_count_and_are_less():
    pytest.importorskip("numba")
    plain, kernels = (replace(JOB, channels=8, batch_size=4, kernels=kernels) for kernels in ("plain", "auto"))
    assert 0.2 < search_step_bytes(kernels, KIND) / search_step_bytes(plain, KIND) < 0.8


def test_a_step_that_draws_one_candidate_takes_a_fraction_of_the_supernet(first):
    drawn = search_step_flops(replace(JOB, search=SearchSettings(relaxation=GumbelSoftmax())), KIND)
    assert 0 < drawn.total < first.total / 2


def test_steps_of_the_weights_alone_take_the_flops_of_a_weight_step(first):
    drawn = SearchSettings(relaxation=UniformPath(), discretization=RandomSampling())
    found = search_step_flops(replace(JOB, search=drawn), KIND)
    assert found.architecture == 0
    assert 0 < found.weight == found.total < first.weight
    one_level = search_step_flops(replace(JOB, search=SearchSettings(one_level=True)), KIND)
    assert one_level.architecture == 0
    assert one_level.weight == first.weight  # one pass gives both gradients


def test_the_pass_of_an_observer_is_counted_apart(first):
    oles = search_step_flops(replace(JOB, search=SearchSettings(observers=(OperationFreeze(),))), KIND)
    assert (oles.architecture, oles.weight) == (first.architecture, first.weight)
    assert oles.observers == first.weight


# Time


def phases_of(**method: object) -> tuple[Phases | None, Phases, Phases | None]:
    trial = Trial(replace(JOB, search=SearchSettings(**method)), KIND, batch_size=4, device=CPU)  # type: ignore
    found = step_phases(trial, CPU, repeats=1)
    assert not trial.supernet.model._forward_hooks
    assert not trial.supernet.model._forward_pre_hooks
    return found


def test_phases_are_those_of_both_halves_and_leave_no_hook_behind():
    *halves, observers = phases_of()
    for phases in halves:
        assert phases is not None
        assert min(phases.forward, phases.backward, phases.optimizer, phases.other) > 0
        assert phases.total == phases.forward + phases.backward + phases.optimizer + phases.other
    assert observers is None


@pytest.mark.parametrize(
    "method", [{"one_level": True}, {"relaxation": UniformPath(), "discretization": RandomSampling()}]
)
def test_there_is_no_architecture_step_where_a_search_takes_none(method: dict):
    architecture, weight, _ = phases_of(**method)
    assert architecture is None
    assert min(weight.forward, weight.backward, weight.optimizer) > 0


def test_what_observers_do_after_a_step_is_told_by_itself():
    freeze, share = (phases_of(observers=(one,))[2] for one in (OperationFreeze(), SkipStop()))
    assert share is None
    assert freeze is not None
    assert freeze.forward > 0
    assert freeze.optimizer == 0


def test_phases_add_up():
    assert Phases(1, 2, 3, 4) + Phases(10, 20, 30, 40) == Phases(11, 22, 33, 44)


def test_the_spread_is_that_of_all_repeats():
    assert Timing.of([3.0, 1.0, 2.0, 9.0]) == Timing(2.5, 1.0, 9.0)


def test_the_most_expensive_operations_come_first_and_are_counted():
    a = torch.randn(256, 256)

    def work() -> None:
        for _ in range(7):
            a.mm(a)
        a.add(1)

    operations = expensive_operations(work, CPU)
    assert {"aten::mm": 7, "aten::add": 1}.items() <= {one.name: one.count for one in operations}.items()
    seconds = [one.seconds for one in operations]
    assert seconds == sorted(seconds, reverse=True)
    assert sum(one.share for one in operations) == pytest.approx(1)


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
    text = profile_text(example())
    for words in (
        "2000.0 ms (1500.0 to 2500.0)",
        "3.0 GiB",
        "batch 400",
        "200 GFLOP",
        "25.0%",
        "2.0 h",
        "90 GB",
        "45.0 GB/s: 150.0%",
    ):
        assert words in text
    rows = [line.split() for line in text.splitlines()]
    assert ["Architecture", "step", "300.0", "400.0", "50.0", "50.0", "800.0", "70"] in rows
    assert ["aten::mm", "12", "500.0", "25.0%"] in rows
    assert "about 2.0 h: 2000 steps of alphas and weights 67 min, 2000 batches evaluated 10 min\n" in text


def test_the_text_names_what_a_method_does_and_nothing_else():
    work = Counts(0, 700, 10, 0, selections=500, tuning_steps=60)
    measured = replace(MEASURED, epoch_end=0.5, selection=0.1, tuning_step=1.0)
    paths = replace(example(), architecture_step=None, work=work, measured=measured)
    text = profile_text(paths)
    assert "Architecture step" not in text
    assert "one batch, decoding" in text
    assert (
        ": 700 steps of the weights alone 14 min, 10 ends of epochs with observers 5 s, 500 batches evaluated to "
        "discretize 50 s, 60 steps of training to discretize 60 s\n" in text
    )
    one_level = profile_text(replace(example(), architecture_step=None, one_level=True))
    assert "One-level step" in one_level
    assert "2000 steps 67 min" in one_level
    assert "Weight step" not in one_level
    some = profile_text(replace(example(), weight_steps=4, observers=Phases(0.1, 0.2, 0, 0.1)))
    assert "Architecture step, 1 in 4  " in some
    assert "Observers " in some


def test_stages_are_told_one_after_the_other_and_their_times_added_up():
    stages = StagedProfile((example(), replace(example(), cells=17, search_seconds=3600.0)))
    assert stages.search_seconds == 10800.0
    text = profile_text(stages)
    assert text.index("Stage 1 of 2, 20 epochs") < text.index("8 cells") < text.index("Stage 2 of 2")
    assert text.splitlines()[-1].startswith("All 2 stages  about 3.0 h")
    data = json.loads(stages.to_json())
    assert [stage["cells"] for stage in data["stages"]] == [8, 17]
    assert data["search_seconds"] == 10800.0


def profiled(job: Job, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that are measured for the profile of a job, on the digits."""
    measured = []

    def note(job: Job, kind: SampleKind, *, num_images: int, device: torch.device) -> Profile:
        measured.append(job)
        return example()

    monkeypatch.setattr("dnas.jobs.profile.profile.profile_search", note)
    found = profile_job(job)
    assert isinstance(found, StagedProfile) == bool(job.search.stages)
    return measured


def test_each_stage_is_measured_at_its_sizes(monkeypatch):
    stages = (Stage(3, 1, cells=4), Stage(2, cells=6), Stage(1, cells=8))
    job = Job(search=SearchSettings(epochs=6, stages=stages, discretization=RandomSampling()))
    found = profiled(job, monkeypatch)
    assert [(one.cells, one.channels, one.search.epochs, one.search.warmup_epochs) for one in found] == [
        (4, 16, 3, 1),
        (6, 16, 2, 0),
        (8, 16, 1, 0),
    ]
    assert [one.search.discretization.needs_training for one in found] == [False, False, True]
    assert [one.cells for one in profiled(replace(job, cells=2), monkeypatch)] == [2, 3, 4]
    assert [one.cells for one in profiled(Job(), monkeypatch)] == [8]


def test_the_json_holds_everything():
    data = json.loads(example().to_json())
    assert data["share_of_peak"] == 0.25
    assert data["share_of_bandwidth"] == 1.5
    assert data["architecture_step"] == {"forward": 0.3, "backward": 0.4, "optimizer": 0.05, "other": 0.05}
    assert data["operations"][0] == {"name": "aten::mm", "count": 12, "seconds": 0.5, "share": 0.25}
    assert set(Profile.__dataclass_fields__) < set(data)


@pytest.mark.slow
def test_a_search_is_profiled_and_leaves_the_random_generators_as_they_were():
    job = replace(JOB, batch_size=16, space=DartsSpace(nodes=1), search=SearchSettings(epochs=3))
    before = torch.get_rng_state()
    profile = profile_search(job, KIND, num_images=100, device=CPU, repeats=2, warmup=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(profile.operations) == 10
    assert profile.step.low <= profile.step.median <= profile.step.high
    assert 0 < profile.memory < profile.available
    assert profile.flops.total > 0
    assert json.loads(profile.to_json())["batch_size"] == 16
    # 50 images in each half: 4 batches of 16.
    assert profile.work == Counts(steps=12, weight_steps=0, epochs=3, evaluations=12)
    assert profile.search_seconds == profile.work.seconds(profile.measured)
    assert profile_text(profile).startswith(profile.device)


# Threads


@pytest.mark.parametrize("count", [1, 3, None])
def test_a_profile_works_with_the_threads_of_the_job(count, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr("dnas.jobs.profile.profile.profile_search", lambda *_, **__: torch.get_num_threads())
    assert profile_job(replace(JOB, threads=count)) == (count or before)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("count", "words"), [(1, ", 1 thread"), (2, ", 2 threads")])
def test_the_head_says_how_many_threads(count, words):
    with num_threads(count):
        assert device_and_threads(CPU).endswith(words)


# Mistakes


@pytest.mark.parametrize("name", ["image_size", "batch_size", "channels", "cells"])
def test_a_job_without_a_size_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"lacks {name}"):
        profile_search(replace(JOB, **{name: None}), KIND, num_images=10, device=CPU)


@pytest.mark.parametrize("wrong", [{"num_images": 0}, {"repeats": 0}, {"warmup": -1}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        profile_search(JOB, KIND, device=CPU, **{"num_images": 10, **wrong})


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
    words += " --space.nodes 1"
    assert carry_out(["profile", *words.split()]) == 0
    data = json.loads(capfd.readouterr().out)
    assert (data["image_size"], data["batch_size"], data["channels"], data["cells"]) == (8, 8, 2, 1)
    assert data["search_seconds"] > 0


@pytest.mark.slow
def test_the_command_measures_each_stage(capfd):
    stages = "[{epochs: 1, cells: 1}, {epochs: 1, cells: 2, num_candidates: 2}]"
    words = ["--channels", "2", "--batch-size", "8", "--search.epochs", "2", "--search.stages", stages]
    space = ["--space", "dnas.DartsSpace", "--space.nodes", "1"]
    assert carry_out(["profile", "--data", "digits", *words, *space]) == 0
    out = capfd.readouterr().out
    assert ", 1 cells\n" in out
    assert ", 2 cells\n" in out
    assert "All 2 stages  about " in out
