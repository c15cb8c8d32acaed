"""How good a supernet is, and how decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from dnas.batch import Batch
from dnas.mixture import Mixture
from dnas.supernet import Supernet
from dnas.totals import Totals


def evaluate_supernet(
    supernet: Supernet, mixtures: Mapping[str, Mixture], batches: Iterable[Batch]
) -> dict[str, float]:
    """Mean loss of the supernet under fixed mixtures, and its accuracy where outputs are class scores.

    The model is in evaluation mode meanwhile. Where its batch norm uses batch statistics, batches should be large
    and shuffled: folder data is ordered by class.
    """
    modes = [(module, module.training) for module in supernet.model.modules()]
    supernet.model.eval()
    totals = Totals()
    weights = supernet.weights()
    try:
        with torch.no_grad():
            for batch in batches:
                loss, aux = supernet.loss(weights, mixtures, batch)
                totals.add(0, {"loss": loss}, batch.num_samples, aux.outputs, batch.targets)
    finally:
        for module, training in modes:
            module.training = training
    means = totals.means()
    return {name.removeprefix("train_"): value for name, value in means.items()}


def mean_entropy(mixtures: Mapping[str, Mixture]) -> float:
    """Mean entropy of the mixtures' rows over that of equal weights: 1 undecided, 0 decided."""
    ratios = []
    for mixture in mixtures.values():
        rows = mixture.values.double().reshape(-1, mixture.values.shape[-1])
        if rows.shape[1] > 1:
            share = rows / rows.sum(dim=1, keepdim=True)
            entropy = -torch.special.xlogy(share, share).sum(dim=1)
            ratios.append(entropy / torch.tensor(rows.shape[1], dtype=torch.float64).log())
    return float(torch.cat([ratio.cpu() for ratio in ratios]).mean()) if ratios else 0.0
