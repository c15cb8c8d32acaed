"""Plans of a search keep what they promise: they fit the time and the memory, and estimates add up."""

import random
import re
from dataclasses import replace

import pytest
import torch

from dnas.data import Catalog, open_source
from dnas.finalists.settings import FinalistSettings
from dnas.jobs.job import Job
from dnas.jobs.planning.counts import END_OF_EPOCH, Counts
from dnas.jobs.planning.fit import Measured, Sizes
from dnas.jobs.planning.search_plan import Plan, jobs_of_stages, plan, plan_sizes, plan_stages
from dnas.jobs.planning.time_budget import MARGIN, START_AND_END, TooShort, planning_seconds
from dnas.method.discretization import Argmax, Evolution, Perturbation, RandomSampling
from dnas.method.relaxation import UniformPath
from dnas.searching.settings import SearchSettings
from dnas.searching.stage import Stage
from dnas.system.words import seconds_in
from tests.support.cli import SMALL, done, make_photos
from tests.support.planning import GIB, Machine, catalog


def planned(
    job: Job, machine: Machine, *, data: Catalog | None = None, reading: float = 3.0, available: int = 16 * GIB
) -> Plan:
    data = data or catalog()
    planning = planning_seconds(job.time)
    return plan_sizes(job, data, machine, reading=reading, available=available, planning=planning)


# Finalists


class WithFinalists(Machine):
    """A machine on which a finalist's step takes a tenth of a search step."""

    def __call__(self, sizes: Sizes) -> Measured:
        found = super().__call__(sizes)
        return replace(found, finalist_step=0.1 * found.step, finalist_evaluation=0.03 * found.step)


def test_finalists_are_counted_in_the_time_and_leave_the_search_less():
    given = Job(time="6min", image_size=32, channels=8, cells=3, batch_size=64)
    asked = replace(given, finalists=FinalistSettings(num=8, rungs=3, epochs=2))
    machine = WithFinalists(0.15)
    without, found = planned(given, machine), planned(asked, machine)
    assert (without.finalists, found.job.finalists) == (0.0, asked.finalists)
    assert found.job.search.epochs < without.job.search.epochs
    assert found.seconds <= 360
    # 425 images in a half are 7 batches; 8 x 2 + 4 x 4 + 2 x 8 epochs, and of the newcomers 2 x 2 + 2 x 6.
    step = machine(Sizes(32, 64, 8, 3)).step
    assert found.finalists == pytest.approx(MARGIN * (64 * (7 * 0.1 * step + END_OF_EPOCH) + 20 * 7 * 0.03 * step))
    assert "for 8 finalists" in str(found)


def test_where_the_fewest_epochs_do_not_fit_there_are_fewer_finalists_also_without_a_supernet():
    many, machine = FinalistSettings(num=1000, rungs=1, changes=0), WithFinalists(0.15)
    given = Job(time="6min", image_size=32, channels=8, cells=3, batch_size=64, finalists=many)
    found = planned(given, machine).job
    assert found.search.epochs == 10
    alone = replace(given, finalists=replace(many, alone=True))
    without = planned(alone, machine)
    assert 2 < found.finalists.num < without.job.finalists.num < 1000
    one_more = replace(alone, time=None, finalists=replace(alone.finalists, num=without.job.finalists.num + 1))
    assert without.seconds <= 360 - planning_seconds("6min") < planned(one_more, machine).seconds
    with pytest.raises(TooShort, match=r"1s is too short: the search needs --time .* for 2 finalists with") as caught:
        planned(replace(alone, time="1s"), machine)
    enough = planned(replace(alone, time=caught.value.enough), machine).job
    assert 2 <= enough.finalists.num < 5


def test_no_time_left_for_finalists_is_refused_with_what_they_take():
    job = Job(time="1min", image_size=32, channels=8, cells=3, batch_size=64, finalists=FinalistSettings(num=64))
    with pytest.raises(TooShort, match=r"1min is too short.*of it are for finalists: --finalists and") as caught:
        planned(job, WithFinalists(0.2))
    assert "for 10 epochs and 2 finalists with" in str(caught.value)
    enough = planned(replace(job, time=caught.value.enough), WithFinalists(0.2)).job  # less than 64 finalists need
    assert (enough.search.epochs, 2 <= enough.finalists.num < 10) == (10, True)


