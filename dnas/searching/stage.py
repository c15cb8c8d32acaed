"""Stages of a search: how long each is, and what is different from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from dnas.core.schedule import Schedule
from dnas.data.keyed_random import stream_key
from dnas.system.errors import UserError


@dataclass(frozen=True)
class Stage:
    """A part of a search, with a supernet of its own (P-DARTS, Chen et al. 2019, https://arxiv.org/abs/1904.12760, and
    the progressive search of DrNAS, Chen et al. 2021, https://arxiv.org/abs/2006.10355, section 3.3).

    Batches and random numbers go on from stage to stage; each begins with its own warm-up.

    Args:
        epochs: passes over the weights' half of the data. `SearchSettings.epochs` is the sum: where it says another
            number, all stages are made longer or shorter in proportion, with their warm-up.
        warmup_epochs: at the start of the stage, in which only the weights are trained.
        num_candidates: how many candidates stay in each choice and on each edge from here on: those with the largest
            expected mixture at the end of the stage before. None for all that are left.
        carry: whether the search goes on with the weights, the alphas and the states of both optimizers as the stage
            before left them, and with its progress (of the learning rate, the schedules, the relaxation), as in DrNAS.
            Otherwise all of them begin anew, as in P-DARTS. Of no effect in the first stage.
        cells: of the supernet. In a job, whose own number the first stage has, in proportion to that.
        channels: in its first cells; likewise.
        partial_channels: K; operations see 1 / K of the channels, in spaces that have it.
        skip_dropout: rate of the dropout after skip connections, in spaces that have it.

    Raises:
        UserError: a number below 1, or a warm-up that is longer than the stage.
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
    """Which epochs of a search a stage is.

    Args:
        first: number of epochs before it.
        end: number of epochs when it is over.
        warmup_end: number of epochs when its alphas begin to move.
        span: between which numbers of epochs the progress goes from 0 to 1: those of the stage and of all that carry on
            before and after it.
    """

    first: int
    end: int
    warmup_end: int
    span: tuple[int, int]

    def progress(self, done: int, per_epoch: int = 1) -> float:
        """From 0 to 1, after `done` steps of `per_epoch` in an epoch."""
        first, end = self.span
        return (done - first * per_epoch) / ((end - first) * per_epoch)


def parts(stages: Sequence[Stage]) -> tuple[Part, ...]:
    """Where in a search each of its stages lies.

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
    """The stages with `epochs` in all, each in proportion and at least one; warm-ups likewise.

    Raises:
        UserError: fewer epochs than stages.

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
    """Warm-up epochs in proportion, where `epochs` become `new_epochs`; an epoch for the alphas stays if there was one.

    Example:
        >>> scaled_warmup(15, 50, 30)
        9
    """
    return min(round(warmup * new_epochs / epochs), new_epochs - (1 if warmup < epochs else 0))


def stage_seed(seed: int, stage: int) -> int:
    """The seed of what is new in a stage: its supernet, and the copies of channels in it.

    Args:
        seed: of the search.
        stage: index of the stage; the first has the seed of the search.
    """
    return seed if stage == 0 else stream_key(seed, stage)


def check_stages(stages: Sequence[Stage]) -> None:
    """See that stages make sense one after the other.

    Raises:
        UserError: the first prunes, a later one wants more candidates than are left, or a size is only said later.
    """
    if stages[0].num_candidates is not None:
        raise UserError("num_candidates of the first stage has nothing to go by: candidates are ruled out after it.")
    left = None
    for number, stage in enumerate(stages, start=1):
        if left is not None and stage.num_candidates is not None and stage.num_candidates > left:
            raise UserError(
                f"num_candidates of stage {number} is {stage.num_candidates}, but only {left} are left from before."
            )
        left = stage.num_candidates or left
        for name in ("cells", "channels"):
            if getattr(stage, name) is not None and getattr(stages[0], name) is None:
                raise UserError(f"Stage {number} says {name}, so the first stage must say it too, to compare with.")


def sizes_in_job(stages: Sequence[Stage], stage: Stage, *, cells: int, channels: int) -> tuple[int, int]:
    """Cells and channels of a stage in a job of this size, which is that of the first stage.

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
