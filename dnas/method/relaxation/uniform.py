"""One candidate at a time, each as often as any other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.method.relaxation.base import Relaxation
from dnas.method.relaxation.gumbel import gumbel_like


@dataclass(frozen=True)
class UniformPath(Relaxation):
    """m = onehot(k) with k uniform over the candidates of a row that are not ruled out.

    It trains the weights of a supernet for a later selection among its networks: single-path one-shot (Guo et al.
    2020, https://arxiv.org/abs/1904.00420) and random search with weight sharing (Li and Talwalkar 2019,
    https://arxiv.org/abs/1902.07638). Alphas take no part: their gradient is 0, and a discretization that reads the
    mixture learns nothing from it. Only the drawn candidate is computed; its index is read on the host.
    """

    trains_alphas = False

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        noise = gumbel_like(alpha, generator).masked_fill(alpha == -torch.inf, -torch.inf)
        index = noise.argmax(dim=-1, keepdim=True)
        one_hot = torch.zeros_like(noise).scatter(-1, index, 1.0)
        active = tuple((k,) for k in index.flatten().tolist())
        return Mixture(one_hot + nothing(alpha), active)

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        """1 / n at each of the n candidates that are not ruled out."""
        allowed = (alpha != -torch.inf).to(alpha.dtype)
        return Mixture(allowed / allowed.sum(dim=-1, keepdim=True) + nothing(alpha))


def nothing(alpha: Tensor) -> Tensor:
    """Zeros that keep alpha in the graph, with gradient 0."""
    return 0.0 * alpha.masked_fill(alpha == -torch.inf, 0.0)
