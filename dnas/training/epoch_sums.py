"""Sums of losses and right guesses over the steps of an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class EpochSums:
    """Sums over the samples of an epoch, by name; they stay on the device until they are read.

    Unlike `dnas.searching.totals.Totals` it adds up right guesses, which are whole numbers, so an accuracy is exact.
    """

    def __init__(self, names: tuple[str, ...], device: torch.device) -> None:
        self.names = names
        self.sums = torch.zeros(1 + len(names), dtype=torch.float64, device=device)  # the samples' weights come first

    def add(self, sums: Tensor) -> None:
        """Add the sums of one step: the samples' weights, then one sum for each name, `(1 + names,)`."""
        self.sums += sums

    @property
    def num_samples(self) -> float:
        """The samples so far, each with its weight."""
        return float(self.sums[0])

    def means(self) -> dict[str, float]:
        """Means so far; 0 before the first step."""
        weight, *sums = self.sums.tolist()
        return {name: total / weight if weight else 0.0 for name, total in zip(self.names, sums, strict=True)}

    def state(self) -> dict[str, Any]:
        return {"names": list(self.names), "sums": self.sums}

    def load(self, state: Mapping[str, Any]) -> None:
        if "num_samples" in state:  # of version 0.1.0.dev before tasks: loss and right guesses of a classifier
            number = torch.tensor([state["num_samples"]], dtype=torch.float64, device=self.sums.device)
            self.sums.copy_(torch.cat([number, state["sums"].to(self.sums)]))
            return
        if tuple(state["names"]) != self.names:
            raise ValueError(f"it holds sums of {', '.join(state['names'])} instead of {', '.join(self.names)}")
        self.sums.copy_(state["sums"])
