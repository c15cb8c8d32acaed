"""The interface of a hypergradient: the gradient of a validation loss in the outer variables of a bilevel problem.

    min_m L_val(w*(m), m)   with   w*(m) = argmin_w L_train(w, m)

w are the weights, m the outer variables (mixing weights, architecture parameters, or whatever else is searched); both
are dictionaries of tensors by name. Nothing here depends on networks or architectures.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from dnas.system.errors import UserError

Tensors = dict[str, Tensor]
State = dict[str, Tensors]
"""State of an optimizer: weight name -> name of the quantity (such as `momentum_buffer`) -> tensor."""


class BilevelProblem(Protocol):
    """Two losses as pure functions: calling them changes no buffer and no state except that of the random generators.

    Neither opens an autocast region of its own (open it around the hypergradient: finite differences switch it off),
    and `index` names a fixed batch, so that two calls with one index differ in their arguments alone.
    """

    def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
        """L_train, a scalar of shape (), on inner batch `index` = 0, 1, ..., num_train_batches - 1."""
        ...

    def val(self, weights: Tensors, outer: Tensors) -> Tensor:
        """L_val, a scalar of shape (), with all penalties."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class InnerStep(ABC):
    """One step of the weights' optimizer as a pure, differentiable function (`functional_step` makes one).

    Args:
        state: the optimizer's state before the step.
        weight_decay: decay of every weight that the step moves; weights without an entry (frozen ones) stay as they
            are. The implicit methods read the inner objective `L_train + sum weight_decay / 2 |w|^2` from it.
        decoupled: whether the decay acts beside the gradient (AdamW), so that it belongs to no inner objective.
    """

    state: State
    weight_decay: dict[str, float]
    decoupled: bool = False

    @abstractmethod
    def __call__(self, weights: Tensors, gradients: Tensors, state: State) -> tuple[Tensors, State]:
        """`weights` and `state` after a step with `gradients`, which holds one for every name in `weight_decay`.

        Differentiable in all three. Changes no argument. Tensors have the shapes of the weights.
        """

    def moved(self, weights: Tensors) -> Tensors:
        """The weights that the step moves, in the order of `weights`."""
        missing = [name for name in self.weight_decay if name not in weights]
        if missing:
            raise UserError(
                f"The optimizer step moves the weights {missing}, which the hypergradient was not given; it was given "
                f"{list(weights)}. Use the same names of weights for functional_step() and for the hypergradient."
            )
        return {name: weight for name, weight in weights.items() if name in self.weight_decay}


@dataclass(frozen=True, eq=False)
class HypergradientResult:
    """A hypergradient and the validation loss that it is the gradient of.

    Args:
        gradient: d L_val / d outer, with the keys, shapes and dtypes of `outer`; zeros for unused variables.
        val_loss: L_val at the weights where the gradient was taken (after the virtual steps, if there are any),
            detached, shape ().
    """

    gradient: Tensors
    val_loss: Tensor


class Hypergradient(ABC):
    """An approximation of d L_val(w*(m), m) / d m. Implementations are frozen dataclasses.

    It leaves weights, outer variables, optimizer, `.grad`, random state and global flags bit-identical, and draws the
    same random numbers in all its passes over one batch.
    """

    @property
    @abstractmethod
    def num_train_batches(self) -> int:
        """Number of inner batches that the problem is asked for."""

    @property
    def needs_step(self) -> bool:
        """Whether `step` must be given."""
        return True

    @abstractmethod
    def __call__(
        self, problem: BilevelProblem, weights: Tensors, outer: Tensors, step: InnerStep | None
    ) -> HypergradientResult:
        """The hypergradient at `weights` and `outer`, which need not require a gradient and are never changed.

        Raises:
            UserError: `step` is None although it is needed, or it does not fit the weights or the method.
        """


def required(step: InnerStep | None, method: Hypergradient) -> InnerStep:
    """Return `step`, which `method` cannot do without."""
    if step is None:
        raise UserError(
            f"{type(method).__name__} needs the weights' optimizer step, but step is None: give "
            "step=functional_step(optimizer, dict(model.named_parameters())), or use FirstOrder(), which needs none."
        )
    return step