# The choice


def test_a_fast_machine_takes_the_papers_network_and_all_epochs():
    found = planned(Job(time="30min"), Machine(speed=20)).job
    assert (found.image_size, found.channels, found.cells, found.search.epochs) == (64, 16, 8, 50)


def test_the_slower_the_machine_the_smaller_the_network_then_the_fewer_the_epochs():
    sizes, epochs = [], []
    for speed in (30, 10, 3, 1, 0.3, 0.03):
        found = planned(Job(time="10min"), Machine(speed)).job
        assert found.image_size and found.batch_size and found.channels and found.cells
        sizes.append(Sizes(found.image_size, found.batch_size, found.channels, found.cells).work)
        epochs.append(found.search.epochs)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) >= 4
    assert epochs[0] == 50
    assert 10 <= epochs[-1] < 50


@pytest.mark.parametrize("seed", range(40))
def test_no_plan_promises_more_than_the_time_and_the_memory_given(seed: int):
    draw = random.Random(seed)
    time = draw.choice(["90s", "2min", "10min", "1h"])
    machine = Machine(speed=10 ** draw.uniform(-1, 2), per_volume=10 ** draw.uniform(1, 2.5))
    data = catalog(train=round(10 ** draw.uniform(2, 4)), native=draw.choice([8, 32, 224]))
    available, reading = round(GIB * draw.uniform(0.6, 16)), draw.uniform(0, 20)
    search = SearchSettings(
        epochs=draw.choice([5, 50]),
        warmup_epochs=draw.choice([0, 4]),
        discretization=draw.choice([Argmax(), RandomSampling(samples=200), Perturbation()]),
        validate_every=draw.choice([0, 1]),
    )
    job = Job(time=time, channels=draw.choice([None, 6]), search=search)
    try:
        found = planned(job, machine, data=data, reading=reading, available=available)
    except ValueError as error:
        if not re.search("too short|Out of memory", str(error)):
            raise
        return
    assert found.seconds + planning_seconds(time) <= seconds_in(time) * (1 + 1e-9)
    assert found.memory <= available
    assert found.job.missing_sizes == ()
    assert found.job.search.epochs == job.search.epochs or found.job.search.epochs >= 10
    assert replace(
        found.job, image_size=None, batch_size=None, channels=job.channels, cells=None, search=job.search
    ) == replace(job, time=time)


def test_what_is_given_is_planned_without_a_limit():
    job = Job(channels=16, cells=8, batch_size=64, search=SearchSettings(epochs=50))
    found = planned(job, Machine(speed=0.01), data=catalog(train=50_000))
    assert replace(found.job, image_size=None) == job
    assert found.seconds > 24 * 3600


def test_half_an_hour_is_the_time_where_sizes_are_to_be_chosen():
    found = planned(Job(), Machine())
    assert found.job.time == "30min"
    assert found.seconds <= 1800


