"""Sums of the steps' scalars, kept on the device until somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dnas.distributed.ranks import ranks


class Totals:
    """Sums of the scalars of an epoch, kept on the device until somebody asks."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.last: dict[str, Tensor] = {}
        self._first_non_finite: Tensor | None = None  # number of a step, or 0

    def add(self, step: int, scalars: Mapping[str, Tensor], num_samples: int, outputs: Any, targets: Any) -> None:
        """Add a step's scalars, which are the same on all ranks, and the accuracy of this rank's outputs."""
        self.last = dict(scalars)
        self._note_non_finite(step)
        accuracy = batch_accuracy(outputs, targets)
        if accuracy is not None:
            self.last["train_accuracy"] = ranks().mean(accuracy, num_samples)
        num_samples = ranks().total(num_samples)
        for name, value in self.last.items():
            weighted = value.double() * num_samples
            self.sums[name] = weighted if name not in self.sums else self.sums[name] + weighted
            self.counts[name] = self.counts.get(name, 0) + num_samples

    def latest(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.last.items()}

    def means(self) -> dict[str, float]:
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}

    def _note_non_finite(self, step: int) -> None:
        finite = torch.stack([value.double().sum() for value in self.last.values()]).isfinite().all()
        before = (
            torch.zeros_like(finite, dtype=torch.int64) if self._first_non_finite is None else self._first_non_finite
        )
        self._first_non_finite = torch.where((before == 0) & ~finite, step, before)

    def first_non_finite(self) -> int | None:
        """The first step, counted from 1, with a scalar that is NaN or infinite."""
        return None if self._first_non_finite is None else int(self._first_non_finite) or None

    def state(self) -> dict[str, Any]:
        return {"sums": self.sums, "counts": self.counts, "last": self.last}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> Totals:
        totals = Totals()
        totals.sums, totals.counts, totals.last = dict(state["sums"]), dict(state["counts"]), dict(state["last"])
        return totals


def batch_accuracy(outputs: Any, targets: Any) -> Tensor | None:
    """Share of right first guesses, a scalar on the device; None if the outputs are not class scores."""
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        return None
    if outputs.ndim != 2 or targets.shape != outputs.shape[:1] or targets.is_floating_point():
        return None
    return (outputs.argmax(1) == targets).double().mean()
