"""The budget of time: what a command needs besides its steps, and the share of the time that planning may take."""

from __future__ import annotations

import math

from dnas.system.errors import UserError
from dnas.system.words import seconds_in

# The time of a search whose sizes are chosen, if the user gives none.
DEFAULT_TIME = "30min"
# A search or a retraining with fewer epochs is of little use; a smaller network that gets this many is better.
MIN_EPOCHS = 10
# Predictions are this many times what was measured, since the machine may have been idle then.
MARGIN = 1.25
# Seconds of a command besides reading, steps and evaluation: the interpreter, imports, building, writing results.
START_AND_END = 6.0
# Measuring may take this share of the time given, and at most this many seconds.
PLANNING_SHARE, PLANNING_SECONDS = 0.1, 20.0
# Shares of the time for measuring: for the sizes of the search, for its threads, and for the outlook on retraining.
SEARCH_PLANNING, THREADS_PLANNING, OUTLOOK_PLANNING = 0.5, 0.2, 0.3


class TooShort(UserError):
    """The time that was given does not suffice.

    Args:
        message: for the user.
        enough: value of --time that does suffice.
    """

    def __init__(self, message: str, enough: str):
        super().__init__(message)
        self.enough = enough


def planning_seconds(time: str | None) -> float:
    """How long measuring may take, in seconds.

    Args:
        time: time given for the whole command, such as 30min; None for no limit.
    """
    return PLANNING_SECONDS if time is None else min(PLANNING_SHARE * seconds_in(time), PLANNING_SECONDS)


def enough_time(needed: float) -> str:
    """The value for --time that is enough for work of `needed` seconds, planning not counted."""
    whole = min(needed / (1 - PLANNING_SHARE), needed + PLANNING_SECONDS)
    return f"{math.ceil(whole)}s" if whole < 120 else f"{math.ceil(whole / 60)}min"
