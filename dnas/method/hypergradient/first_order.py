"""The hypergradient that treats the weights as given."""

from dataclasses import dataclass

import torch

from dnas.method.hypergradient.autodiff import detached, gradients, leaves
from dnas.method.hypergradient.base import BilevelProblem, Hypergradient, HypergradientResult, InnerStep, Tensors
from dnas.method.hypergradient.randomness import repeatable


@dataclass(frozen=True)
class FirstOrder(Hypergradient):
    """d_m L_val(w, m), as if w did not depend on m (DARTS, Liu et al., 2019, https://arxiv.org/abs/1806.09055, xi = 0).

    It takes one pass without weight gradients; any optimizer may move the weights, and `step` is not used.
    """

    @property
    def num_train_batches(self) -> int:
        return 0

    @property
    def needs_step(self) -> bool:
        return False

    def __call__(
        self, problem: BilevelProblem, weights: Tensors, outer: Tensors, step: InnerStep | None
    ) -> HypergradientResult:
        with torch.enable_grad(), repeatable(problem, weights, outer) as problem:
            m = leaves(outer)
            val_loss = problem.val(detached(weights), m)
            (gradient,) = gradients(val_loss, m)
        return HypergradientResult(gradient, val_loss.detach())
