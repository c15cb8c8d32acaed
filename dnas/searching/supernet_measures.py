"""How good a supernet is, and how decided its mixtures are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from dnas.core.batch import Batch
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.distributed.ranks import ranks
from dnas.searching.supernet import Supernet
from dnas.searching.totals import Totals
from dnas.task.base import Task
from dnas.task.classification import Classification
from dnas.task.measurement import Tally


def evaluate_supernet(
    supernet: Supernet, mixtures: Mapping[str, Mixture], batches: Iterable[Batch]
) -> dict[str, float]:
    """Mean loss of the supernet under fixed mixtures, and every metric of its task.

    Without a task, or with a classification, `accuracy` is the share of right first guesses, if outputs are class
    scores. The model is in evaluation mode meanwhile. If its batch norm uses batch statistics, batches should be
    large and shuffled, since folder data are ordered by class. Of several ranks each evaluates its rows.
    """
    modes = [(module, module.training) for module in supernet.model.modules()]
    supernet.model.eval()
    totals, weights = Totals(), supernet.weights()
    tally = None if supernet.task is None else Tally(supernet.task, intervals=False)
    try:
        with torch.no_grad():
            for batch in batches:
                loss, aux = supernet.loss(weights, mixtures, batch)
                if tally is None:
                    totals.add(0, {"loss": loss}, batch.num_samples, aux.outputs, batch.targets)
                else:
                    tally.add(ranks().rows(aux.outputs), ranks().rows(batch.targets))
    finally:
        for module, training in modes:
            module.training = training
    if tally is None:
        return {name.removeprefix("train_"): value for name, value in totals.means().items()}
    found = tally.measurement()
    accuracy = {"accuracy": found.values["top1"].value} if isinstance(supernet.task, Classification) else {}
    return {"loss": found.loss, **accuracy, **{name: value.value for name, value in found.values.items()}}


def goodness(measured: Mapping[str, float], task: Task | None) -> float:
    """How good a supernet is, larger is better: its deciding metric, or minus the loss.

    Args:
        measured: what `evaluate_supernet` gave.
        task: task of the supernet; None to judge it by its accuracy, if it has one.
    """
    if task is None:
        return measured.get("accuracy", -measured["loss"])
    name, metric = next(iter(task.metrics().items()), (None, None))
    if name is None or metric is None:
        return -measured["loss"]
    return measured[name] if metric.better == "higher" else -measured[name]


def mean_entropy(decisions: Mapping[str, Decision], mixtures: Mapping[str, Mixture], *, gates: bool) -> float:
    """Mean entropy of the mixtures over their rows: 1 is undecided, 0 decided.

    For a row of weights p that compete it is -sum_k p_k log p_k / log n, where n candidates are left to choose from,
    and 0 if one or none is left; the edges that enter a node are such a row. For a row of gates g, each in [0, 1], it
    is the mean of -(g log g + (1 - g) log(1 - g)) / log 2 over the gates that are left. Rows that never had a choice do
    not count.

    Args:
        decisions: the decisions of the supernet.
        mixtures: the relaxation's expected mixtures.
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
    """Entropy of the weights' shares, divided by that of equal shares."""
    if len(weights_K) < 2:
        return weights_K.new_zeros(())
    share_K = weights_K / weights_K.sum()
    return -torch.special.xlogy(share_K, share_K).sum() / math.log(len(weights_K))


def _open_gates(gates_K: Tensor) -> Tensor:
    """Mean binary entropy of the gates, divided by that of a half."""
    if len(gates_K) == 0:
        return gates_K.new_zeros(())
    terms_K = torch.special.xlogy(gates_K, gates_K) + torch.special.xlogy(1 - gates_K, 1 - gates_K)
    return -terms_K.mean() / math.log(2)
