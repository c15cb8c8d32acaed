"""The next token at each place of a text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dnas.core.described import described
from dnas.system.accepted import accept
from dnas.system.errors import UserError
from dnas.task.base import Task, divergence, logits_of
from dnas.task.classification import check_labels
from dnas.task.metric import Metric


class LanguageOutput(NamedTuple):
    """The output of a language model that gives out its hidden states.

    Args:
        logits: (..., V), scores of the token that follows each step.
        states: (T, B, H), the hidden states, in training only; a loss may regularise them.
        dropped: (T, B, H), the states after dropout, in training only.
    """

    logits: Tensor
    states: Tensor | None = None
    dropped: Tensor | None = None


@dataclass(frozen=True)
class LanguageModelling(Task):
    """Logits `(..., tokens)` and int64 tokens `(...)`, of any number of dimensions; the loss is cross entropy in nats.

    Outputs may also be a `LanguageOutput`, whose hidden states h_t training keeps small and slow by two more terms,
    with the mask m_t of dropout (Merity et al. 2017, https://arxiv.org/abs/1708.01009):

        loss = -mean log p(target) + activation mean (m_t h_t)^2 + slowness mean (h_t - h_{t-1})^2

    The metric is `perplexity`, the exponential of the mean cross entropy over all tokens.

    Args:
        activation: factor of the term for the size of the states.
        slowness: factor of the term for their change from step to step.

    Raises:
        UserError: a factor is below 0.
    """

    activation: float = 0.0
    slowness: float = 0.0

    def __post_init__(self) -> None:
        accept(self)
        for name in ("activation", "slowness"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name} must be 0 or more; got {getattr(self, name)}.")

    def read(self, outputs: Any) -> Any:
        return outputs if isinstance(outputs, LanguageOutput) else logits_of(outputs)

    def criterion(self, outputs: Tensor | LanguageOutput, targets: Tensor) -> dict[str, Tensor]:
        output = _output(outputs)
        terms = {"cross_entropy": nn.functional.cross_entropy(output.logits.flatten(0, -2), targets.flatten())}
        if self.activation and output.dropped is not None:
            terms["activation"] = self.activation * output.dropped.square().mean()
        if self.slowness and output.states is not None and len(output.states) > 1:
            terms["slowness"] = self.slowness * output.states.diff(dim=0).square().mean()
        return terms

    def distance_to_teacher(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        return divergence(outputs, taught, temperature, axis=-1)

    def metrics(self) -> dict[str, Metric]:
        return {"perplexity": Metric(Perplexity(), "lower")}

    def weights(self, outputs: Any, targets: Tensor) -> Tensor:
        return torch.full((len(targets),), targets.numel() / len(targets), dtype=torch.float64, device=targets.device)

    def check(self, outputs: Any, targets: Any) -> None:
        logits = outputs.logits if isinstance(outputs, LanguageOutput) else outputs
        if not isinstance(logits, Tensor) or logits.ndim < 2:
            raise UserError(f"A language model must give logits (..., tokens); the network gives {described(outputs)}.")
        if not isinstance(targets, Tensor) or targets.shape != logits.shape[:-1] or targets.dtype != torch.int64:
            raise UserError(f"Targets must be int64 tokens {tuple(logits.shape[:-1])}; got {described(targets)}.")
        check_labels(targets.flatten(), logits.shape[-1])


def _output(given: Tensor | LanguageOutput) -> LanguageOutput:
    return given if isinstance(given, LanguageOutput) else LanguageOutput(given)


class Perplexity:
    """exp of the mean cross entropy over all tokens."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.total = torch.zeros((), dtype=torch.float64)
        self.count = 0

    def update(self, outputs: Tensor | LanguageOutput, targets: Tensor, /) -> None:
        logits = _output(outputs).logits.flatten(0, -2).double()
        total = nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum")
        self.total = self.total.to(total.device) + total
        self.count += targets.numel()

    def compute(self) -> float:
        return math.exp(min(float(self.total) / self.count, 700.0)) if self.count else math.nan
