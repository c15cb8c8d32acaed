"""Problems with a known hypergradient, and the contract of every hypergradient."""

import copy
import pickle
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dnas.method.hypergradient import BilevelProblem, Hypergradient, HypergradientResult, Tensors
from dnas.method.hypergradient.optimizer_steps import functional_step
from dnas.testing.require import require, same


@dataclass(frozen=True, eq=False)
class QuadraticProblem:
    """A bilevel problem in float64 with closed forms, for weights w and outer variables m (flattened in the equations).

        L_train(w, m) = 1/2 w^T A w + w^T (B m + b)
        L_val(w, m)   = 1/2 (w - t)^T C (w - t) + w^T D m + 1/2 m^T Q m

    All inner batches are the same.

    Args:
        A: Hessian of L_train, `(num_weights, num_weights)`, symmetric and positive definite.
        B, b: `(num_weights, num_outer)` and `(num_weights,)`.
        C, t, D, Q: `(num_weights, num_weights)`, `(num_weights,)`, `(num_weights, num_outer)`,
            `(num_outer, num_outer)`; C and Q symmetric.
        weight_shapes, outer_shapes: names and shapes of the tensors that w and m consist of.

    Example:
        >>> from dnas import ExactProduct, OneStep
        >>> problem = QuadraticProblem.random(seed=0)
        >>> weights, outer = problem.point(seed=1)
        >>> named = {name: nn.Parameter(weight) for name, weight in weights.items()}
        >>> step = functional_step(torch.optim.SGD(list(named.values()), lr=0.1), named)
        >>> result = OneStep(mixed=ExactProduct())(problem, weights, outer, step)
        >>> torch.testing.assert_close(result.gradient, problem.one_step(weights, outer, lr=0.1))
    """

    A: Tensor
    B: Tensor
    b: Tensor
    C: Tensor
    t: Tensor
    D: Tensor
    Q: Tensor
    weight_shapes: dict[str, tuple[int, ...]]
    outer_shapes: dict[str, tuple[int, ...]]

    @staticmethod
    def random(seed: int = 0) -> "QuadraticProblem":
        """Seven weights in two tensors, five outer variables in two; eigenvalues of A between 0.5 and 2."""
        generator = torch.Generator().manual_seed(seed)
        weight_shapes, outer_shapes = {"matrix": (2, 2), "vector": (3,)}, {"mixture": (1, 3), "gate": (2,)}
        num_weights, num_outer = 7, 5

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        basis, _ = torch.linalg.qr(normal(num_weights, num_weights))
        half_C, half_Q = normal(num_weights, num_weights), normal(num_outer, num_outer)
        return QuadraticProblem(
            A=basis @ torch.linspace(0.5, 2.0, num_weights, dtype=torch.float64).diag() @ basis.T,
            B=normal(num_weights, num_outer),
            b=normal(num_weights),
            C=half_C @ half_C.T,
            t=normal(num_weights),
            D=normal(num_weights, num_outer),
            Q=half_Q @ half_Q.T,
            weight_shapes=weight_shapes,
            outer_shapes=outer_shapes,
        )

    def point(self, seed: int = 0) -> tuple[Tensors, Tensors]:
        """Random weights and outer variables, standard normal."""
        generator = torch.Generator().manual_seed(seed)
        w = torch.randn(len(self.b), generator=generator, dtype=torch.float64)
        m = torch.randn(len(self.Q), generator=generator, dtype=torch.float64)
        return _split(w, self.weight_shapes), _split(m, self.outer_shapes)

    def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
        """L_train, shape (); the same for every `index`."""
        w, m = self._flat(weights, outer)
        return w @ self.A @ w / 2 + w @ (self.B @ m + self.b)

    def val(self, weights: Tensors, outer: Tensors) -> Tensor:
        """L_val, shape ()."""
        w, m = self._flat(weights, outer)
        return (w - self.t) @ self.C @ (w - self.t) / 2 + w @ self.D @ m + m @ self.Q @ m / 2

    def first_order(self, weights: Tensors, outer: Tensors) -> Tensors:
        """d_m L_val = D^T w + Q m."""
        w, m = self._flat(weights, outer)
        return self._outer(self.D.T @ w + self.Q @ m)

    def one_step(self, weights: Tensors, outer: Tensors, *, lr: float, weight_decay: float = 0.0) -> Tensors:
        """Hypergradient through one step of plain SGD, w' = w - lr (A w + B m + b + weight_decay w).

        D^T w' + Q m - lr B^T (C (w' - t) + D m)
        """
        w, m = self._flat(weights, outer)
        w = w - lr * (self.A @ w + self.B @ m + self.b + weight_decay * w)
        return self._outer(self.D.T @ w + self.Q @ m - lr * self.B.T @ (self.C @ (w - self.t) + self.D @ m))

    def optimum(self, outer: Tensors, *, weight_decay: float = 0.0) -> Tensors:
        """w* = -H^-1 (B m + b) with H = A + weight_decay I, where L_train + weight_decay / 2 |w|^2 is smallest."""
        m = _flatten(outer, self.outer_shapes)
        return _split(-torch.linalg.solve(self._hessian(weight_decay), self.B @ m + self.b), self.weight_shapes)

    def implicit(self, outer: Tensors, *, weight_decay: float = 0.0) -> Tensors:
        """d L_val(w*(m), m) / d m = D^T w* + Q m - B^T H^-1 (C (w* - t) + D m)."""
        w, m = self._flat(self.optimum(outer, weight_decay=weight_decay), outer)
        solution = torch.linalg.solve(self._hessian(weight_decay), self.C @ (w - self.t) + self.D @ m)
        return self._outer(self.D.T @ w + self.Q @ m - self.B.T @ solution)

    def _hessian(self, weight_decay: float) -> Tensor:
        return self.A + weight_decay * torch.eye(len(self.A), dtype=self.A.dtype)

    def _flat(self, weights: Tensors, outer: Tensors) -> tuple[Tensor, Tensor]:
        return _flatten(weights, self.weight_shapes), _flatten(outer, self.outer_shapes)

    def _outer(self, m: Tensor) -> Tensors:
        return _split(m, self.outer_shapes)


