"""The hypergradient through several virtual steps of the weights' optimizer."""

from dataclasses import dataclass

import torch

from dnas.method.hypergradient.autodiff import add, detached, gradients, leaves, pull_back
from dnas.method.hypergradient.base import (
    BilevelProblem,
    Hypergradient,
    HypergradientResult,
    InnerStep,
    State,
    Tensors,
    required,
)
from dnas.method.hypergradient.clip import check_clip, clip
from dnas.method.hypergradient.randomness import repeatable
from dnas.system.accepted import accept
from dnas.system.errors import UserError


@dataclass(frozen=True)
class Unrolled(Hypergradient):
    """d_m L_val(w_K, m) with w_{k+1} = step(w_k, d_w L_train(w_k, m; batch k)), by reverse-mode differentiation.

    It is exact, and differentiates the optimizer's state too (Maclaurin et al., 2015, https://arxiv.org/abs/1502.03492;
    Franceschi et al., 2017, https://arxiv.org/abs/1703.01785). Every step is recomputed on the way back, so memory is
    that of one step, plus K copies of weights and state, at the price of one more forward and backward pass per step.

    Args:
        steps: K, the number of virtual steps and of inner batches, at least 1.
        clip: largest norm of the gradient inside a virtual step; None for no clipping.
    """

    steps: int
    clip: float | None = None

    def __post_init__(self) -> None:
        accept(self)
        if self.steps < 1:
            raise UserError(f"steps is the number of virtual steps and must be at least 1, not {self.steps}.")
        check_clip(self.clip)

    @property
    def num_train_batches(self) -> int:
        return self.steps

    def __call__(
        self, problem: BilevelProblem, weights: Tensors, outer: Tensors, step: InnerStep | None
    ) -> HypergradientResult:
        step = required(step, self)
        weights = detached(weights)
        w, state = step.moved(weights), step.state
        with torch.enable_grad(), repeatable(problem, weights, outer) as problem:
            path: list[tuple[Tensors, State]] = []
            for k in range(self.steps):
                path.append((w, state))
                w = leaves(w)
                (g,) = gradients(problem.train(weights | w, detached(outer), k), w)
                w, state = step(detached(w), clip(g, self.clip), state)

            w, m = leaves(w), leaves(outer)
            val_loss = problem.val(weights | w, m)
            # Adjoints d L_val / d w_k and d L_val / d state_k, from k = K down to 1; `gradient` collects d L_val / d m.
            w_adjoint, gradient = gradients(val_loss, w, m)
            state_adjoint = {name: {key: torch.zeros_like(t) for key, t in s.items()} for name, s in state.items()}
            for k in reversed(range(self.steps)):
                w, state = path.pop()
                w, m, state = leaves(w), leaves(outer), {name: leaves(tensors) for name, tensors in state.items()}
                (g,) = gradients(problem.train(weights | w, m, k), w, create_graph=True)
                w_next, state_next = step(w, clip(g, self.clip), state)
                outputs = [(w_next[name], w_adjoint[name]) for name in w]
                outputs += [(s[key], state_adjoint[name][key]) for name, s in state_next.items() for key in s]
                # w_0 and state_0 are constants.
                through_m, *adjoints = pull_back(outputs, m, *((w, *state.values()) if k > 0 else ()))
                gradient = add(gradient, through_m)
                if k > 0:
                    w_adjoint, state_adjoint = adjoints[0], dict(zip(state, adjoints[1:], strict=True))
        return HypergradientResult(gradient, val_loss.detach())
