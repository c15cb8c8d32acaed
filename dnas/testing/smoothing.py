"""The contract of every smoothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from dnas.core.mixture import Mixture
from dnas.method.smoothing import Smoothing
from dnas.testing.require import copies, require, same, unchanged


def check_smoothing(smoothing: Smoothing, device: torch.device | str = "cpu") -> None:
    """Check the contract of every smoothing, on soft, hard and pruned mixtures, gates and edges, in two precisions.

    - It returns the same decisions with the same `active`, and values of the same shape, dtype and device that are
    finite,
      in [0, 1], without graph, 0 outside `active`, and in rows that sum to 1 if they did before.
    - It gives the same numbers from a generator of the same seed, with the gradient mode on or off, and after copying.
    - Mixtures, weights, `.grad`, gradient mode and global random state stay bit-identical.

    Args:
        smoothing: the part to check.
        device: device of the mixtures and weights; the generator is on the host.

    Raises:
        AssertionError: names the first point that does not hold.

    Example:
        >>> from dnas import RandomSmoothing
        >>> check_smoothing(RandomSmoothing())
    """
    for dtype in (torch.float32, torch.float64):
        mixtures = _mixtures(dtype, device)
        weights = nn.Parameter(torch.linspace(-1.0, 1.0, 6, dtype=dtype, device=device))
        for progress in (0.0, 1.0):
            for seed in range(5):
                _check_at(smoothing, mixtures, weights, torch.tensor(progress), seed)


def _mixtures(dtype: torch.dtype, device: torch.device | str) -> dict[str, Mixture]:
    def tensor(*values: object) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    return {
        "act": Mixture(tensor(0.2, 0.5, 0.3)),
        "normal": Mixture(tensor((0.98, 0.01, 0.01), (0.3, 0.3, 0.4))),
        "normal.edges": Mixture(tensor(0.4, 0.6).requires_grad_()),
        "pruned": Mixture(tensor((0.5, 0.0, 0.5), (0.0, 1.0, 0.0)), ((0, 2), (1,))),
        "hard": Mixture(tensor((0.0, 0.0, 1.0)), ((2,),)),
        "gates": Mixture(tensor(0.9, 0.05, 0.7)),
    }


def _check_at(
    smoothing: Smoothing, mixtures: Mapping[str, Mixture], weights: nn.Parameter, progress: Tensor, seed: int
) -> None:
    def train_loss(given: Mapping[str, Mixture]) -> Tensor:
        require(given.keys() == mixtures.keys(), smoothing, f"asks for the loss of the mixtures {list(given)}")
        terms = [(weights[: m.values.shape[-1]] * m.values + m.values.square()).sum() for m in given.values()]
        return torch.stack(terms).sum()

    def smoothed(part: object = smoothing) -> dict[str, Mixture]:
        generator = torch.Generator().manual_seed(seed)
        return cast(Smoothing, part)(mixtures, train_loss, progress, generator)

    inputs: dict[str, Tensor] = {f"mixture {name}": mixture.values for name, mixture in mixtures.items()}
    with unchanged(smoothing, inputs | {"weights": weights, "progress": progress}):
        found = smoothed()
    require(found.keys() == mixtures.keys(), smoothing, f"gives the mixtures {list(found)} for {list(mixtures)}")
    for name, mixture in mixtures.items():
        _check_mixture(smoothing, found[name], mixture, name)
    require(_same(found, smoothed()), smoothing, "gives other numbers with a generator of the same seed")
    with torch.no_grad():
        require(_same(found, smoothed()), smoothing, "gives other numbers when the gradient mode is off")
    for kind, copied in copies(smoothing).items():
        require(_same(found, smoothed(copied)), smoothing, f"differs from its {kind} copy")


def _check_mixture(smoothing: Smoothing, found: Mixture, before: Mixture, name: str) -> None:
    values, old = found.values, before.values.detach()
    require(values.shape == old.shape, smoothing, f"gives shape {tuple(values.shape)} for {name!r}")
    require(values.dtype == old.dtype, smoothing, f"gives {values.dtype} for {name!r} in {old.dtype}")
    require(values.device == old.device, smoothing, f"gives {name!r} on {values.device}, it was on {old.device}")
    require(found.active == before.active, smoothing, f"changed what is active in {name!r}")
    require(not values.requires_grad, smoothing, f"keeps a graph in {name!r}")
    require(bool(values.isfinite().all()), smoothing, f"gives a value that is not finite in {name!r}")
    # A row that was divided by its sum may end a few units in the last place above 1.
    slack = 20 * torch.finfo(values.dtype).eps
    require(bool(((values >= 0) & (values <= 1 + slack)).all()), smoothing, f"gives values outside [0, 1] in {name!r}")
    for row in range(values.numel() // values.shape[-1]):
        now, then = (tensor.reshape(-1, tensor.shape[-1])[row] for tensor in (values, old))
        others = [k for k in range(len(now)) if k not in before.row(row)]
        require(not now[others].any(), smoothing, f"gives weight to a candidate of {name!r} that is not active")
        keeps = abs(float(then.sum()) - 1) > slack or abs(float(now.sum()) - 1) <= slack
        require(keeps, smoothing, f"gives a row of {name!r} that does not sum to 1 any more")


def _same(a: Mapping[str, Mixture], b: Mapping[str, Mixture]) -> bool:
    return same({name: m.values for name, m in a.items()}, {name: m.values for name, m in b.items()})