def _flatten(tensors: Tensors, shapes: dict[str, tuple[int, ...]]) -> Tensor:
    return torch.cat([tensors[name].reshape(-1) for name in shapes])


def _split(flat: Tensor, shapes: dict[str, tuple[int, ...]]) -> Tensors:
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    return {name: part.reshape(shapes[name]) for name, part in zip(shapes, flat.split(sizes), strict=True)}


def check_hypergradient(hypergradient: Hypergradient) -> None:
    """Check the contract of every hypergradient, on a small problem with dropout, a frozen weight and unused variables.

    - Shapes and dtypes are right and values finite; the gradient is zero for an unused outer variable.
    - It gives the same numbers when called again and after pickling.
    - Weights, outer variables, `.grad`, optimizer and random state stay bit-identical.
    - It asks for every inner batch below `num_train_batches`, and for no other.
    - It refuses a missing step if `needs_step`; otherwise it needs none.

    Raises:
        AssertionError: names the first point that does not hold.
    """
    problem, named, outer, optimizer = _small_search()
    weights = {name: parameter.detach() for name, parameter in named.items()}
    step = functional_step(optimizer, named) if hypergradient.needs_step else None
    before = _snapshot(named, outer, optimizer)
    result = hypergradient(problem, weights, outer, step)

    after = _snapshot(named, outer, optimizer)
    changed = [what for what in before if not same(before[what], after[what])]
    require(not changed, hypergradient, f"changed {', '.join(changed)}")
    asked, promised = set(problem.indices), set(range(hypergradient.num_train_batches))
    require(
        asked == promised,
        hypergradient,
        f"asked for the inner batches {sorted(asked)}, but promised {sorted(promised)}",
    )
    _check_result(hypergradient, result, outer)

    again = hypergradient(problem, weights, outer, step)
    require(same(result.gradient, again.gradient), hypergradient, "returned other numbers when called again")
    copied = pickle.loads(pickle.dumps(hypergradient))
    require(copied == hypergradient, hypergradient, "is not equal to its pickled copy")
    require(
        same(result.gradient, copied(problem, weights, outer, step).gradient),
        hypergradient,
        "differs from its pickled copy",
    )
    if hypergradient.needs_step:
        _check_missing_step_is_refused(hypergradient, problem, weights, outer)


