"""What short trainings so far say about architectures that were not trained: a Gaussian process over decisions.

It knows nothing of what candidates are: architectures are alike if they settle many places in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Lengths and noises that are tried; those under which the results are most likely are taken.
LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
NOISES = (0.05, 0.15, 0.4, 1.0)
# Deviations by which what is uncertain counts as better than expected.
OPTIMISM = 0.5


class _Fit(NamedTuple):
    """The process under one length and one noise: log likelihood, A = K + noise I, A^-1 y, scale of the variance."""

    likelihood: float
    length: float
    factor: Tensor
    solved: Tensor
    scale: Tensor


class Guide:
    """A Gaussian process on ranks (Rasmussen and Williams 2006, chapter 2, http://gaussianprocess.org/gpml).

    The covariance of two architectures is k(a, b) = s^2 exp(-d(a, b) / length), with d the share of places that they
    settle differently; of one with itself it has the noise of a training besides, noise s^2. Results are replaced by
    the normal quantiles of their ranks, so units and outliers do not matter. Length and noise are those of a small grid
    with the largest marginal likelihood, for the s^2 that is best for them.

    Args:
        settled: `(architectures, places)` whole numbers, the best architecture first: how each place is settled
            (`Neighbourhood.settled`).
    """

    def __init__(self, settled: Sequence[Sequence[int]]) -> None:
        self._settled = torch.tensor(settled)
        number = len(self._settled)
        ranks = torch.arange(number, dtype=torch.float64)
        scores = -torch.special.ndtri((ranks + 0.5) / number)
        self._targets = scores / scores.square().mean().sqrt().clamp_min(1e-12)
        self._fit = max((self._fitted(length, noise) for length in LENGTHS for noise in NOISES), key=lambda fit: fit[0])

    def _fitted(self, length: float, noise: float) -> _Fit:
        # log p(y) = -n/2 log s^2 - 1/2 log |A| + constant,  s^2 = y^T A^-1 y / n
        number, y = len(self._settled), self._targets
        a = self._covariance(self._settled, length) + noise * torch.eye(number, dtype=torch.float64)
        factor = torch.linalg.cholesky(a)
        solved = torch.cholesky_solve(y[:, None], factor)[:, 0]
        scale = (y @ solved / number).clamp_min(1e-12)
        likelihood = -0.5 * number * scale.log() - factor.diagonal().log().sum()
        return _Fit(float(likelihood), length, factor, solved, scale)

    def _covariance(self, others: Tensor, length: float) -> Tensor:
        differ = (others[:, None, :] != self._settled[None]).double().mean(2)
        return torch.exp(-differ / length)

    def expected(self, settled: Sequence[Sequence[int]]) -> Tensor:
        """`(architectures,)`: expected results of architectures in deviations; larger is better."""
        return self._covariance(torch.tensor(settled), self._fit.length) @ self._fit.solved

    def promise(self, settled: Sequence[Sequence[int]]) -> Tensor:
        """`(architectures,)`: upper confidence bounds (Srinivas et al. 2010, https://arxiv.org/abs/0912.3995).

        mean + OPTIMISM deviation, with the variance s^2 (1 - k^T A^-1 k) of what is not noise.
        """
        k = self._covariance(torch.tensor(settled), self._fit.length)
        variance = 1 - (k * torch.cholesky_solve(k.T, self._fit.factor).T).sum(1)
        return k @ self._fit.solved + OPTIMISM * (self._fit.scale * variance.clamp_min(0)).sqrt()
