"""Stages of a search: how long each is, and how it differs from the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from dnas.core.schedule import Schedule
from dnas.data.keyed_random import stream_key
from dnas.system.accepted import accept
from dnas.system.errors import UserError


@dataclass(frozen=True)
class Stage:
    """A part of a search, with a supernet of its own (P-DARTS, Chen et al. 2019, https://arxiv.org/abs/1904.12760, and
    the progressive search of DrNAS, Chen et al. 2021, https://arxiv.org/abs/2006.10355, section 3.3).

    Batches and random numbers go on from stage to stage; each stage begins with its own warm-up.

    Args:
        epochs: passes over the weights' half of the data. If `SearchSettings.epochs` is not the sum of all stages'
            epochs, all stages and their warm-ups are made longer or shorter in proportion.
        warmup_epochs: epochs at the start of the stage in which only the weights are trained.
        num_candidates: number of candidates that stay in each choice and on each edge from this stage on: those with
            the largest expected mixture at the end of the stage before. None for all that are left.
        carry: whether the search continues with the weights, the alphas, both optimizers' states and the progress (of
            the learning rate, the schedules, the relaxation) of the stage before, as in DrNAS. Otherwise all of them
            begin anew, as in P-DARTS. It has no effect in the first stage.
        cells: number of cells of the supernet. In a job it is scaled, so that the first stage has the job's own number.
        channels: channels of the first cells; scaled likewise.
        partial_channels: K: operations see 1 / K of the channels, in spaces that support it.
        skip_dropout: rate of the dropout after skip connections, in spaces that support it.

    Raises:
        UserError: a number is below 1, or the warm-up is longer than the stage.
    """

    epochs: int = 25
    warmup_epochs: int = 0
    num_candidates: int | None = None
    carry: bool = True
    cells: int | None = None
    channels: int | None = None
    partial_channels: int | None = None
    skip_dropout: Schedule | None = None

    def __post_init__(self) -> None:
        accept(self)
        for name in ("epochs", "num_candidates", "cells", "channels", "partial_channels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} of a stage must be at least 1; got {value}.")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise UserError(
                f"warmup_epochs of a stage must lie between 0 and its epochs = {self.epochs}; got {self.warmup_epochs}."
            )


@dataclass(frozen=True)
class Part:
    """The epochs of a search that a stage covers.

    Args:
        first: number of epochs before the stage.
        end: number of epochs when the stage is over.
        warmup_end: number of epochs when its alphas begin to move.
        span: the numbers of epochs between which the progress goes from 0 to 1; they cover the stage and all stages
            before and after it that carry on.
    """

    first: int
    end: int
    warmup_end: int
    span: tuple[int, int]

    def progress(self, done: int, per_epoch: int = 1) -> float:
        """Progress from 0 to 1, after `done` steps of `per_epoch` in an epoch."""
        first, end = self.span
        return (done - first * per_epoch) / ((end - first) * per_epoch)


def parts(stages: Sequence[Stage]) -> tuple[Part, ...]:
    """The epochs that each stage of a search covers.

    Example:
        >>> [part.span for part in parts([Stage(2), Stage(3), Stage(1, carry=False)])]
        [(0, 5), (0, 5), (5, 6)]
    """
    bounds = list(pairwise([0, *accumulate(stage.epochs for stage in stages)]))
    starts = [first for (first, _), stage in zip(bounds, stages, strict=True) if first == 0 or not stage.carry]
    spans = list(pairwise([*starts, bounds[-1][1]]))
    return tuple(
        Part(first, end, first + stage.warmup_epochs, next(span for span in spans if span[0] <= first < span[1]))
        for (first, end), stage in zip(bounds, stages, strict=True)
    )


def scaled(stages: Sequence[Stage], epochs: int) -> tuple[Stage, ...]:
    """The stages with `epochs` in all, each in proportion and at least one; warm-ups are scaled likewise.

    Raises:
        UserError: there are fewer epochs than stages.

    Example:
        >>> [(stage.epochs, stage.warmup_epochs) for stage in scaled([Stage(25, 10)] * 3, 10)]
        [(3, 1), (4, 2), (3, 1)]
    """
    total = sum(stage.epochs for stage in stages)
    if epochs == total:
        return tuple(stages)
    if epochs < len(stages):
        raise UserError(f"epochs must be at least 1 for each of the {len(stages)} stages; got {epochs}.")
    ends = [round(epochs * end / total) for end in accumulate(stage.epochs for stage in stages)]
    lengths = [max(1, end - first) for first, end in pairwise([0, *ends])]
    while sum(lengths) > epochs:
        lengths[lengths.index(max(lengths))] -= 1
    return tuple(
        replace(stage, epochs=length, warmup_epochs=scaled_warmup(stage.warmup_epochs, stage.epochs, length))
        for stage, length in zip(stages, lengths, strict=True)
    )


def scaled_warmup(warmup: int, epochs: int, new_epochs: int) -> int:
    """Warm-up epochs in proportion when `epochs` become `new_epochs`; alphas that had epochs keep at least one.

    Example:
        >>> scaled_warmup(15, 50, 30)
        9
    """
    return min(round(warmup * new_epochs / epochs), new_epochs - (1 if warmup < epochs else 0))


def stage_seed(seed: int, stage: int) -> int:
    """The seed for the new things of a stage: its supernet, and the copies of channels in it.

    Args:
        seed: seed of the search.
        stage: index of the stage; the first has the seed of the search.
    """
    return seed if stage == 0 else stream_key(seed, stage)


def check_stages(stages: Sequence[Stage]) -> None:
    """Check that the stages make sense one after the other.

    Raises:
        UserError: the first stage prunes, a later one needs more candidates than are left, or a size is given only
            later.
    """
    if stages[0].num_candidates is not None:
        raise UserError(
            "num_candidates of the first stage has no effect: there are no alphas yet to rule candidates out by."
        )
    left = None
    for number, stage in enumerate(stages, start=1):
        if left is not None and stage.num_candidates is not None and stage.num_candidates > left:
            raise UserError(
                f"num_candidates of stage {number} is {stage.num_candidates}, but only {left} are left from before."
            )
        left = stage.num_candidates or left
        for name in ("cells", "channels"):
            if getattr(stage, name) is not None and getattr(stages[0], name) is None:
                raise UserError(f"Stage {number} sets {name}, so the first stage must set it too, to compare with.")


def sizes_in_job(stages: Sequence[Stage], stage: Stage, *, cells: int, channels: int) -> tuple[int, int]:
    """Cells and channels of a stage in a job whose first stage has the given size.

    Example:
        >>> stages = [Stage(cells=5), Stage(cells=11), Stage(cells=17)]
        >>> [sizes_in_job(stages, stage, cells=5, channels=16) for stage in stages]
        [(5, 16), (11, 16), (17, 16)]
    """
    return (
        _in_proportion(cells, stage.cells, stages[0].cells),
        _in_proportion(channels, stage.channels, stages[0].channels),
    )


def _in_proportion(own: int, stage: int | None, first: int | None) -> int:
    return own if stage is None or first is None else max(1, round(own * stage / first))
