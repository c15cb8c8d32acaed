"""Stops training operations whose training and validation gradients no longer agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dnas.core.cell import Cell
from dnas.core.choice import Choice
from dnas.searching.observer.base import EpochReport, Observer, StepReport, Stop
from dnas.searching.supernet import Supernet
from dnas.system.accepted import accept
from dnas.system.errors import UserError
from dnas.system.random_state import random_state, restore_random_state


@dataclass(frozen=True)
class OperationFreeze(Observer):
    """OLES: freezes the candidates whose training gradient has come to disagree with the validation gradient.

        (1 / count) sum over steps of cos(g_train, h) < threshold

    Jiang et al. 2023, Operation-level early stopping for robustifying differentiable NAS, NeurIPS,
    https://openreview.net/forum?id=yAOwkf4FyL; official code read: PasaLab/oles, train_search.py. In the paper h is the
    gradient of the validation loss. In the official code it is g_train + g_val, because the architecture step adds its
    gradient to what the weight step has left in `.grad`. Two unrelated gradients of the same length then have the
    cosine 0.71 instead of 0, so a threshold for one form means nothing in the other; the published threshold of 0.4 and
    the results belong to the code. On a small DARTS supernet and the digits, 0.4 froze 66 % of the candidates after the
    first 20 steps in the form of the paper, and none in 39 steps in the form of the code.

    As in the official code, the cosine is taken along the first dimension of each weight and averaged over its other
    dimensions and over the weights of a candidate. The validation gradient takes a forward and a backward pass of its
    own, which made first-order steps of that supernet 36 to 52 % longer (CPU time, one run each, a busy machine).

    Differences: the official code gets the gradient for free from the next architecture step and its batch; here it is
    taken right after the weight step, at the same weights and alphas, on that step's validation batch. The official
    code divides the sum of 21 cosines by 20; here `count` are averaged. It never freezes the convolution that is a skip
    connection of stride 2; here that is a candidate with weights like any other.

    Args:
        threshold: smallest mean cosine at which a candidate is still trained, in [-1, 1].
        count: number of cosines that are averaged.
        every: steps between two cosines, to save time.
        against: the gradient h: 'validation' for g_val (the paper), 'sum' for g_train + g_val (the official code).
    """

    threshold: float = 0.4
    count: int = 20
    every: int = 1
    against: Literal["validation", "sum"] = "sum"

    def __post_init__(self) -> None:
        accept(self)
        if not -1 <= self.threshold <= 1 or self.count < 1 or self.every < 1:
            raise UserError(
                "threshold must lie in [-1, 1], count and every be at least 1; got "
                f"{self.threshold}, {self.count} and {self.every}."
            )
        if self.against not in ("validation", "sum"):
            raise UserError(f"against must be 'validation' or 'sum'; got {self.against!r}.")

    def step_ended(self, report: StepReport) -> None:
        if report.val_batch is None or report.step % self.every:
            return
        memory = report.memory
        for name, cosine in self._agreements(report).items():
            memory[name] = [*memory.get(name, []), cosine]
            if len(memory[name]) == self.count and float(torch.stack(memory.pop(name)).mean()) < self.threshold:
                report.supernet.model.get_submodule(name).requires_grad_(False)

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        frozen = [not any(w.requires_grad for w in module.parameters()) for _, module in candidates(report.supernet)]
        report.scalars["frozen_operations"] = sum(frozen) / max(len(frozen), 1)
        return None

    def _agreements(self, report: StepReport) -> dict[str, Tensor]:
        """The cosine of each candidate that is still trained and took part in the step."""
        supernet = report.supernet
        random, weights = random_state(), supernet.weights()
        assert report.val_batch is not None
        loss, _ = supernet.loss(dict(weights), report.mixtures, report.val_batch)
        found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        restore_random_state(random)
        val = dict(zip(weights, found, strict=True))
        result = {}
        for name, module in candidates(supernet):
            pairs = [
                (weight.grad, val[full] + weight.grad if self.against == "sum" else val[full])
                for part, weight in module.named_parameters()
                if (full := f"{name}.{part}") in val and weight.grad is not None and val[full] is not None
            ]
            if pairs:
                cosines = [torch.cosine_similarity(h, train, dim=0).mean() for train, h in pairs]
                result[name] = torch.stack(cosines).mean().detach()
        return result


def candidates(supernet: Supernet) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of every candidate with weights."""
    for name, module in supernet.model.named_modules():
        if isinstance(module, Cell | Choice):
            part = module.operations if isinstance(module, Cell) else module.candidates
            place = f"{name}." if name else ""
            kind = "operations" if isinstance(module, Cell) else "candidates"
            for row, one in enumerate(part):
                inner = enumerate(one) if isinstance(module, Cell) else [("", one)]  # type: ignore[arg-type]
                for index, candidate in inner:
                    if any(True for _ in candidate.parameters()):
                        yield f"{place}{kind}.{row}" + (f".{index}" if isinstance(module, Cell) else ""), candidate
