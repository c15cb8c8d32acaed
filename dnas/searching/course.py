"""How far a search has come, and what it has collected on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dnas.searching.stage import Part
from dnas.searching.totals import Totals


@dataclass
class Course:
    """How far a search has come, and what it has collected on the way.

    Args:
        part: the epochs of the current stage.
        stage: index of the current stage.
        in_stages: whether the search has stages, so that rows of metrics name theirs.
        steps_per_epoch: weight steps in an epoch.
        memories: what each observer remembers.
        step: steps taken, without those that were given up.
        attempt: 1, and one more each time an observer has sent the search back.
        given_up: steps that were taken but do not count in `step`.
        seconds: time spent so far.
        stopped: whether an observer has stopped the search.
        result_epoch: the epoch whose alphas are the result; None for the last.
        alphas_by_epoch: the alphas at the end of each epoch.
        epoch_rows: one row of scalars per epoch.
        totals: sums over the steps of the current epoch.
    """

    part: Part
    stage: int
    in_stages: bool
    steps_per_epoch: int
    memories: list[dict[str, Any]]
    step: int = field(init=False)
    attempt: int = 1
    given_up: int = 0
    seconds: float = 0.0
    stopped: bool = False
    result_epoch: int | None = None
    alphas_by_epoch: list[dict[str, Tensor]] = field(default_factory=list)
    epoch_rows: list[dict[str, float]] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)

    def __post_init__(self) -> None:
        self.step = self.part.first * self.steps_per_epoch

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return self.step // self.steps_per_epoch

    @property
    def epoch_has_ended(self) -> bool:
        return self.step % self.steps_per_epoch == 0

    @property
    def end(self) -> int:
        """The step at which the stage is over."""
        return self.part.end * self.steps_per_epoch

    @property
    def steps_taken(self) -> int:
        """All steps, including those that were given up; the rows of metrics are counted by this number."""
        return self.step + self.given_up

    @property
    def progress(self) -> float:
        """Progress from 0 to 1, for learning rates, schedules and the relaxation."""
        return self.part.progress(self.step, self.steps_per_epoch)

    @property
    def progress_tensor(self) -> Tensor:
        """`progress` as a scalar tensor."""
        return torch.tensor(self.progress)

    @property
    def labels(self) -> dict[str, int]:
        """Further entries of a row of metrics: the stage, and from the second attempt on the attempt."""
        stage = {"stage": self.stage + 1} if self.in_stages else {}
        return stage | ({"attempt": self.attempt} if self.attempt > 1 else {})

    @property
    def place(self) -> str:
        """Step and epoch, in words."""
        return f"step {self.step} (epoch {self.epoch})"

    def at(self, step: int) -> str:
        """Such as 'at step 3 (epoch 0)', both counted from 1 and 0."""
        return f"at step {step} (epoch {step // self.steps_per_epoch})"
