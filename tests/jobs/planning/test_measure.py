"""What steps and reading take here is measured by running them, a few times."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from dnas.cost.budget import Budget
from dnas.data import Catalog, ImageSet, image_kind
from dnas.data.resize import ResizeRule
from dnas.data.source import Source
from dnas.finalists.settings import FinalistSettings
from dnas.jobs.budget import delivered_network
from dnas.jobs.job import Job
from dnas.jobs.planning.fit import Sizes
from dnas.jobs.planning.measure import mean_seconds, measure_search, measure_training, reading_seconds
from dnas.jobs.planning.tried import finalists_tried
from dnas.method.discretization import Perturbation, RandomSampling
from dnas.method.relaxation import UniformPath
from dnas.searching.execution import Stepper
from dnas.searching.observer import SkipStop
from dnas.searching.own_bounds import bounds_on
from dnas.searching.search_step import StepResult
from dnas.searching.settings import SearchSettings
from dnas.space import DartsSpace
from dnas.training.settings import RetrainSettings

KIND = image_kind(("a", "b", "c"), channels=3, size=8)
CPU = torch.device("cpu")
TINY = Job(space=DartsSpace(nodes=1, candidates=("none", "skip_connect")))


class Clock:
    """A clock that goes on only when work is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 0.0
        self.calls = 0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def work(self, *seconds: float) -> Callable[[], None]:
        """Work that takes these seconds when it is called the first, second ... time, then the last for ever."""

        def call() -> None:
            self.now += seconds[min(self.calls, len(seconds) - 1)]
            self.calls += 1

        return call


def test_the_first_time_is_not_counted_and_the_others_are_averaged(monkeypatch):
    clock = Clock(monkeypatch)
    assert mean_seconds(clock.work(0.5, 0.1, 0.2, 0.3), CPU) == pytest.approx(0.2)
    assert clock.calls == 4


def test_short_work_is_repeated_until_its_time_can_be_told(monkeypatch):
    clock = Clock(monkeypatch)
    assert mean_seconds(clock.work(0.001), CPU) == pytest.approx(0.001)
    assert 90 <= clock.calls <= 110


def test_slow_work_is_done_once_more_only(monkeypatch):
    clock = Clock(monkeypatch)
    assert mean_seconds(clock.work(5.0, 4.0), CPU) == 4.0
    assert clock.calls == 2


def photos(clock: Clock, *, train: int, test: int, each: float) -> Catalog:
    """A data set whose images take `each` seconds to read."""

    def read(rule: ResizeRule, progress: Callable[[int, int], None] | None, skip_unreadable: bool) -> Source:
        assert progress is not None
        for done in range(1, train + test + 1):
            clock.now += each
            clock.calls += 1
            progress(done, train + test)
        pixels = torch.zeros(1, 3, rule.size, rule.size, dtype=torch.uint8)
        return Source(ImageSet(pixels, torch.zeros(1).long(), ("a",), "photos"), None, rule)

    return Catalog("photos", ("a", "b"), train, test, 64, read)


@pytest.mark.parametrize(("each", "read"), [(0.001, 128), (0.25, 9), (5.0, 1)])
def test_the_time_of_reading_all_follows_from_the_first_images(monkeypatch, each: float, read: int):
    clock = Clock(monkeypatch)
    needed = reading_seconds(photos(clock, train=900, test=100, each=each), 32, patience=2.0)
    assert needed == pytest.approx(1000 * each)
    assert clock.calls == read


def test_few_images_are_read_to_the_end(monkeypatch):
    clock = Clock(monkeypatch)
    assert reading_seconds(photos(clock, train=30, test=0, each=0.01), 32, patience=2.0) == pytest.approx(0.3)
    assert clock.calls == 30


def test_all_that_a_search_does_is_measured():
    job = Job(space=TINY.space, search=SearchSettings(epochs=3, warmup_epochs=1))
    found = measure_search(job, Sizes(8, 4, 2, 3), KIND, device=CPU)
    assert min(found.step, found.weight_step, found.evaluation) > 0
    assert 50 * 2**20 < found.memory < 2**36
    assert found.taken > found.step