def test_warmup_epochs_are_lowered_with_the_epochs():
    search = SearchSettings(epochs=50, warmup_epochs=30)
    found = planned(Job(time="2min", search=search), Machine(speed=0.1)).job.search
    assert found.epochs < 50
    assert found.warmup_epochs == min(30, found.epochs // 2)


def test_a_time_that_is_too_short_is_refused_with_one_that_is_enough():
    for time, speed in (("20s", 0.1), ("2min", 0.01), ("10min", 0.002)):
        with pytest.raises(ValueError, match=f"{time} is too short") as caught:
            planned(Job(time=time), Machine(speed))
        enough = re.search(r"needs --time (\S+) for 10 epochs", str(caught.value))
        assert enough is not None
        assert planned(Job(time=enough[1]), Machine(speed)).job.search.epochs >= 10


def test_memory_that_does_not_hold_the_smallest_is_refused():
    with pytest.raises(ValueError, match=r"batch_size \d+ would fit"):
        planned(Job(time="1h"), Machine(speed=100, per_volume=20_000), available=2 * GIB)


@pytest.mark.parametrize(("time", "speed"), [("2min", 1.0), ("2min", 10.0), ("30min", 0.3), ("30min", 10.0)])
def test_measuring_keeps_to_the_time_for_planning(time: str, speed: float):
    machine = Machine(speed)
    planned(Job(time=time), machine)
    assert sum(5 * machine(sizes).step for sizes in list(machine.measured)) <= planning_seconds(time)


# The estimate


@pytest.mark.parametrize(
    ("search", "counts"),
    [
        # 425 images in each half: 7 batches of 64.
        (SearchSettings(epochs=10, warmup_epochs=4), Counts(42, 28, 10, 70)),
        (SearchSettings(epochs=10, weight_steps=4, validate_every=0), Counts(18, 52, 10, 0)),
        # 'none' is never kept: 14 edges with 7 operations in each of two cells, and 3 + 4 + 5 edges into nodes that
        # keep two; 14 + 3 rounds, 5 epochs between them.
        (
            SearchSettings(epochs=10, discretization=Perturbation()),
            Counts(70, 0, 10, 70, 2 * (14 * 7 + 12) * 7, 5 * 16 * 7),
        ),
        (
            SearchSettings(epochs=10, relaxation=UniformPath(), discretization=Evolution(), validate_every=5),
            Counts(0, 70, 10, 14, 1000 * 7),
        ),
    ],
)
def test_the_estimate_counts_start_reading_and_all_that_the_search_does(search: SearchSettings, counts: Counts):
    machine, given = Machine(), Job(image_size=32, batch_size=64, channels=8, cells=5, search=search)
    found, step = planned(given, machine, reading=7.0), machine(Sizes(32, 64, 8, 5))
    assert found.reading == 7.0
    assert found.seconds == pytest.approx(START_AND_END + MARGIN * (7.0 + counts.seconds(step)))
    assert found.discretizing == pytest.approx(MARGIN * counts.discretization_seconds(step))
    assert found.memory == step.memory + 2 * 3 * 32**2 * 1000
    assert found.step == step.step


def test_fewer_images_for_the_supernet_shorten_evaluation_and_selection():
    search = SearchSettings(epochs=10, relaxation=UniformPath(), discretization=Evolution())
    job = Job(image_size=32, batch_size=64, channels=8, cells=5, search=search)
    all_images, few = (planned(each, Machine()) for each in (job, replace(job, supernet_images=100)))
    assert few.discretizing == pytest.approx(all_images.discretizing * 2 / 7)
    assert few.seconds < all_images.seconds


def test_what_a_discretization_needs_is_left_for_it():
    job = Job(time="10min", search=SearchSettings(discretization=RandomSampling(samples=1500)))
    found, plain = planned(job, Machine()), planned(replace(job, search=SearchSettings()), Machine())
    assert found.discretizing > 30
    assert found.seconds + planning_seconds("10min") <= 600
    assert Sizes.of(found.job).work * found.job.search.epochs < Sizes.of(plain.job).work * plain.job.search.epochs


def test_where_the_discretization_alone_takes_too_long_it_is_named_with_what_shortens_it():
    job = Job(time="60s", search=SearchSettings(relaxation=UniformPath(), discretization=Evolution()))
    with pytest.raises(ValueError, match=r"60s is too short: .* 1000 evaluations by Evolution: .*supernet_images"):
        planned(job, Machine(speed=0.1))
    both = replace(job, search=SearchSettings(discretization=Perturbation()))
    with pytest.raises(ValueError, match="220 evaluations and 80 epochs of training by Perturbation"):
        planned(both, Machine(speed=0.01))
    with pytest.raises(ValueError, match=r"use fewer images\.$"):
        planned(Job(time="60s"), Machine(speed=0.01))


def test_of_stages_only_the_last_is_followed_by_a_discretization():
    search = SearchSettings(epochs=4, stages=(Stage(2), Stage(2)), discretization=RandomSampling(samples=30))
    job = Job(image_size=8, batch_size=64, channels=8, cells=5, search=search)
    assert [one.search.discretization for one in jobs_of_stages(job)] == [Argmax(), RandomSampling(samples=30)]
    machine = Machine()
    found = plan_stages(job, catalog(), lambda job: machine, reading=0.0, available=16 * GIB, planning=20.0)
    step = machine(Sizes(8, 64, 8, 5))
    assert found.discretizing == pytest.approx(MARGIN * 30 * 7 * step.selection)
    assert found.seconds == pytest.approx(START_AND_END + MARGIN * Counts(28, 0, 4, 28, 210).seconds(step))


@pytest.mark.parametrize(
    ("change", "factor"),
    [
        ({"search": SearchSettings(epochs=100)}, 2.0),
        ({"batch_size": 32}, 1.06),
    ],
)
def test_estimates_scale_with_epochs_and_batches(change: dict, factor: float):
    job = Job(image_size=64, batch_size=64, channels=16, cells=8, search=SearchSettings(epochs=50))
    first, second = (planned(each, Machine(), data=catalog(train=10_000)) for each in (job, replace(job, **change)))
    assert (second.seconds - START_AND_END) / (first.seconds - START_AND_END) == pytest.approx(factor, rel=0.03)


def test_estimates_scale_with_images():
    job = Job(image_size=64, batch_size=64, channels=16, cells=8)
    small, large = (planned(job, Machine(), data=catalog(train=n), reading=0.0).seconds for n in (10_000, 40_000))
    assert (large - START_AND_END) / (small - START_AND_END) == pytest.approx(4, rel=0.02)


def test_the_text_says_what_was_chosen_and_what_it_takes():
    job = Job(image_size=32, batch_size=64, channels=8, cells=5, search=SearchSettings(epochs=20))
    assert str(Plan(job, seconds=400, memory=3 * GIB, reading=12.0, step=1.0)) == (
        "Search: images 32x32, batch 64, 8 channels, 5 cells, 20 epochs: about 6.7 min (12 s to read images), "
        "3.0 GiB of memory."
    )
    assert "about 6.7 min (12 s to read images, 5.0 min to discretize), 3.0" in str(
        Plan(job, seconds=400, memory=3 * GIB, reading=12.0, step=1.0, discretizing=300.0)
    )
    on_one = str(Plan(replace(job, threads=1), seconds=400, memory=3 * GIB, reading=0.5, step=1.0))
    assert "20 epochs, 1 thread: about 6.7 min, 3.0 GiB" in on_one


# This machine


@pytest.mark.slow
def test_a_plan_by_measurements_has_all_sizes_and_as_many_epochs_as_fit_the_time(tmp_path):
    """The end of each epoch alone is counted as 0.15 s, so no machine takes 5000 epochs in ten minutes."""
    photos = open_source(str(make_photos(tmp_path / "photos", count=40, size=20)))
    job = Job(data=str(tmp_path / "photos"), time="10min", search=SearchSettings(epochs=5000))
    found = plan(job, photos, torch.device("cpu"))
    epochs, left = found.job.search.epochs, 600 - planning_seconds("10min") - found.seconds
    assert found.job.missing_sizes == ()
    assert 10 <= epochs < 5000
    assert 0 <= left < found.seconds / epochs
    assert found.job.threads in range(1, torch.get_num_threads() + 1)
    assert 100 * 2**20 < found.memory < 16 * GIB


@pytest.mark.slow
def test_a_search_says_what_it_chose_and_what_will_follow_before_it_starts(tmp_path):
    photos = make_photos(tmp_path / "photos", count=30, size=20)
    out = done("search", "--data", photos, "--run", tmp_path / "run", "--time", "100h", *SMALL)
    lines = out.splitlines()
    said = next(i for i, line in enumerate(lines) if re.match(r"Search: images \d+x\d+, batch \d+, \d+ channels", line))
    assert re.search(r"about [\d.]+ (s|min).*, [\d.]+ (GiB|MiB) of memory", lines[said])
    starts = next(i for i, line in enumerate(lines) if line.startswith("search: "))
    assert any(line.startswith("Then `dnas retrain`: ") for line in lines[said:starts])


def test_a_larger_batch_is_taken_where_small_steps_would_take_too_long():
    data = catalog(train=180, native=47)
    machine = Machine(speed=0.05)
    with pytest.raises(ValueError, match="90s is too short"):
        planned(Job(time="90s", batch_size=9), machine, data=data)
    found = planned(Job(time="90s"), machine, data=data)
    assert found.job.batch_size == 64
    assert found.seconds <= 90
