"""Which candidates may still be kept."""

from __future__ import annotations

from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture


def active_rows(decision: Decision, mixture: Mixture) -> Active:
    """For each row of a decision, the candidates that take part in the supernet."""
    return tuple(mixture.row(row) for row in range(decision.num_rows))


def eligible_rows(decision: Decision, mixture: Mixture) -> Active:
    """For each row, the candidates that may be kept: active and not excluded.

    If only excluded candidates are active (pruning has left an edge with 'none'), all that are not excluded.
    """
    rows = []
    for row, active in enumerate(active_rows(decision, mixture)):
        allowed = tuple(k for k, name in enumerate(decision.names(row)) if name not in decision.excluded)
        rows.append(tuple(k for k in active if k in allowed) or allowed)
    return tuple(rows)
