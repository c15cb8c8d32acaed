"""The mixed second derivative of the training loss times a vector, (d_m d_w L)^T v."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.method.hypergradient.autodiff import add, detached, gradients, leaves, pull_back
from dnas.method.hypergradient.base import Tensors
from dnas.method.hypergradient.precision import full_precision
from dnas.system.accepted import accept
from dnas.system.errors import UserError

Loss = Callable[[Tensors, Tensors], Tensor]


class MixedProduct(ABC):
    """How the product with the mixed second derivative is computed. Implementations are frozen dataclasses."""

    @abstractmethod
    def linearize(self, loss: Loss, weights: Tensors, outer: Tensors) -> tuple[Tensors, Callable[[Tensors], Tensors]]:
        """`d_w loss`, detached, and the function `v -> (d_m d_w loss)^T v`, which may be called once.

        Args:
            loss: pure function of weights and outer variables, shape (). It must draw the same random numbers in every
                call.
            weights: w, where to differentiate.
            outer: m, where to differentiate.
        """


@dataclass(frozen=True)
class ExactProduct(MixedProduct):
    """Double backward: v^T d_w L is differentiated once more. Exact for every loss whose operators allow it.

    It keeps the graph of the first gradient, so its memory is about that of two forward passes.
    """

    def linearize(self, loss: Loss, weights: Tensors, outer: Tensors) -> tuple[Tensors, Callable[[Tensors], Tensors]]:
        w, m = leaves(weights), leaves(outer)
        (g,) = gradients(loss(w, m), w, create_graph=True)

        def product(v: Tensors) -> Tensors:
            return pull_back([(g[name], v[name]) for name in g], m)[0]

        return detached(g), product


@dataclass(frozen=True)
class FiniteDifference(MixedProduct):
    """Central difference (DARTS, Liu et al., 2019, https://arxiv.org/abs/1806.09055, eq. 8).

        (d_m L(w+, m) - d_m L(w-, m)) / (2 eps),   w+- = w +- eps v,   eps = radius / |v|

    It takes two passes, without weight gradients and without a second backward pass. On smooth losses the error falls
    as radius squared. ReLU and max pooling have second derivative 0 almost everywhere; with them this and
    `ExactProduct` are different estimators. |v| = 0 gives 0. Both passes run in float32 or better, with autocast and
    TF32 off.

    Args:
        radius: distance in weight space between w and w+, over all weights together.
    """

    radius: float = 0.01

    def __post_init__(self) -> None:
        accept(self)
        if not self.radius > 0:
            raise UserError(f"radius is a distance between weights and must be positive, not {self.radius}.")

    def linearize(self, loss: Loss, weights: Tensors, outer: Tensors) -> tuple[Tensors, Callable[[Tensors], Tensors]]:
        _check_float32(weights)
        w = leaves(weights)
        (g,) = gradients(loss(w, detached(outer)), w)

        def product(v: Tensors) -> Tensors:
            length = torch.nn.utils.get_total_norm(v.values())
            # A vector of zeros has no direction: any eps will do, and the difference is set to 0 below.
            eps = self.radius / torch.where(length == 0, 1.0, length)
            with full_precision(weights, outer):
                plus, minus = (_outer_gradient(loss, add(weights, v, scale=sign * eps), outer) for sign in (1, -1))
                return {name: torch.where(length == 0, 0.0, (plus[name] - minus[name]) / (2 * eps)) for name in outer}

        return g, product


def _outer_gradient(loss: Loss, weights: Tensors, outer: Tensors) -> Tensors:
    m = leaves(outer)
    return gradients(loss(detached(weights), m), m)[0]


def _check_float32(weights: Tensors) -> None:
    for name, weight in weights.items():
        if torch.finfo(weight.dtype).bits < 32:
            raise UserError(
                f"A finite difference of {weight.dtype} weights is rounding noise, and {name!r} is one: keep the "
                "weights in float32 (autocast around the search step is fine), or use ExactProduct()."
            )
