"""The hypergradient at an optimum of the weights, by the implicit function theorem.

    d_m L_val - (d_m d_w L_train)^T H^-1 d_w L_val,   H = d_w d_w (L_train + sum wd/2 |w|^2)

The inner objective contains the optimizer's weight decay, so that its optimum is where the optimizer comes to rest. The
formula holds where the gradient of that objective is 0; elsewhere it is an approximation, and on a network H need not
even be positive. Products with H are exact, by double backward.
"""

from dataclasses import dataclass

import torch

from dnas.method.hypergradient.autodiff import add, detached, dot, gradients, leaves, pull_back
from dnas.method.hypergradient.base import (
    BilevelProblem,
    Hypergradient,
    HypergradientResult,
    InnerStep,
    Tensors,
    required,
)
from dnas.method.hypergradient.randomness import repeatable
from dnas.system.accepted import accept
from dnas.system.errors import UserError


@dataclass(frozen=True)
class Neumann(Hypergradient):
    """H^-1 as a Neumann series (Lorraine et al., 2020, https://arxiv.org/abs/1911.02590).

        H^-1 ~ rate sum_{k=0}^{terms-1} (I - rate H)^k

    At an optimum this is `Unrolled(steps=terms)` with plain SGD of learning rate `rate`. It converges when all
    eigenvalues of H lie between 0 and 2 / rate. `stochastic` uses a new inner batch per term (iDARTS, Zhang et al.,
    2021, https://arxiv.org/abs/2106.10784, whose K counts from 0: `terms` = K + 1): with p_0 = d_w L_val,

        h -= rate (d_m d_w L_k)^T p_k,   p_{k+1} = (I - rate H_k) p_k,   both on batch k,

    which at a common optimum is `Unrolled` with the batches in reverse order. The official code of iDARTS
    (MiaoZhang0525/iDARTS, iDARTS_V2.ipynb) uses one batch for all terms, as `stochastic=False` does, and leaves weight
    decay out of H.

    Args:
        terms: number of terms, at least 1.
        rate: step size of the series; it acts like a learning rate, but is independent of the optimizer's.
        stochastic: whether each term has an inner batch of its own, instead of one batch for all.
    """

    terms: int
    rate: float
    stochastic: bool = False

    def __post_init__(self) -> None:
        accept(self)
        if self.terms < 1:
            raise UserError(f"terms is the length of the Neumann series and must be at least 1, not {self.terms}.")
        if not self.rate > 0:
            raise UserError(f"rate is the step size of the Neumann series and must be positive, not {self.rate}.")

    @property
    def num_train_batches(self) -> int:
        return self.terms if self.stochastic else 1

    def __call__(
        self, problem: BilevelProblem, weights: Tensors, outer: Tensors, step: InnerStep | None
    ) -> HypergradientResult:
        step = required(step, self)
        _check_inner_objective(step, self)
        with torch.enable_grad(), repeatable(problem, weights, outer) as problem:
            p, gradient, val_loss = _val_gradients(problem, weights, outer, step)
            if self.stochastic:
                for k in range(self.terms):
                    inner = _InnerObjective(problem, weights, outer, step, k)
                    gradient = add(gradient, inner.mixed_product(p), scale=-self.rate)
                    if k < self.terms - 1:
                        p = add(p, inner.hessian_product(p), scale=-self.rate)
            else:
                inner = _InnerObjective(problem, weights, outer, step, 0)
                total = p
                for _ in range(self.terms - 1):
                    p = add(p, inner.hessian_product(p), scale=-self.rate)
                    total = add(total, p)
                gradient = add(gradient, inner.mixed_product(total), scale=-self.rate)
        return HypergradientResult(gradient, val_loss)