@pytest.mark.parametrize(
    ("search", "measured"),
    [
        (SearchSettings(), set()),
        (SearchSettings(observers=(SkipStop(),)), {"epoch_end"}),
        (SearchSettings(discretization=RandomSampling(samples=2)), {"selection"}),
        (SearchSettings(discretization=Perturbation(epochs_between=0)), {"selection"}),
        (SearchSettings(discretization=Perturbation()), {"selection", "tuning_step"}),
    ],
)
def test_what_a_method_does_not_do_is_not_measured(search: SearchSettings, measured: set[str]):
    space = DartsSpace(nodes=2, candidates=("none", "skip_connect", "avg_pool_3x3"))
    found = measure_search(Job(space=space, search=search), Sizes(8, 4, 2, 3), KIND, device=CPU)
    assert {name for name in ("epoch_end", "selection", "tuning_step") if getattr(found, name) > 0} == measured


@pytest.mark.parametrize(
    ("search", "steps", "weight_steps"),
    [
        (SearchSettings(), True, False),
        (SearchSettings(warmup_epochs=1), True, True),
        (SearchSettings(weight_steps=2), True, True),
        (SearchSettings(relaxation=UniformPath(), discretization=RandomSampling()), False, True),
    ],
)
def test_steps_of_both_kinds_are_taken_where_a_search_takes_them(monkeypatch, search, steps, weight_steps):
    taken = set()
    take = Stepper.take

    def noted(self: Stepper, weight_batches: list, alpha_batch: object, progress: float) -> StepResult:
        taken.add(alpha_batch is not None)
        return take(self, weight_batches, alpha_batch, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(Stepper, "take", noted)
    found = measure_search(replace(TINY, search=search), Sizes(8, 4, 2, 3), KIND, device=CPU)
    assert (True in taken, False in taken) == (steps, weight_steps)
    assert min(found.step, found.weight_step) > 0


def test_finalists_are_tried_within_the_budget_and_without_a_supernet_nothing_else_is(monkeypatch):
    wide = Job(space=DartsSpace(nodes=2), image_size=8)
    wide = replace(wide, retrain=replace(wide.retrain, channels=4, cells=3))
    job = replace(wide, search=SearchSettings(budget=Budget(("parameters<=20%",))))
    assert job.search.budget is not None
    tried = finalists_tried(job, KIND, 3)
    bounds = bounds_on(delivered_network(job, KIND), job.search.budget, job.search.discretization)
    assert [bounds.fits(one.decisions) for one in tried] == [True] * 3
    assert not all(bounds.fits(one.decisions) for one in finalists_tried(wide, KIND, 3))

    monkeypatch.setattr(Stepper, "take", None)  # of a supernet
    alone = replace(job, finalists=FinalistSettings(num=2, alone=True))
    found = measure_search(alone, Sizes(8, 4, 2, 3), KIND, device=CPU, finalists=tried)
    assert found.step == found.weight_step == found.finalist_step > 0
    assert found.finalist_evaluation > 0


def test_a_larger_step_takes_longer_and_more_memory():
    small, large = (
        measure_search(TINY, Sizes(size, 32, 8, 3), image_kind(KIND.names, channels=3, size=size), device=CPU)
        for size in (8, 96)
    )
    assert large.step > 2 * small.step
    assert large.evaluation > small.evaluation
    assert large.memory > small.memory


@pytest.mark.parametrize("auxiliary", [False, True])
def test_all_that_a_training_does_is_measured(auxiliary: bool):
    class Network(nn.Sequential):
        def forward(self, input: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
            logits = super().forward(input)
            return (logits, logits) if auxiliary and self.training else logits

    taught: list[tuple[bool, bool]] = []

    class Teaching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            taught.append((self.training, torch.is_grad_enabled()))
            return x

    network = Network(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.LazyLinear(2))
    network(torch.zeros(1, 1, 8, 8))
    found = measure_training(
        network, RetrainSettings(), KIND.with_channels(1), batch_size=4, device=CPU, teacher=Teaching()
    )
    assert len(taught) > 3 and set(taught) == {(False, False)}  # once in each step, forward only
    assert min(found.step, found.evaluation) > 0
    assert found.taken > found.step
