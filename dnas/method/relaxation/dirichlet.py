"""Mixtures drawn from a Dirichlet distribution whose concentration is learned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dnas.core.mixture import Mixture
from dnas.method.relaxation.base import Relaxation

# elu(alpha) + 1 goes to 0 with alpha, and if all concentrations of a row are tiny, every draw underflows. So a
# concentration never falls below this bound; there its alpha has no gradient.
SMALLEST = 1e-4


@dataclass(frozen=True)
class Dirichlet(Relaxation):
    """m ~ Dir(c) with concentration c = elu(alpha) + 1 (DrNAS, Chen et al. 2021, https://arxiv.org/abs/2006.10355).

    At alpha = 0 draws are uniform on the simplex; a larger alpha makes its candidate heavier and its row less random.
    The gradient is the pathwise one (Figurnov et al. 2018, https://arxiv.org/abs/1805.08498, and
    `torch.distributions.Dirichlet.rsample`): the implicit derivative of the marginal distribution function F_k of m_k,
    which is Beta(c_k, sum(c) - c_k), and the amount that it takes from the others,

        dm_k / dc_k = -(dF_k / dc_k) / (dF_k / dm_k) = g_k (1 - m_k),   dm_j / dc_k = g_k (delta_jk - m_j)

    Evaluation uses the mean c / sum(c). It ranks the candidates of a row as the official code does, which uses
    softmax(alpha) there; across edges the two may differ. A row with ruled-out candidates is drawn from the Dirichlet
    distribution of the others. The official code draws all and divides by the sum of the remaining ones, which is the
    same distribution with more noise in the gradient.
    """

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        c, allowed = concentration(alpha), alpha != -torch.inf
        draws = torch._standard_gamma(c.detach(), same_device(generator, alpha.device))  # type: ignore
        gamma = draws * allowed
        m = gamma / gamma.sum(dim=-1, keepdim=True)
        total = (c.detach() * allowed).sum(dim=-1, keepdim=True).expand_as(c)
        # torch divides by 1 - m_k already, and stays finite at m_k = 1. `moved` has the value 0 and carries the
        # gradient.
        g = torch._dirichlet_grad(m, c.detach(), total)  # type: ignore
        moved = g * (c - c.detach())
        return Mixture(m + moved - m * moved.sum(dim=-1, keepdim=True))

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        c = concentration(alpha) * (alpha != -torch.inf)
        return Mixture(c / c.sum(dim=-1, keepdim=True))


def concentration(alpha: Tensor) -> Tensor:
    """elu(alpha) + 1, at least `SMALLEST`."""
    return (nn.functional.elu(alpha) + 1).clamp(min=SMALLEST)


def same_device(generator: torch.Generator | None, device: torch.device) -> torch.Generator | None:
    """`generator`, or one on `device` that is seeded from it.

    The number of random values that a gamma draw needs depends on the concentration, so it is drawn on the device of
    the concentration. A seed from the host costs no synchronisation; copying the concentration to the host would.
    """
    if generator is None or generator.device == device:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return torch.Generator(device).manual_seed(seed)
