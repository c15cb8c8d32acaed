"""The search step of a job on random samples, for planning and profiling."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import NoReturn

import torch
from torch import Tensor, nn

from dnas.core.architecture import Architecture
from dnas.core.batch import Batch, to_device
from dnas.core.mixture import Active, Mixture
from dnas.data.sample_kind import SampleKind
from dnas.jobs.job import Job
from dnas.jobs.networks import build_supernet_model
from dnas.jobs.own_model import searchable_model
from dnas.jobs.planning.tried import kind_tried
from dnas.searching.execution import Stepper
from dnas.searching.observer import EpochReport, StepReport
from dnas.searching.supernet import Supernet
from dnas.searching.supernet_measures import evaluate_supernet, goodness
from dnas.system.memory import available_memory, check_batch_fits, peak_memory, reset_peak_memory
from dnas.system.random_state import seeded

# Smaller batches are not checked before they are tried, since they take little memory.
_CHECKED_BATCH = 16


class Trial:
    """The supernet and optimizers of a job, and one batch that serves every step.

    Args:
        job: job with channels, cells and image size.
        kind: what the samples are like.
        batch_size: number of samples in the batch.
        device: device on which the steps run.
    """

    def __init__(self, job: Job, kind: SampleKind, *, batch_size: int, device: torch.device):
        self.search = job.search
        model, kind = _model(job, kind)
        self.supernet = Supernet(model, task=job.task, seed=job.seed).to(device)
        self.watches_steps = any(observer.watches_steps for observer in job.search.observers)
        self.stepper = Stepper(self.supernet, job.search, say=lambda text: None, watched=self.watches_steps)
        self.weight_optimizer = self.stepper.weight_optimizer
        self.alpha_optimizer = self.stepper.alpha_optimizer
        generator = torch.Generator().manual_seed(job.seed)
        batch = kind.random_batch(batch_size, generator)
        assert isinstance(batch.inputs, Tensor)
        if job.model is None:
            batch = batch._replace(inputs=batch.inputs.contiguous(memory_format=torch.channels_last))
        self.batch = to_device(batch, device)
        if job.task is not None:  # one that does not fit is told before anything is measured
            with torch.no_grad():
                job.task.check(job.task.read(self.supernet.model(self.batch.inputs)), self.batch.targets)

    def step(self) -> None:
        """One architecture step, if alphas are trained, and one weight step; then the observers look at them."""
        if not self.search.relaxation.trains_alphas:
            self.weight_step()
            return
        ahead = 0 if self.search.one_level else self.search.hypergradient.num_train_batches
        self.stepper.take([self.batch] * max(ahead, 1), self.batch, 0.0)
        self._watch(self.batch)

    def weight_step(self) -> None:
        """One step of the weights alone, as in the warm-up."""
        self.stepper.take([self.batch], None, 0.0)
        self._watch(None)

    def _watch(self, alpha_batch: Batch | None) -> None:
        if self.watches_steps:
            mixtures = self._expected()
            for observer in self.search.observers:
                # With an empty memory each time, so that nothing adds up that would change later steps.
                observer.step_ended(StepReport(0, 0, self.supernet, mixtures, self.batch, alpha_batch, {}))

    def end_epoch(self) -> None:
        """What observers do after an epoch in which the alphas were trained."""
        mixtures, discretization = self._expected(), self.search.discretization
        architecture = None
        if not discretization.needs_training:
            architecture = Architecture(
                discretization(self.supernet.decisions, mixtures, evaluate=_asked_in_vain, train=_asked_in_vain)
            )
        for observer in self.search.observers:
            observer.epoch_ended(
                EpochReport(
                    epoch=1,
                    step=1,
                    progress=torch.tensor(0.0),
                    supernet=self.supernet,
                    mixtures=mixtures,
                    relaxation=self.search.relaxation,
                    architecture=architecture,
                    train_batch=self.batch,
                    val_batch=self.batch if self.search.relaxation.trains_alphas else None,
                    scalars={},
                    weight_optimizer=self.weight_optimizer,
                    evaluate=self.evaluate,
                    memory={},
                )
            )

    def evaluate(self, active: Mapping[str, Active] = {}) -> float:
        """Evaluate the supernet, or only its `active` candidates, on the batch; its accuracy, or minus its loss."""
        with self.supernet.only(active):
            mixtures = self._expected()
        measured = evaluate_supernet(self.supernet, mixtures, [self.batch])
        return goodness(measured, self.supernet.task)

    def tune(self, active: Mapping[str, Active]) -> None:
        """One weight step of the `active` candidates, as a discretization that trains does it."""
        with self.supernet.only(active):
            self.stepper.take([self.batch], None, 0.0)

    def _expected(self) -> dict[str, Mixture]:
        return self.supernet.expected(self.search.relaxation, torch.tensor(0.0))

    def draw(self) -> dict[str, Mixture]:
        """The mixtures that a step would draw, without gradient."""
        with torch.no_grad():
            return self.supernet.sample(self.search.relaxation, torch.tensor(0.0))


def _model(job: Job, kind: SampleKind) -> tuple[nn.Module, SampleKind]:
    """The supernet's module, and the samples that it is tried on."""
    kind = kind_tried(job, kind)
    if job.model is None:
        model = build_supernet_model(job, kind)
        return model.to(memory_format=torch.channels_last), kind  # pyright: ignore[reportCallIssue]
    with seeded(job.seed):
        # A path may name a module itself, which must stay as it is.
        return copy.deepcopy(searchable_model(job, kind)), kind


def _asked_in_vain(*arguments: object) -> NoReturn:
    raise AssertionError("a discretization that needs no training asks for nothing")


def memory_of_small_batches(make: Callable[[int], Trial], batch_size: int, device: torch.device) -> dict[int, int]:
    """Peak memory of a step with an eighth and a quarter of the batch; empty if the batch is small anyway.

    The whole batch is not simply tried, since one that is too large ends a process on a CPU without a message.

    Args:
        make: makes a trial with a given batch size.
        batch_size: number of images in the whole batch.
        device: device on which the steps run.

    Returns:
        Bytes by batch size.

    Raises:
        UserError: these two show that the whole batch will not fit; the message says which batch will.
    """
    if batch_size < _CHECKED_BATCH:
        return {}
    available = available_memory(device)
    measured = {size: _step_memory(make, size, device) for size in (batch_size // 8, batch_size // 4)}
    check_batch_fits(measured, available, batch_size)
    return measured


def _step_memory(make: Callable[[int], Trial], batch_size: int, device: torch.device) -> int:
    reset_peak_memory(device)
    make(batch_size).step()
    return peak_memory(device)
