"""Tells the observers of a search about steps and epochs, and collects what they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dnas.core.architecture import Architecture
from dnas.core.batch import Batch
from dnas.core.mixture import Mixture
from dnas.searching.course import Course
from dnas.searching.execution import Stepper
from dnas.searching.judging import Judging
from dnas.searching.observer import EpochReport, GoBack, Observer, StepReport, Stop
from dnas.searching.settings import SearchSettings


class Watching:
    """Tells observers of steps and epochs.

    Args:
        observers: in the order in which they are told.
        stepper: takes the steps.
        course: holds what each observer remembers.
        settings: the settings of the search.
        judging: evaluates architectures for observers.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        *,
        stepper: Stepper,
        course: Course,
        settings: SearchSettings,
        judging: Judging,
    ):
        self.observers = observers
        self.stepper = stepper
        self.supernet = stepper.supernet
        self.course = course
        self.settings = settings
        self.judging = judging
        self.watches_steps = any(observer.watches_steps for observer in observers)
        self._last_batches: tuple[Batch | None, Batch | None] = (None, None)

    def step_ended(self, epoch: int, weight_batch: Batch, alpha_batch: Batch | None) -> None:
        """Tell the observers about a step.

        Args:
            epoch: number of finished epochs before the step.
            weight_batch: the batch for the weights.
            alpha_batch: the batch for the alphas; None if they did not move.
        """
        self._last_batches = (weight_batch, alpha_batch or self._last_batches[1])
        if self.watches_steps:
            mixtures = self.supernet.expected(self.settings.relaxation, self.course.progress_tensor)
            for observer, memory in zip(self.observers, self.course.memories, strict=True):
                observer.step_ended(
                    StepReport(self.course.step, epoch, self.supernet, mixtures, weight_batch, alpha_batch, memory)
                )

    def step_left_out(self, weight_batch: Batch, alpha_batch: Batch | None) -> None:
        """Remember batches whose step was left out where nothing better is known, as after a resume."""
        self._last_batches = (self._last_batches[0] or weight_batch, self._last_batches[1] or alpha_batch)

    def epoch_ended(
        self, scalars: dict[str, float], mixtures: Mapping[str, Mixture], architecture: Architecture | None
    ) -> list[Stop | GoBack]:
        """Tell the observers about an epoch, and return what they ask for; they may add to `scalars`."""
        train_batch, val_batch = self._last_batches
        assert train_batch is not None
        answers = [
            observer.epoch_ended(
                EpochReport(
                    epoch=self.course.epoch,
                    step=self.course.step,
                    progress=self.course.progress_tensor,
                    supernet=self.supernet,
                    mixtures=mixtures,
                    relaxation=self.settings.relaxation,
                    architecture=architecture,
                    train_batch=train_batch,
                    val_batch=val_batch,
                    scalars=scalars,
                    weight_optimizer=self.stepper.weight_optimizer,
                    evaluate=self.judging.accuracy_with,
                    memory=memory,
                    attempt=self.course.attempt,
                )
            )
            for observer, memory in zip(self.observers, self.course.memories, strict=True)
        ]
        return [answer for answer in answers if answer is not None]

    def may_go_back_to(self, epoch: int) -> bool:
        """Whether an observer may send the search back to the end of this epoch."""
        return epoch > self.course.part.first and any(observer.may_go_back_to(epoch) for observer in self.observers)
