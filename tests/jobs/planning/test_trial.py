"""The search step that planning and profiling run."""

from dataclasses import dataclass, replace

import pytest
import torch

from dnas.core.mixture import Active
from dnas.cost.work import WorkCounter
from dnas.data import image_kind
from dnas.jobs.job import Job
from dnas.jobs.planning.trial import Trial, memory_of_small_batches
from dnas.method.discretization import Evolution
from dnas.method.hypergradient import Unrolled
from dnas.method.relaxation import UniformPath
from dnas.searching.observer import (
    EigenvalueStop,
    EpochReport,
    HessianEigenvalue,
    Observer,
    OperationFreeze,
    SkipStop,
    StepReport,
    Stop,
)
from dnas.searching.settings import SearchSettings

KIND = image_kind(tuple("abcde"), channels=3, size=8)
CPU = torch.device("cpu")
JOB = Job(image_size=8, batch_size=4, channels=2, cells=1)


def trial(job: Job = JOB, batch_size: int = 4) -> Trial:
    return Trial(job, KIND, batch_size=batch_size, device=CPU)


def test_a_step_moves_weights_and_alphas():
    made = trial()
    before = [tensor.detach().clone() for tensor in (*made.supernet.weights().values(), *made.supernet.alphas.values())]
    made.step()
    after = [*made.supernet.weights().values(), *made.supernet.alphas.values()]
    assert any(not torch.equal(a, b) for a, b in zip(before[:-2], after[:-2], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(before[-2:], after[-2:], strict=True))


def test_an_evaluation_moves_nothing():
    made = trial()
    before = {name: weight.detach().clone() for name, weight in made.supernet.weights().items()}
    made.evaluate()
    assert all(torch.equal(before[name], weight) for name, weight in made.supernet.weights().items())


@pytest.mark.parametrize(
    "search",
    [SearchSettings(relaxation=UniformPath(), discretization=Evolution()), SearchSettings(one_level=True)],
)
def test_a_step_moves_alphas_only_where_a_search_does(search: SearchSettings):
    made = trial(replace(JOB, search=search))
    made.step()
    assert bool(made.alpha_optimizer.state) == search.relaxation.trains_alphas
    assert made.weight_optimizer.state


# What a discretization asks for


def only_skips(made: Trial) -> dict[str, Active]:
    index = {name: decision.candidates.index("skip_connect") for name, decision in made.supernet.decisions.items()}
    return {name: ((index[name],),) * decision.num_rows for name, decision in made.supernet.decisions.items()}


def test_a_part_of_the_supernet_is_evaluated_by_itself():
    made = trial(replace(JOB, cells=3))

    def flops(active: dict[str, Active]) -> int:
        with WorkCounter() as counter:
            made.evaluate(active)
        return counter.flops

    assert 0 < flops(only_skips(made)) < flops({}) / 2
    assert made.supernet.allowed == {}


def test_tuning_trains_the_weights_of_a_part_and_no_alphas():
    made = trial()
    made.tune(only_skips(made))
    assert made.weight_optimizer.state
    assert not made.alpha_optimizer.state
    assert made.supernet.allowed == {}


# Observers


@dataclass(frozen=True)
class Log(Observer):
    """Notes what it is shown."""

    seen: list[tuple]

    def step_ended(self, report: StepReport) -> None:
        assert report.memory == {}
        report.memory["before"] = True
        self.seen.append(("step", report.val_batch is not None))

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        self.seen.append(("epoch", report.val_batch is not None, report.architecture is not None))
        assert 0 <= report.evaluate({}) <= 1
        return None


@pytest.mark.parametrize(
    ("search", "steps", "epoch"),
    [
        (SearchSettings(), [True, False], ("epoch", True, True)),
        (SearchSettings(relaxation=UniformPath(), discretization=Evolution()), [False, False], ("epoch", False, False)),
    ],
)
def test_observers_are_shown_what_a_search_shows_them(search: SearchSettings, steps: list[bool], epoch: tuple):
    log = Log([])
    made = trial(replace(JOB, search=replace(search, observers=(log,))))
    made.step()
    made.weight_step()
    made.end_epoch()
    assert log.seen == [*(("step", moved) for moved in steps), epoch]


def test_what_observers_remember_does_not_change_later_steps():
    search = SearchSettings(observers=(OperationFreeze(threshold=1.0, count=2),))
    made = trial(replace(JOB, search=search))
    for _ in range(3):
        made.step()
    assert all(weight.requires_grad for weight in made.supernet.model.parameters())


def test_the_eigenvalue_is_taken_at_the_end_of_an_epoch():
    search = SearchSettings(observers=(HessianEigenvalue(iterations=2), EigenvalueStop(), SkipStop(most=2)))
    trial(replace(JOB, search=search)).end_epoch()


def test_a_hypergradient_of_several_inner_steps_gets_its_batches():
    search = SearchSettings(hypergradient=Unrolled(steps=2))
    trial(replace(JOB, search=search)).step()


def test_two_trials_of_one_seed_are_the_same():
    one, two = trial(), trial()
    assert torch.equal(one.batch.inputs, two.batch.inputs)
    assert all(torch.equal(alpha, two.supernet.alphas[name]) for name, alpha in one.supernet.alphas.items())


def test_a_small_batch_is_not_measured_before_it_is_tried():
    def refuse(batch_size: int) -> Trial:
        raise AssertionError("nothing is to be made")

    assert memory_of_small_batches(refuse, 15, CPU) == {}


def test_an_eighth_and_a_quarter_of_a_batch_are_measured():
    measured = memory_of_small_batches(lambda size: trial(batch_size=size), 32, CPU)
    assert set(measured) == {4, 8}


def test_a_batch_that_two_small_ones_say_will_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr("dnas.jobs.planning.trial.available_memory", lambda device: 2**30)
    memory = {8: 2**28, 16: 2**29}  # 32 MiB for each image and none besides
    monkeypatch.setattr("dnas.jobs.planning.trial._step_memory", lambda make, size, device: memory[size])
    with pytest.raises(ValueError, match=r"batch_size 64 needs about 2\.0 GiB .* batch_size 28 would fit"):
        memory_of_small_batches(lambda size: trial(batch_size=size), 64, CPU)
