"""The search step that planning and profiling run."""

from dataclasses import replace

import pytest
import torch

from dnas.hypergradient import Unrolled
from dnas.job import Job
from dnas.settings import SearchSettings
from dnas.trial import Trial, memory_of_small_batches

CPU = torch.device("cpu")
JOB = Job(image_size=8, batch_size=4, channels=2, cells=1)


def trial(job: Job = JOB, batch_size: int = 4) -> Trial:
    return Trial(job, num_classes=5, batch_size=batch_size, device=CPU)


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
    monkeypatch.setattr("dnas.trial.available_memory", lambda device: 2**30)
    memory = {8: 2**28, 16: 2**29}  # 32 MiB for each image and none besides
    monkeypatch.setattr("dnas.trial._step_memory", lambda make, size, device: memory[size])
    with pytest.raises(ValueError, match=r"batch_size 64 needs about 2\.0 GiB .* batch_size 28 would fit"):
        memory_of_small_batches(lambda size: trial(batch_size=size), 64, CPU)
