"""How decided a search was at its end: by rules that were measured (`benchmarks/decided.py`, docs/choose.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from torch import Tensor

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.cost.layout import items_of

# A search is decided if at least this share of its choices stayed the same over its last quarter ...
STABLE = 0.9
# ... and the strongest candidate of a row weighs this many times the second, in the median of the rows.
LEAD = 1.5
# Two searches that differ by their seed alone agree if this share of their choices is the same.
AGREEING = 0.5


@dataclass(frozen=True)
class Decidedness:
    """How decided a search was at its end.

    Neither number is enough alone: alphas that hardly move keep their order, and mixtures far from equal weights may
    still change places.

    Args:
        epochs: number of epochs in the last quarter of those in which alphas moved, the last one not counted.
        stability: mean share of the final choices that the architecture after each of these epochs had, 0 to 1.
        lead: how many times the second candidate of a row the strongest one weighs, the median of the rows; of gates,
            how many times its complement a gate weighs, the larger by the smaller.
    """

    epochs: int
    stability: float
    lead: float

    @property
    def is_decided(self) -> bool:
        """Whether both numbers reach their thresholds."""
        return self.epochs > 0 and self.stability >= STABLE and self.lead >= LEAD

    def to_data(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "is_decided": self.is_decided}

    def __str__(self) -> str:
        if not self.epochs:
            return "How decided: the alphas moved in too few epochs to tell. Not decided."
        said = (
            f"How decided: over the last quarter of the search {self.stability:.0%} of the choices stayed as they are, "
            f"and the strongest candidate weighs {self.lead:.2f} times the second (median)."
        )
        if self.is_decided:
            return f"{said} The search is decided."
        why = "the order still changes" if self.lead >= LEAD else "the candidates are nearly equal"
        return (
            f"{said} It is not decided: {why}, so another seed may find another network. Give the search more time "
            "or a larger --search.alphas.lr, or let `dnas baseline` choose among it and random networks."
        )


def agreement(one: Mapping[str, Kept], other: Mapping[str, Kept], decisions: Mapping[str, Decision]) -> float:
    """The share of equal choices in two architectures of the same decisions, 0 to 1.

    Example:
        >>> decisions = {name: Decision(name, "choice", ("a", "b")) for name in ("first", "second")}
        >>> agreement({"first": "a", "second": "b"}, {"first": "a", "second": "a"}, decisions)
        0.5
    """
    first, second = (set(items_of(kept, decisions)) for kept in (one, other))
    return len(first & second) / max(len(first), len(second), 1)


def is_open(decision: Decision, *, gates: bool) -> bool:
    """Whether a decision leaves a choice.

    Example:
        >>> is_open(Decision("act", "choice", ("relu",)), gates=False)
        False
    """
    if decision.kind == "inputs":
        return len(decision.candidates) > (decision.num_kept or 0)
    left = [len(set(decision.names(row)) - set(decision.excluded)) for row in range(decision.num_rows)]
    most = math.inf if decision.num_kept is None else decision.num_kept
    return gates or max(left) > 1 or any(len(decision.incoming(node)) > most for node in decision.nodes)


def decidedness(
    final: Mapping[str, Kept],
    before: Sequence[Mapping[str, Kept]],
    mixtures: Mapping[str, Mixture],
    decisions: Mapping[str, Decision],
    *,
    gates: bool,
) -> Decidedness:
    """How decided a search is.

    Args:
        final: what is kept.
        before: what would have been kept after the earlier epochs of the last quarter.
        mixtures: the final expected mixtures.
        decisions: the decisions by name.
        gates: whether candidates are gates.
    """
    shares = [agreement(kept, final, decisions) for kept in before]
    leads = [
        lead
        for name, decision in decisions.items()
        if decision.kind != "edges"
        for lead in _leads(decision, mixtures[name], gates)
    ]
    return Decidedness(len(shares), fmean(shares) if shares else 0.0, median(leads) if leads else 1.0)


def _leads(decision: Decision, mixture: Mixture, gates: bool) -> list[float]:
    """For each row the ratio of its two largest weights, of candidates that may be kept; for each gate its odds."""
    found = []
    for index, row in enumerate(mixture.values.detach().cpu().double().reshape(decision.num_rows, -1)):
        left = [k for k in mixture.row(index) if decision.names(index)[k] not in decision.excluded]
        if gates:
            found += [_ratio(max(gate, 1 - gate), min(gate, 1 - gate)) for gate in row[left].tolist()]
        elif len(left) > 1:
            found.append(_ratio(*_two_largest(row[left])))
    return found


def _two_largest(row: Tensor) -> list[float]:
    return row.sort(descending=True).values[:2].tolist()


def _ratio(larger: float, smaller: float) -> float:
    return larger / max(smaller, 1e-12)
