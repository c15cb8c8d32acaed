"""The hypergradient through one virtual step of the weights' optimizer."""

from dataclasses import dataclass, field

import torch

from dnas.method.hypergradient.autodiff import add, detached, gradients, leaves
from dnas.method.hypergradient.base import (
    BilevelProblem,
    Hypergradient,
    HypergradientResult,
    InnerStep,
    Tensors,
    required,
)
from dnas.method.hypergradient.clip import check_clip, clip
from dnas.method.hypergradient.mixed import FiniteDifference, MixedProduct
from dnas.method.hypergradient.randomness import repeatable
from dnas.system.accepted import accept


@dataclass(frozen=True)
class OneStep(Hypergradient):
    """Second-order DARTS (Liu et al., 2019, https://arxiv.org/abs/1806.09055, eq. 7), for every optimizer step.

        g = d_w L_train(w, m)      w' = step(w, g)
        d_m L_val(w', m) + (d_m d_w L_train(w, m))^T v,      v = d L_val(w', m) / d g

    v is taken through the step. With plain SGD it is -xi d_w' L_val(w', m), and the second term is the
    -xi (d_m d_w L_train) d_w' L_val of eq. 7. Momentum, weight decay, Nesterov, clipping and Adam are handled in the
    same way; the original code handles only SGD with momentum and weight decay (and gives the same result there).

    Args:
        mixed: computes the mixed product: `FiniteDifference()` as in the paper (eq. 8), or `ExactProduct()`.
            They agree only on smooth networks.
        clip: largest norm of g inside the virtual step; None as in the original.
    """

    mixed: MixedProduct = field(default_factory=FiniteDifference)
    clip: float | None = None

    def __post_init__(self) -> None:
        accept(self)
        check_clip(self.clip)

    @property
    def num_train_batches(self) -> int:
        return 1

    def __call__(
        self, problem: BilevelProblem, weights: Tensors, outer: Tensors, step: InnerStep | None
    ) -> HypergradientResult:
        step = required(step, self)
        weights = detached(weights)
        with torch.enable_grad(), repeatable(problem, weights, outer) as problem:
            g, mixed_product = self.mixed.linearize(
                lambda w, m: problem.train(weights | w, m, 0), step.moved(weights), outer
            )
            g, m = leaves(g), leaves(outer)
            w_next, _ = step(weights, clip(g, self.clip), step.state)
            val_loss = problem.val(w_next, m)
            v, direct = gradients(val_loss, g, m)
            return HypergradientResult(add(direct, mixed_product(v)), val_loss.detach())
