"""The next token at each place of a text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.described import described
from dnas.system.errors import UserError
from dnas.task.base import Task, divergence
from dnas.task.classification import check_labels
from dnas.task.metric import Metric


@dataclass(frozen=True)
class LanguageModelling(Task):
    """Logits `(..., tokens)` and int64 tokens `(...)`, of any number of dimensions; the loss is cross entropy in nats.

    The metric is `perplexity`, the exponential of the mean loss over all tokens.
    """

    def criterion(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())

    def distance_to_teacher(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        return divergence(outputs, taught, temperature, axis=-1)

    def metrics(self) -> dict[str, Metric]:
        return {"perplexity": Metric(Perplexity(), "lower")}

    def weights(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.full((len(targets),), targets.numel() / len(targets), dtype=torch.float64, device=targets.device)

    def check(self, outputs: Any, targets: Any) -> None:
        if not isinstance(outputs, Tensor) or outputs.ndim < 2:
            raise UserError(f"A language model must give logits (..., tokens); the network gives {described(outputs)}.")
        if not isinstance(targets, Tensor) or targets.shape != outputs.shape[:-1] or targets.dtype != torch.int64:
            raise UserError(f"Targets must be int64 tokens {tuple(outputs.shape[:-1])}; got {described(targets)}.")
        check_labels(targets.flatten(), outputs.shape[-1])


class Perplexity:
    """exp of the mean cross entropy over all tokens."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.total = torch.zeros((), dtype=torch.float64)
        self.count = 0

    def update(self, outputs: Tensor, targets: Tensor, /) -> None:
        total = nn.functional.cross_entropy(outputs.flatten(0, -2).double(), targets.flatten(), reduction="sum")
        self.total = self.total.to(total.device) + total
        self.count += targets.numel()

    def compute(self) -> float:
        return math.exp(min(float(self.total) / self.count, 700.0)) if self.count else math.nan
