"""The contract of every relaxation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.method.relaxation import Relaxation
from dnas.testing.require import copies, require, same, unchanged

NONE = -torch.inf  # the alpha of a candidate that is ruled out
ALPHAS = (
    (0.3, -1.2, 0.5),
    ((0.3, -1.2, 0.5), (2.0, 0.0, -0.4)),
    ((0.3, NONE, 0.5), (NONE, NONE, -0.4)),
    ((30.0, -30.0, 0.0), (-30.0, -30.0, -30.0)),
)


def check_relaxation(relaxation: Relaxation, device: torch.device | str = "cpu") -> None:
    """Check the contract of every relaxation, with ordinary, extreme and ruled-out alphas in two precisions.

    - Values have alpha's shape, dtype and device, are finite and at least 0, and are 0 outside `active` and at
    ruled-out
      candidates.
    - Rows of the expected mixture sum to 1, and then those of samples do too; or they are gates of at most 1.
    - A sample has a graph to alpha, with a finite gradient that is 0 at ruled-out candidates.
    - It gives the same numbers from a generator of the same seed, when called again, without gradient, and after
    copying;
      the expected mixture draws no random numbers.
    - Alpha, `.grad`, gradient mode and global random state stay bit-identical.

    Args:
        relaxation: the part to check.
        device: device of the alphas; the generator is on the host.

    Raises:
        AssertionError: names the first point that does not hold.

    Example:
        >>> from dnas import Softmax
        >>> check_relaxation(Softmax())
    """
    for alpha in _alphas(device):
        for progress in (0.0, 0.5, 1.0):
            _check_at(relaxation, alpha, torch.tensor(progress))
    _check_global_random_numbers(relaxation)


def _alphas(device: torch.device | str) -> Iterator[Tensor]:
    for dtype in (torch.float32, torch.float64):
        for alpha in ALPHAS:
            yield torch.tensor(alpha, dtype=dtype, device=device).requires_grad_()


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _check_at(relaxation: Relaxation, alpha: Tensor, progress: Tensor) -> None:
    with unchanged(relaxation, {"alpha": alpha, "progress": progress}):
        expected, again = (relaxation.expected(alpha, progress) for _ in range(2))
        samples = [relaxation.sample(alpha, progress, _seeded(seed)) for seed in range(5)]
    require(same(expected.values, again.values), relaxation, "gives two different expected mixtures")
    _check_mixture(relaxation, expected, alpha)
    if relaxation.gates:
        require(bool((expected.values <= 1).all()), relaxation, "has gates, and gives one above 1")
    else:
        require(_sums_to_1(expected), relaxation, "has no gates, but gives expected rows that do not sum to 1")
    if expected.values.requires_grad:
        _check_gradient(relaxation, expected, alpha)
    for seed, sample in enumerate(samples):
        _check_mixture(relaxation, sample, alpha)
        require(sample.values.requires_grad, relaxation, "gives a sample that has no graph to alpha")
        _check_gradient(relaxation, sample, alpha)
        if _sums_to_1(expected):
            require(_sums_to_1(sample), relaxation, "gives rows that sum to 1 in the mean but not in a sample")
        _check_repeats(relaxation, sample, alpha, progress, seed)


def _check_mixture(relaxation: Relaxation, mixture: Mixture, alpha: Tensor) -> None:
    values, ruled_out = mixture.values.detach(), alpha.detach() == NONE
    require(values.shape == alpha.shape, relaxation, f"gives shape {tuple(values.shape)} for {tuple(alpha.shape)}")
    require(values.dtype == alpha.dtype, relaxation, f"gives {values.dtype} for {alpha.dtype}")
    require(values.device == alpha.device, relaxation, f"gives values on {values.device} for alphas on {alpha.device}")
    require(bool(values.isfinite().all()), relaxation, "gives a value that is not finite")
    require(bool((values >= 0).all()), relaxation, "gives a negative value")
    require(not values[ruled_out].any(), relaxation, "gives weight to a candidate that is ruled out")
    if mixture.active is None:
        return
    rows = values.reshape(-1, values.shape[-1])
    require(len(mixture.active) == len(rows), relaxation, f"names active candidates of {len(mixture.active)} rows")
    for row, active, out in zip(rows, mixture.active, ruled_out.reshape(rows.shape), strict=True):
        fits = len(active) > 0 and set(active) <= set(range(len(row)))
        require(fits, relaxation, f"names the active candidates {active} of {len(row)}")
        require(not out[list(active)].any(), relaxation, "names a ruled-out candidate as active")
        others = [k for k in range(len(row)) if k not in active]
        require(not row[others].any(), relaxation, "gives weight to a candidate that is not active")


def _check_gradient(relaxation: Relaxation, mixture: Mixture, alpha: Tensor) -> None:
    slopes = torch.arange(1, 1 + alpha.numel(), dtype=alpha.dtype, device=alpha.device).reshape(alpha.shape)
    (gradient,) = torch.autograd.grad((slopes * mixture.values).sum(), alpha)
    require(bool(gradient.isfinite().all()), relaxation, "has a gradient that is not finite")
    require(not gradient[alpha == NONE].any(), relaxation, "has a gradient at a candidate that is ruled out")


def _sums_to_1(mixture: Mixture) -> bool:
    sums = mixture.values.detach().sum(dim=-1)
    # For three numbers, each with an error of a few units in the last place.
    return bool(((sums - 1).abs() < 20 * torch.finfo(sums.dtype).eps).all())


def _check_repeats(relaxation: Relaxation, sample: Mixture, alpha: Tensor, progress: Tensor, seed: int) -> None:
    again = relaxation.sample(alpha, progress, _seeded(seed))
    require(_same(sample, again), relaxation, "draws other numbers from a generator of the same seed")
    with torch.no_grad():
        without = relaxation.sample(alpha, progress, _seeded(seed))
    require(not without.values.requires_grad, relaxation, "keeps a graph where none is wanted")
    require(same(sample.values.detach(), without.values), relaxation, "draws other numbers without a gradient")
    for kind, copied in copies(relaxation).items():
        found = cast(Relaxation, copied).sample(alpha, progress, _seeded(seed))
        require(_same(sample, found), relaxation, f"differs from its {kind} copy")


def _same(a: Mixture, b: Mixture) -> bool:
    return same(a.values.detach(), b.values.detach()) and a.active == b.active


def _check_global_random_numbers(relaxation: Relaxation) -> None:
    """Without a generator it draws from the global one, and from nothing else."""
    alpha, progress = torch.tensor(ALPHAS[1], requires_grad=True), torch.tensor(0.5)
    samples = []
    with torch.random.fork_rng():
        for _ in range(2):
            torch.manual_seed(0)
            samples.append(relaxation.sample(alpha, progress, None))
    require(_same(*samples), relaxation, "does not repeat with the global seed where no generator is given")
