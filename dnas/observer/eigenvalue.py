"""How sharp the validation loss is in the alphas: the largest eigenvalue of its Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.batch import Batch
from dnas.observer.base import EpochReport, Observer, Stop
from dnas.random_state import random_state, restore_random_state
from dnas.relaxation.base import Relaxation
from dnas.supernet import Supernet

LOGGED = "dominant_eigenvalue"


@dataclass(frozen=True)
class HessianEigenvalue(Observer):
    """Logs the largest eigenvalue of the Hessian of L_val in the alphas (RobustDARTS, Zela et al. 2020,
    https://arxiv.org/abs/1909.09656, section 4; official code read: automl/RobustDARTS, src/search/analyze.py).

    It grows where a search is about to end in skip connections. Taken on the last validation batch, at the relaxation's
    expected mixture. We take it by power iteration instead of the whole Hessian, and leave out the alphas' weight
    decay, which adds the same number to every eigenvalue.

    Args:
        every: epochs between two measurements.
        iterations: products with the Hessian, each about two passes over a batch.
    """

    every: int = 1
    iterations: int = 20

    def __post_init__(self) -> None:
        if self.every < 1 or self.iterations < 1:
            raise ValueError(f"every and iterations must be at least 1; got {self.every} and {self.iterations}.")

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        measure(report, self.every, self.iterations)
        return None


def measure(report: EpochReport, every: int, iterations: int) -> float | None:
    """The eigenvalue of this epoch, which is logged once; None where it is not due or the alphas have not moved yet."""
    if report.epoch % every or report.val_batch is None:
        return None
    if LOGGED not in report.scalars:
        report.scalars[LOGGED] = largest_eigenvalue(
            report.supernet, report.relaxation, report.val_batch, report.progress, iterations=iterations
        )
    return report.scalars[LOGGED]


def largest_eigenvalue(
    supernet: Supernet, relaxation: Relaxation, batch: Batch, progress: Tensor, *, iterations: int = 20
) -> float:
    """Largest eigenvalue of d^2 L(w, m(alpha)) / d alpha^2 over all alphas together, by power iteration.

    The iteration finds the eigenvalue of largest size; where that is negative, it is taken off and a second iteration
    finds the largest one. The start is the same random direction each time; random states are left as they were.
    """
    random = random_state()
    alphas = {name: alpha.detach().requires_grad_() for name, alpha in supernet.alphas.items()}
    with torch.enable_grad():
        mixtures = supernet.relaxed(alphas, lambda alpha: relaxation.expected(alpha, progress))
        weights = {name: weight.detach() for name, weight in supernet.weights().items()}
        loss, _ = supernet.loss(weights, mixtures, batch)
        gradient = torch.autograd.grad(loss, list(alphas.values()), create_graph=True, materialize_grads=True)
    restore_random_state(random)
    largest = _power_iteration(gradient, alphas, 0.0, iterations)
    if largest < 0:
        largest += _power_iteration(gradient, alphas, -largest, iterations)
    return largest


def _power_iteration(
    gradient: tuple[Tensor, ...], alphas: Mapping[str, Tensor], shift: float, iterations: int
) -> float:
    """The eigenvalue of largest size of H + shift, as the Rayleigh quotient of the last direction."""
    inputs = list(alphas.values())
    generator = torch.Generator().manual_seed(0)
    v = [torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device) for x in inputs]
    quotient = torch.zeros(())
    for _ in range(iterations):
        length = torch.stack([part.square().sum() for part in v]).sum().sqrt().clamp_min(torch.finfo(v[0].dtype).tiny)
        v = [part / length for part in v]
        product = torch.autograd.grad(gradient, inputs, v, retain_graph=True, materialize_grads=True)
        product = [h + shift * part for h, part in zip(product, v, strict=True)]
        quotient = torch.stack([(h * part).sum() for h, part in zip(product, v, strict=True)]).sum()
        v = product
    return float(quotient)
