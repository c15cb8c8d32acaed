"""How often a search does each of the things that take its time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dnas.jobs.job import Job
from dnas.jobs.planning.fit import Measured
from dnas.method.discretization.rehearsal import Rehearsal
from dnas.searching.settings import SearchSettings

# Seconds at the end of an epoch for a checkpoint and metrics.
END_OF_EPOCH = 0.15


@dataclass(frozen=True)
class Counts:
    """What a search does, in numbers.

    Args:
        steps: of alphas and weights.
        weight_steps: of the weights alone.
        epochs: of both.
        evaluations: batches on which the supernet is measured after epochs.
        selections: batches on which the discretization has parts of the supernet measured.
        tuning_steps: in which the discretization has the weights of parts of the supernet trained on.
    """

    steps: int
    weight_steps: int
    epochs: int
    evaluations: int
    selections: int = 0
    tuning_steps: int = 0

    def seconds(self, measured: Measured) -> float:
        """Of all of it, with what observers and checkpoints take at the end of each epoch."""
        steps = self.steps * measured.step + self.weight_steps * measured.weight_step
        epochs = self.epochs * (measured.epoch_end + END_OF_EPOCH)
        return steps + epochs + self.evaluations * measured.evaluation + self.discretization_seconds(measured)

    def discretization_seconds(self, measured: Measured) -> float:
        """Of that, for what the discretization asks for."""
        return self.selections * measured.selection + self.tuning_steps * measured.tuning_step


def search_counts(settings: SearchSettings, rehearsal: Rehearsal, *, batches: int, evaluation_batches: int) -> Counts:
    """What a search of one stage does.

    An observer that stops it, or sends it back, makes it shorter or longer. One that looks at some epochs or steps only
    is counted in all of them.

    Args:
        settings: of the search.
        rehearsal: of its discretization.
        batches: of the weights in an epoch.
        evaluation_batches: in an evaluation.
    """
    total, moving = settings.epochs * batches, 0
    if settings.relaxation.trains_alphas:
        # Alphas move in steps 0, n, 2n .. that are not in the warm-up.
        first = settings.warmup_epochs * batches
        moving = math.ceil(total / settings.weight_steps) - math.ceil(first / settings.weight_steps)
    every = settings.validate_every
    return Counts(
        steps=moving,
        weight_steps=total - moving,
        epochs=settings.epochs,
        evaluations=(settings.epochs // every if every else 0) * evaluation_batches,
        selections=rehearsal.num_evaluations * evaluation_batches,
        tuning_steps=rehearsal.num_epochs * batches,
    )


def num_batches(job: Job, num_images: int, batch_size: int) -> tuple[int, int]:
    """Batches of the weights in an epoch, and in an evaluation, as `dnas.jobs.job.search_streams` makes them.

    A short last batch of an evaluation, which is merged into the one before, is counted: it takes its time.

    Args:
        job: which says with how many levels, and on how many images the supernet is measured.
        num_images: all that the search may use.
        batch_size: images in a batch.
    """
    half = max(num_images // 2, 1)
    trained = num_images if job.search.one_level else half
    measured = min(job.supernet_images or half, half)
    merged = trained > batch_size and trained % batch_size == 1
    return math.ceil(trained / batch_size) - merged, math.ceil(measured / batch_size)
