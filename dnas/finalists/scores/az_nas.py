"""AZ-NAS: four scores of a network's blocks, which are combined by ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.cost import count_flops
from dnas.finalists.scores.score import Score
from dnas.training.evaluate import call, evaluation_mode

_EPS_SPECTRUM, _EPS_NORM = 1e-8, 1e-6  # of the official code


class AzNas(Score):
    """Expressivity, progressivity, trainability and complexity (Lee and Ham 2024, https://arxiv.org/abs/2403.19232).

    With X_l the features after block l, one row for each sample and position, and p the eigenvalues of their
    covariance, divided by their sum:

        s_l = -sum p log p,    expressivity = sum_l s_l,    progressivity = min_l (s_l - s_{l - 1})
        trainability = mean_l (2 - n_l - 1 / n_l),    n_l = |G_{l - 1}^T G_l / rows|_2

    where G_l is random, +1 or -1, in place of the gradient of X_l, and G_{l - 1} what it gives at X_{l - 1}; where the
    resolution falls, pixels become channels. Complexity is FLOPs. Constants and the -infinity for a block that passes
    on its gradient unchanged are those of the official code (https://github.com/cvlab-yonsei/AZ-NAS). Blocks are the
    parts of the network's outermost list of modules, the longest of several. Batch norm uses the batch's statistics.
    """

    def __call__(self, network: nn.Module, inputs: Any, generator: torch.Generator) -> tuple[float, ...]:
        with evaluation_mode(network), torch.no_grad():
            flops = count_flops(network, inputs)
        with torch.enable_grad(), _features(network.train()) as features:
            call(network, inputs)
        entropies = [_entropy(feature.detach()) for feature in features]
        steps = [after - before for before, after in pairwise(entropies)]
        trained = [_trainability(before, after, generator) for before, after in pairwise(features)]
        mean = sum(trained) / len(trained) if trained else 0.0
        return (sum(entropies), min(steps, default=0.0), mean, float(flops))


@contextmanager
def _features(network: nn.Module) -> Iterator[list[Tensor]]:
    """Within the block, the outputs of the network's blocks are collected."""
    lists = [(name, one) for name, one in network.named_modules() if isinstance(one, nn.ModuleList | nn.Sequential)]
    _, blocks = min(
        lists, key=lambda found: (found[0].count("."), bool(found[0]), -len(found[1])), default=("", network)
    )
    found: list[Tensor] = []

    def keep(module: nn.Module, arguments: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            found.append(output)

    handles = [block.register_forward_hook(keep) for block in blocks.children()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _rows(x: Tensor) -> Tensor:
    """`(batch, channels, height, width)` as `(batch * height * width, channels)`; others by their last dimension."""
    return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).reshape(-1, x.shape[1 if x.ndim == 4 else -1])


def _entropy(feature: Tensor) -> float:
    """The entropy of the spectrum of the features' covariance, in nats."""
    rows = _rows(feature).double()
    rows = rows - rows.mean(0, keepdim=True)
    spectrum = torch.linalg.eigvalsh(rows.T @ rows / len(rows)).clamp(min=0)
    if float(spectrum.sum()) == 0:
        return 0.0
    p = spectrum / spectrum.sum()
    return float(-(p * torch.log(p + _EPS_SPECTRUM)).sum())


def _trainability(before: Tensor, after: Tensor, generator: torch.Generator) -> float:
    out = torch.randint(2, after.shape, generator=generator).to(after) * 2 - 1
    (given,) = torch.autograd.grad(after, before, out, retain_graph=True, allow_unused=True)
    given = torch.zeros_like(before) if given is None else given
    if given.shape == out.shape and torch.equal(given, out):
        return -torch.inf
    if given.ndim == 4 and given.shape[2:] != out.shape[2:]:
        given = F.pixel_unshuffle(given, given.shape[2] // out.shape[2])
    mixed = _rows(given).double().T @ _rows(out).double() / len(_rows(out))
    norm = float(torch.linalg.matrix_norm(mixed, 2))
    return -norm - 1 / (norm + _EPS_NORM) + 2
