"""An architecture that meets a limit in milliseconds as measured, where predictions decide which one."""

from __future__ import annotations

from collections.abc import Callable

from dnas.core.architecture import Architecture
from dnas.cost.bounds import Bounds, amount
from dnas.system.errors import UserError

# How often the limit on predictions is tightened.
TRIES = 3


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
    factor, found = 1.0, 0.0
    for attempt in range(TRIES + 1):
        architecture = decide(bounds if attempt == 0 else bounds.tightened(factor))
        found = measured(architecture.decisions)
        predicted = limit.cost.of(architecture.decisions, bounds.program.decisions)
        say(
            f"The network takes {amount(found)} milliseconds of at most {amount(limit.most)}, measured; "
            f"{amount(predicted)} were predicted."
        )
        if found <= limit.most:
            return architecture
        factor *= limit.most / found
    raise UserError(
        f"No network was found that takes {amount(limit.most)} milliseconds or less as measured: the last of "
        f"{TRIES + 1} took {amount(found)}. Raise the budget, or measure candidates anew on a quiet machine (dnas "
        "measure)."
    )
