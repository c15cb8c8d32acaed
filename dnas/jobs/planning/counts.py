"""The number of steps, evaluations and epochs of a search, and the time that they take together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dnas.finalists.settings import FinalistSettings
from dnas.jobs.job import Job
from dnas.jobs.planning.fit import Measured
from dnas.method.discretization.rehearsal import Rehearsal
from dnas.searching.settings import SearchSettings

# Seconds at the end of an epoch for writing a checkpoint and metrics.
END_OF_EPOCH = 0.15


@dataclass(frozen=True)
class Counts:
    """The numbers of steps, epochs and evaluations of a search.

    Args:
        steps: number of steps that train alphas and weights.
        weight_steps: number of steps that train the weights alone.
        epochs: number of epochs, warm-up included.
        evaluations: number of batches on which the supernet is evaluated after epochs.
        selections: number of batches on which the discretization evaluates parts of the supernet.
        tuning_steps: number of steps in which the discretization trains the weights of parts of the supernet further.
        finalist_steps: number of steps in which finalists are trained, at most.
        finalist_evaluations: number of batches on which they are judged, at most.
        finalist_epochs: number of epochs of their trainings, at most.
    """

    steps: int
    weight_steps: int
    epochs: int
    evaluations: int
    selections: int = 0
    tuning_steps: int = 0
    finalist_steps: int = 0
    finalist_evaluations: int = 0
    finalist_epochs: int = 0

    def seconds(self, measured: Measured) -> float:
        """Seconds of all of them, with observers and checkpoints at the end of each epoch."""
        steps = self.steps * measured.step + self.weight_steps * measured.weight_step
        epochs = self.epochs * (measured.epoch_end + END_OF_EPOCH)
        evaluations = self.evaluations * measured.evaluation
        return steps + epochs + evaluations + self.discretization_seconds(measured) + self.finalist_seconds(measured)

    def discretization_seconds(self, measured: Measured) -> float:
        """Seconds of the evaluations and steps of the discretization."""
        return self.selections * measured.selection + self.tuning_steps * measured.tuning_step

    def finalist_seconds(self, measured: Measured) -> float:
        """Seconds in which finalists are trained and judged."""
        steps = self.finalist_steps * measured.finalist_step
        return steps + self.finalist_evaluations * measured.finalist_evaluation + self.finalist_epochs * END_OF_EPOCH


def search_counts(
    settings: SearchSettings, rehearsal: Rehearsal, *, batches: int, evaluation_batches: int, batch_size: int
) -> Counts:
    """The counts of a search of one stage.

    An observer that stops the search or sends it back makes it shorter or longer, which is not counted. An observer
    that looks at some epochs or steps only is counted in all of them.

    Args:
        settings: settings of the search.
        rehearsal: the evaluations and epochs that its discretization asks for.
        batches: number of weight batches in an epoch.
        evaluation_batches: number of batches in an evaluation.
        batch_size: number of images in a batch.
    """
    images = settings.discretization.images_each
    selection_batches = (
        evaluation_batches if images is None else min(math.ceil(images / batch_size), evaluation_batches)
    )
    total, moving = settings.epochs * batches, 0
    if settings.relaxation.trains_alphas:
        # Alphas are trained in the steps 0, n, 2n .. that lie after the warm-up.
        first = settings.warmup_epochs * batches
        moving = math.ceil(total / settings.weight_steps) - math.ceil(first / settings.weight_steps)
    every = settings.validate_every
    return Counts(
        steps=moving,
        weight_steps=total - moving,
        epochs=settings.epochs,
        evaluations=(settings.epochs // every if every else 0) * evaluation_batches,
        selections=rehearsal.num_evaluations * selection_batches,
        tuning_steps=rehearsal.num_epochs * batches,
    )


def with_finalists(counts: Counts, settings: FinalistSettings, *, num_images: int, batch_size: int) -> Counts:
    """The counts with those of the finalists.

    Args:
        counts: of the search.
        settings: of the finalists.
        num_images: number of images that the search may use; one half trains finalists, the other judges them.
        batch_size: number of images in a batch.
    """
    batches = math.ceil(max(num_images // 2, 1) / batch_size)
    return replace(
        counts,
        finalist_steps=settings.epochs_in_all * batches,
        finalist_evaluations=settings.num_trainings * batches,
        finalist_epochs=settings.epochs_in_all,
    )


def num_batches(job: Job, num_images: int, batch_size: int) -> tuple[int, int]:
    """Number of weight batches in an epoch and of batches in an evaluation, as in `dnas.jobs.images.search_streams`.

    A short last batch of an evaluation counts although it is merged into the one before, since it takes time too.

    Args:
        job: job with the number of levels and the number of images that measure the supernet.
        num_images: number of images that the search may use.
        batch_size: number of images in a batch.
    """
    half = max(num_images // 2, 1)
    trained = num_images if job.search.one_level else half
    measured = min(job.supernet_images or half, half)
    merged = trained > batch_size and trained % batch_size == 1
    return math.ceil(trained / batch_size) - merged, math.ceil(measured / batch_size)
