"""Sums of loss and right guesses over the steps of an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class EpochSums:
    """Loss and right first guesses, added up over the steps of an epoch; they stay on the device until they are read.

    Unlike `dnas.searching.totals.Totals` it counts right guesses, which are whole numbers, so its accuracy is exact.
    """

    def __init__(self, device: torch.device) -> None:
        self.num_samples = 0
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)  # of loss and right first guesses

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        right = (logits.argmax(1) == targets).sum()
        self.num_samples += len(targets)
        self.sums += torch.stack([loss.double() * len(targets), right.double()])

    def means(self) -> tuple[float, float]:
        """Mean loss and top-1 accuracy so far; 0 before the first step."""
        loss, right = self.sums.tolist()
        return loss / max(self.num_samples, 1), right / max(self.num_samples, 1)

    def state(self) -> dict[str, Any]:
        return {"num_samples": self.num_samples, "sums": self.sums}

    def load(self, state: Mapping[str, Any]) -> None:
        self.num_samples = state["num_samples"]
        self.sums.copy_(state["sums"])