@dataclass(frozen=True)
class ConjugateGradient(Hypergradient):
    """(H + damping I)^-1 d_w L_val by conjugate gradient (Rajeswaran et al., 2019, https://arxiv.org/abs/1909.04630).

    All iterations are computed; those after convergence, or after a direction of non-positive curvature, change nothing
    (asking whether to stop would wait for the device). If the first direction has non-positive curvature, the result is
    therefore that of `FirstOrder`: raise `damping`.

    Args:
        iterations: largest number of iterations, one Hessian-vector product each.
        tolerance: converged when the residual's norm is at most this fraction of |d_w L_val|.
        damping: added to the eigenvalues of H.
    """

    iterations: int = 10
    tolerance: float = 1e-6
    damping: float = 0.0

    def __post_init__(self) -> None:
        accept(self)
        if self.iterations < 1:
            raise UserError(f"iterations is the length of conjugate gradient, at least 1, not {self.iterations}.")
        if not self.tolerance >= 0:
            raise UserError(f"tolerance is a fraction of the residual's first norm, at least 0, not {self.tolerance}.")
        if not self.damping >= 0:
            raise UserError(f"damping is added to the Hessian's eigenvalues and at least 0, not {self.damping}.")

    @property
    def num_train_batches(self) -> int:
        return 1

    def __call__(
        self, problem: BilevelProblem, weights: Tensors, outer: Tensors, step: InnerStep | None
    ) -> HypergradientResult:
        step = required(step, self)
        _check_inner_objective(step, self)
        with torch.enable_grad(), repeatable(problem, weights, outer) as problem:
            b, gradient, val_loss = _val_gradients(problem, weights, outer, step)
            inner = _InnerObjective(problem, weights, outer, step, 0)
            x = self._solve(inner, b)
            gradient = add(gradient, inner.mixed_product(x), scale=-1)
        return HypergradientResult(gradient, val_loss)

    def _solve(self, inner: "_InnerObjective", b: Tensors) -> Tensors:
        """The solution x of (H + damping I) x = b."""
        x = {name: torch.zeros_like(tensor) for name, tensor in b.items()}
        r = p = b
        r_r = dot(r, r)
        converged = self.tolerance**2 * r_r
        # Written so that a NaN never counts as convergence: it spreads into x and from there into the result.
        active = ~(r_r <= converged)
        for _ in range(self.iterations):
            a_p = add(inner.hessian_product(p), p, scale=self.damping)
            p_a_p = dot(p, a_p)
            active = active & ~(p_a_p <= 0)
            step_size = torch.where(active, r_r / torch.where(active, p_a_p, 1.0), 0.0)
            x, r = add(x, p, scale=step_size), add(r, a_p, scale=-step_size)
            r_r, previous = dot(r, r), r_r
            p = add(r, p, scale=torch.where(active, r_r / torch.where(active, previous, 1.0), 0.0))
            active = active & ~(r_r <= converged)
        return x


class _InnerObjective:
    """Second derivatives of L_train + sum wd/2 |w|^2 at one point, on one inner batch."""

    def __init__(self, problem: BilevelProblem, weights: Tensors, outer: Tensors, step: InnerStep, index: int) -> None:
        self._step = step
        self._w, self._m = leaves(step.moved(weights)), leaves(outer)
        loss = problem.train(detached(weights) | self._w, self._m, index)
        (self._g,) = gradients(loss, self._w, create_graph=True)

    def hessian_product(self, vector: Tensors) -> Tensors:
        """H `vector`."""
        pairs = [(self._g[name], vector[name]) for name in self._g]
        (product,) = pull_back(pairs, self._w, retain_graph=True)
        return {name: product[name] + self._step.weight_decay[name] * vector[name] for name in product}

    def mixed_product(self, vector: Tensors) -> Tensors:
        """(d_m d_w L_train)^T `vector`; weight decay does not depend on m."""
        return pull_back([(self._g[name], vector[name]) for name in self._g], self._m, retain_graph=True)[0]


def _val_gradients(
    problem: BilevelProblem, weights: Tensors, outer: Tensors, step: InnerStep
) -> tuple[Tensors, Tensors, torch.Tensor]:
    """d_w L_val for the weights that the step moves, d_m L_val, and L_val detached."""
    w, m = leaves(step.moved(weights)), leaves(outer)
    val_loss = problem.val(detached(weights) | w, m)
    by_weights, by_outer = gradients(val_loss, w, m)
    return by_weights, by_outer, val_loss.detach()


def _check_inner_objective(step: InnerStep, method: Hypergradient) -> None:
    if step.decoupled:
        raise UserError(
            f"{type(method).__name__} needs an inner objective that the weights approach an optimum of, and decoupled "
            "weight decay (AdamW) belongs to none: use SGD or Adam, whose decay is a term of the objective, or OneStep "
            "or Unrolled, which take AdamW."
        )
