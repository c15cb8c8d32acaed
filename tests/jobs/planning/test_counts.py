"""What a search is said to do is what it does, counted."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from dnas.core.choice import Choice
from dnas.data import ImageSet, Normalization
from dnas.data.resize import ResizeRule
from dnas.jobs.images import JobData, search_streams
from dnas.jobs.job import Job
from dnas.jobs.planning.counts import END_OF_EPOCH, Counts, num_batches, search_counts
from dnas.jobs.planning.fit import Measured
from dnas.method.discretization import Evolution, Perturbation, RandomSampling
from dnas.method.discretization.rehearsal import rehearse
from dnas.method.hypergradient import Unrolled
from dnas.method.relaxation import UniformPath
from dnas.method.smoothing import RandomSmoothing
from dnas.searching.observer import EpochReport, Observer, StepReport, Stop
from dnas.searching.search import search
from dnas.searching.settings import SearchSettings
from dnas.searching.supernet import Supernet
from dnas.system.display import Display

BATCHES, EVALUATION_BATCHES = 5, 3


class Net(nn.Module):
    """Two choices of three."""

    def __init__(self) -> None:
        super().__init__()
        acts = (nn.ReLU, nn.Tanh, nn.Identity)
        self.body = nn.Sequential(
            *(Choice(name, {act.__name__: act() for act in acts}) for name in ("first", "second")), nn.Linear(4, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(4, 4, generator=generator), torch.tensor([0, 1, 0, 1])) for _ in range(count)]


class Validation(list):
    """Batches that count how often one is taken."""

    taken = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in super().__iter__():
            self.taken += 1
            yield batch


@dataclass(frozen=True)
class Steps(Observer):
    """Counts steps, by whether the alphas moved in them."""

    seen: Counter

    def step_ended(self, report: StepReport) -> None:
        self.seen["weights" if report.val_batch is None else "both"] += 1

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        self.seen["epochs"] += 1
        return None


class Tuning(Display):
    """Counts the steps of a discretization."""

    steps = 0

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        self.steps += phase == "tuning"

    def say(self, text: str) -> None:
        pass


def counted(settings: SearchSettings) -> tuple[Counts, int]:
    """What a search does, and how many batches are taken for evaluation."""
    steps, validation, tuning = Steps(Counter()), Validation(batches(EVALUATION_BATCHES)), Tuning()
    search(
        Net(),
        batches(BATCHES),
        batches(2),
        settings=settings,
        validation=validation,
        observers=[steps],
        display=tuning,
    )
    seen = steps.seen
    # One batch is taken before the first step, to be tried.
    return Counts(seen["both"], seen["weights"], seen["epochs"], 0, 0, tuning.steps), validation.taken - 1


@pytest.mark.parametrize(
    "settings",
    [
        SearchSettings(epochs=2),
        SearchSettings(epochs=4, warmup_epochs=2),
        SearchSettings(epochs=2, warmup_epochs=2),
        SearchSettings(epochs=3, weight_steps=4),
        SearchSettings(epochs=3, weight_steps=4, warmup_epochs=1),
        SearchSettings(epochs=3, weight_steps=5, warmup_epochs=1),
        SearchSettings(epochs=1, weight_steps=100),
        SearchSettings(epochs=2, weight_steps=3, hypergradient=Unrolled(steps=2)),
        SearchSettings(epochs=2, one_level=True, warmup_epochs=1),
        SearchSettings(epochs=2, smoothing=RandomSmoothing()),
        SearchSettings(epochs=2, relaxation=UniformPath(), discretization=RandomSampling(samples=4)),
        SearchSettings(epochs=1, relaxation=UniformPath(), discretization=RandomSampling()),
        SearchSettings(epochs=1, relaxation=UniformPath(), discretization=RandomSampling(images_each=3)),
        SearchSettings(
            epochs=2,
            relaxation=UniformPath(),
            discretization=Evolution(population=2, generations=3, parents=1),
            validate_every=0,
        ),
        SearchSettings(epochs=2, discretization=Perturbation(epochs_between=2)),
        SearchSettings(epochs=1, discretization=Perturbation(epochs_between=0), validate_every=2),
        SearchSettings(epochs=5, validate_every=0),
        SearchSettings(epochs=5, validate_every=2),
        SearchSettings(epochs=6, validate_every=3),
        SearchSettings(epochs=2, validate_every=3),
    ],
)
def test_a_search_does_as_much_as_is_said(settings: SearchSettings):
    rehearsal = rehearse(settings.discretization, Supernet(Net()).decisions)
    said = search_counts(settings, rehearsal, batches=BATCHES, evaluation_batches=EVALUATION_BATCHES, batch_size=4)
    done, evaluated = counted(settings)
    assert replace(said, evaluations=0, selections=0) == done
    assert said.evaluations + said.selections == evaluated


def test_seconds_are_those_of_each_kind_times_its_number():
    counts = Counts(steps=2, weight_steps=3, epochs=5, evaluations=7, selections=11, tuning_steps=13)
    measured = Measured(
        step=1e2, weight_step=1e4, evaluation=1e8, memory=0, epoch_end=1e6, selection=1e10, tuning_step=1e12
    )
    assert counts.discretization_seconds(measured) == 13e12 + 11e10
    assert counts.seconds(measured) == pytest.approx(131107050302 * 1e2 + 5 * END_OF_EPOCH, rel=1e-14)


def streams(job: Job, per_class: int) -> tuple[int, int]:
    """The batches that a search of this job makes of two classes of images."""
    images = ImageSet(
        torch.zeros(2 * per_class, 3, 4, 4, dtype=torch.uint8),
        torch.arange(2 * per_class) % 2,
        ("a", "b"),
        "images",
    )
    data = JobData(images, images, Normalization((0.5,) * 3, (0.5,) * 3), ResizeRule(4), ())
    train, _, validation = search_streams(job, data, torch.device("cpu"))
    return len(train), len(validation)


@pytest.mark.parametrize("one_level", [False, True])
@pytest.mark.parametrize("supernet_images", [None, 6, 1000])
@pytest.mark.parametrize(("per_class", "batch_size"), [(10, 2), (10, 5), (13, 4), (12, 3), (17, 16), (21, 42), (4, 8)])
def test_batches_are_those_of_the_streams(one_level, supernet_images, per_class, batch_size):
    job = Job(
        batch_size=batch_size, supernet_images=supernet_images, search=SearchSettings(epochs=1, one_level=one_level)
    )
    trained, evaluated = num_batches(job, 2 * per_class, batch_size)
    in_fact, merged = streams(job, per_class)
    assert trained == in_fact
    assert merged <= evaluated <= merged + 1  # a short last batch is merged, and takes its time
