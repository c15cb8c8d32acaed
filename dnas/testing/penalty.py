"""The contract of every penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.method.penalty import Penalty
from dnas.testing.require import copies, require, same, unchanged

# A choice, a cell, and the edges of that cell.
SHAPES = {"act": (3,), "normal": (2, 3), "normal.edges": (2,)}


def check_penalty(
    penalty: Penalty, shapes: Mapping[str, tuple[int, ...]] = SHAPES, device: torch.device | str = "cpu"
) -> None:
    """Check the contract of every penalty, with soft and one-hot mixtures, in two precisions.

    - It returns a finite scalar of the loss's dtype and device that depends on the loss, with finite gradients in loss,
      alphas and mixtures.
    - It gives the same number when called again, on detached arguments, and after copying.
    - Arguments, `.grad`, gradient mode and random state stay bit-identical.

    Args:
        penalty: the part to check.
        shapes: shapes of the decisions' alphas, for penalties that are made for certain decisions.
        device: device of loss, alphas and mixtures.

    Raises:
        AssertionError: names the first point that does not hold.

    Example:
        >>> from dnas import BetaDecay, ExpectedCost
        >>> check_penalty(BetaDecay())
        >>> check_penalty(ExpectedCost({"act": [1.0, 2.0]}, target=1.5), {"act": (2,)})
    """
    for dtype in (torch.float32, torch.float64):
        generator = torch.Generator().manual_seed(0)
        loss = torch.tensor(1.7, dtype=dtype, device=device).requires_grad_()
        alphas = {
            name: torch.randn(shape, generator=generator, dtype=dtype).to(device).requires_grad_()
            for name, shape in shapes.items()
        }
        for mixtures in (_soft(alphas), _one_hot(alphas)):
            for progress in (0.0, 0.5, 1.0):
                _check_at(penalty, loss, alphas, mixtures, torch.tensor(progress))


def _soft(alphas: Mapping[str, Tensor]) -> dict[str, Mixture]:
    return {name: Mixture(alpha.detach().softmax(-1).requires_grad_()) for name, alpha in alphas.items()}


def _one_hot(alphas: Mapping[str, Tensor]) -> dict[str, Mixture]:
    """One-hot mixtures, as hard samples give."""
    found = {}
    for name, alpha in alphas.items():
        index = alpha.detach().argmax(-1, keepdim=True)
        values = torch.zeros_like(alpha).detach().scatter(-1, index, 1.0).requires_grad_()
        found[name] = Mixture(values, tuple((k,) for k in index.flatten().tolist()))
    return found


def _check_at(
    penalty: Penalty,
    loss: Tensor,
    alphas: Mapping[str, Tensor],
    mixtures: Mapping[str, Mixture],
    progress: Tensor,
) -> None:
    inputs = {"loss": loss, "progress": progress}
    inputs |= {f"alphas {name}": alpha for name, alpha in alphas.items()}
    inputs |= {f"mixture {name}": mixture.values for name, mixture in mixtures.items()}
    with unchanged(penalty, inputs):
        result, again = (penalty(loss, alphas, mixtures, progress) for _ in range(2))
    require(result.shape == (), penalty, f"gives shape {tuple(result.shape)}, not a scalar")
    require(result.dtype == loss.dtype, penalty, f"gives {result.dtype} for a loss in {loss.dtype}")
    require(result.device == loss.device, penalty, f"gives a result on {result.device} for a loss on {loss.device}")
    require(bool(result.isfinite()), penalty, "gives a value that is not finite")
    require(same(result, again), penalty, "gives another number when called again")
    require(result.requires_grad, penalty, "gives a value without a graph")
    variables = {what: tensor for what, tensor in inputs.items() if what != "progress"}
    found = torch.autograd.grad(result, list(variables.values()), allow_unused=True, materialize_grads=True)
    gradients = dict(zip(variables, found, strict=True))
    require(bool(gradients["loss"]), penalty, "drops the loss")
    for what, gradient in gradients.items():
        require(bool(gradient.isfinite().all()), penalty, f"has a gradient in {what} that is not finite")
    detached = (
        loss.detach(),
        {name: alpha.detach() for name, alpha in alphas.items()},
        {name: mixture.with_values(mixture.values.detach()) for name, mixture in mixtures.items()},
        progress,
    )
    require(same(result.detach(), penalty(*detached)), penalty, "gives another number on detached arguments")
    for kind, copied in copies(penalty).items():
        found = cast(Penalty, copied)(*detached)
        require(same(result.detach(), found), penalty, f"differs from its {kind} copy")
