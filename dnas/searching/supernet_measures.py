"""How good a supernet is, and how decided."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from dnas.core.batch import Batch
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.searching.supernet import Supernet
from dnas.searching.totals import Totals


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


def mean_entropy(decisions: Mapping[str, Decision], mixtures: Mapping[str, Mixture], *, gates: bool) -> float:
    """How undecided the mixtures are, in the mean over their rows: 1 undecided, 0 decided.

    Of a row of weights p that compete, -sum_k p_k log p_k / log n, where n candidates are left to choose from; 0 where
    one or none is left. The edges that enter a node are such a row. Of a row of gates g, each in [0, 1] for itself, the
    mean of -(g log g + (1 - g) log(1 - g)) / log 2 over those that are left. Rows that never had a choice do not count.

    Args:
        decisions: of the supernet.
        mixtures: the relaxation's expected ones.
        gates: whether candidates are gates (`Relaxation.gates`); edges always compete.
    """
    found: list[Tensor] = []
    for name, mixture in mixtures.items():
        decision, values = decisions[name], mixture.values.detach().cpu().double()
        if decision.kind == "edges":
            rows = [values[list(decision.incoming(node))] for node in decision.nodes]
        else:
            rows = list(values.reshape(decision.num_rows, -1))
        for index, row in enumerate(rows):
            left = row if decision.kind == "edges" else row[list(mixture.row(index))]
            if len(row) > 1:
                found.append(_open_gates(left) if gates and decision.kind != "edges" else _disorder(left))
    return float(torch.stack(found).mean()) if found else 0.0


def _disorder(weights_K: Tensor) -> Tensor:
    """Entropy of the weights' shares over that of equal ones."""
    if len(weights_K) < 2:
        return weights_K.new_zeros(())
    share_K = weights_K / weights_K.sum()
    return -torch.special.xlogy(share_K, share_K).sum() / math.log(len(weights_K))


def _open_gates(gates_K: Tensor) -> Tensor:
    """Mean binary entropy over that of a half."""
    if len(gates_K) == 0:
        return gates_K.new_zeros(())
    terms_K = torch.special.xlogy(gates_K, gates_K) + torch.special.xlogy(1 - gates_K, 1 - gates_K)
    return -terms_K.mean() / math.log(2)