def _check_result(hypergradient: Hypergradient, result: HypergradientResult, outer: Tensors) -> None:
    names = list(result.gradient)
    require(
        set(names) == set(outer), hypergradient, f"returned gradients of {names} for the outer variables {list(outer)}"
    )
    for name, gradient in result.gradient.items():
        require(
            gradient.shape == outer[name].shape, hypergradient, f"returned shape {tuple(gradient.shape)} for {name!r}"
        )
        require(gradient.dtype == outer[name].dtype, hypergradient, f"returned {gradient.dtype} for {name!r}")
        require(bool(gradient.isfinite().all()), hypergradient, f"returned a value that is not finite for {name!r}")
        require(not gradient.requires_grad, hypergradient, f"returned a gradient with a graph for {name!r}")
    require(not result.gradient["idle"].any(), hypergradient, "returned a gradient for a variable that is not used")
    require(
        result.val_loss.shape == () and not result.val_loss.requires_grad,
        hypergradient,
        "returned no detached scalar val_loss",
    )


def _check_missing_step_is_refused(
    hypergradient: Hypergradient, problem: BilevelProblem, weights: Tensors, outer: Tensors
) -> None:
    try:
        hypergradient(problem, weights, outer, None)
    except ValueError:
        return
    require(False, hypergradient, "needs a step, but raises no ValueError without one")


def _small_search() -> tuple["_DropoutProblem", dict[str, nn.Parameter], Tensors, torch.optim.Optimizer]:
    """A problem, its parameters, its outer variables, and an optimizer that has taken a step."""
    problem = _DropoutProblem()
    weights, outer = problem.quadratic.point()
    named = {name: nn.Parameter(weight) for name, weight in weights.items()}
    named["idle"] = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    named["frozen"] = nn.Parameter(torch.ones(2, dtype=torch.float64), requires_grad=False)
    outer["idle"] = torch.ones(2, dtype=torch.float64)
    optimizer = torch.optim.SGD(list(named.values()), lr=0.05, momentum=0.9, weight_decay=0.01)
    for name in (*weights, "idle"):
        named[name].grad = torch.full_like(named[name], 0.5)
    optimizer.step()
    return problem, named, outer, optimizer


@dataclass(frozen=True)
class _DropoutProblem:
    """A quadratic problem with dropout in both losses, which notes the inner batches that it is asked for."""

    quadratic: QuadraticProblem = field(default_factory=QuadraticProblem.random)
    indices: list[int] = field(default_factory=list)

    def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
        self.indices.append(index)
        return self.quadratic.train(_dropout(weights), outer, index)

    def val(self, weights: Tensors, outer: Tensors) -> Tensor:
        return self.quadratic.val(_dropout(weights), outer)


def _dropout(tensors: Tensors) -> Tensors:
    return {name: nn.functional.dropout(tensor, p=0.5) for name, tensor in tensors.items()}


def _snapshot(named: dict[str, nn.Parameter], outer: Tensors, optimizer: torch.optim.Optimizer) -> dict[str, object]:
    """Copies of everything that must not change, by name."""
    variables = {**named, **outer}
    return copy.deepcopy(
        {
            "weights or outer variables": {name: variable.detach() for name, variable in variables.items()},
            ".grad": {name: variable.grad for name, variable in variables.items()},
            "requires_grad": {name: variable.requires_grad for name, variable in variables.items()},
            "the optimizer": [optimizer.state_dict(), len(optimizer.state)],
            "the random state": torch.get_rng_state(),
            "the gradient mode": torch.is_grad_enabled(),
        }
    )
