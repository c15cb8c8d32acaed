"""Hard random candidates with a gradient of second order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.core.schedule import Constant, Schedule
from dnas.method.relaxation.base import Relaxation
from dnas.method.relaxation.gumbel import gumbel_like
from dnas.system.accepted import accept
from dnas.system.errors import UserError


@dataclass(frozen=True)
class ReinMax(Relaxation):
    """m = D, one-hot and drawn from p = softmax(alpha) (ReinMax, Liu et al. 2023, https://arxiv.org/abs/2304.08612).

    With J(q) = diag(q) - q q^T, the Jacobian of a softmax of value q, and g the gradient of the loss at D,

        d alpha = (2 J(q) - 1/2 J(p)) g,   q = (softmax(alpha / T) + D) / 2

    which is Heun's rule where the straight-through gradient, J(p) g, is Euler's: at T = 1 its mean over the draws is
    the exact gradient of E[loss] for any loss that is quadratic in D. Formula from the official code; the mean that
    it subtracts from the result is 0 except for rounding.

    The formula needs g in all entries, but the loss has one only at candidates that are computed (docs/design.md, item
    4); with the drawn candidate alone it would be as blind as GDAS. So if a gradient is wanted all candidates are
    computed, at the price of a soft relaxation. The weight step wants none, so there only the drawn candidate is
    computed, and its index is read on the host.

    Args:
        temperature: T over the progress of the search, at least 1.

    Raises:
        UserError: the temperature is below 1 at the start or at the end.
    """

    temperature: Schedule = Constant(1.0)

    def __post_init__(self) -> None:
        accept(self)
        ends = [float(self.temperature(torch.tensor(progress))) for progress in (0.0, 1.0)]
        if not min(ends) >= 1:
            raise UserError(
                f"ReinMax needs a temperature of at least 1, where it is exact; got {ends[0]:g} at the start and "
                f"{ends[1]:g} at the end. Low temperatures are for GumbelSoftmax."
            )

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        log_p = alpha.detach().log_softmax(dim=-1)
        index = (log_p + gumbel_like(log_p, generator)).argmax(dim=-1, keepdim=True)
        D = torch.zeros_like(log_p).scatter(-1, index, 1.0)
        if not (alpha.requires_grad and torch.is_grad_enabled()):
            return Mixture(D, tuple((k,) for k in index.flatten().tolist()))
        p = log_p.exp()
        q = ((alpha.detach() / self.temperature(progress)).softmax(dim=-1) + D) / 2
        # Its value is 0, its gradient the identity; a ruled-out alpha is left out, since -inf - (-inf) is not a number.
        zero = alpha.masked_fill(alpha == -torch.inf, 0.0)
        zero = zero - zero.detach()
        return Mixture(D + 2 * softmax_jacobian(q, zero) - softmax_jacobian(p, zero) / 2)

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        """softmax(alpha): the probability with which each candidate is drawn."""
        return Mixture(alpha.softmax(dim=-1))


def softmax_jacobian(q: Tensor, vector: Tensor) -> Tensor:
    """(diag(q) - q q^T) vector, in each row."""
    return q * (vector - (q * vector).sum(dim=-1, keepdim=True))
