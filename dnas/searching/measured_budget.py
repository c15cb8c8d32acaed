"""An architecture that meets a limit in milliseconds as measured, where predictions decide which one."""

from __future__ import annotations

from collections.abc import Callable

from dnas.core.architecture import Architecture
from dnas.cost.bounds import Bounds
from dnas.cost.tightening import until_measured
from dnas.distributed.ranks import ranks


def within_measured(
    bounds: Bounds, decide: Callable[[Bounds], Architecture], say: Callable[[str], None]
) -> Architecture:
    """The architecture that is decided on, measured; if its network takes too long, another one within a tighter limit.

    Args:
        bounds: the limits. If nothing is measured, predictions alone decide.
        decide: finds the architecture within bounds.
        say: shows a line to a person.

    Raises:
        UserError: the network still takes too long; with the figure.
    """
    limit, measured = bounds.milliseconds, bounds.measured
    if limit is None or measured is None:
        return decide(bounds)
    return until_measured(
        limit.most,
        lambda factor: decide(bounds if factor == 1 else bounds.tightened(factor)),
        measure=lambda architecture: ranks().from_first(lambda: measured(architecture.decisions)),
        predict=lambda architecture: limit.cost.of(architecture.decisions, bounds.program.decisions),
        advice="Raise the budget, or measure candidates anew on a quiet machine (dnas measure).",
        say=say,
    ).decided
