"""How many CPU threads a search or a training is worth."""

from __future__ import annotations

import torch

from dnas.jobs.planning.fit import STEPS_MEASURED, Measure, Sizes
from dnas.system.threads import fewest_threads
from dnas.system.words import number_of


def choose_threads(measure: Measure, sizes: Sizes, step: float, *, patience: float) -> int:
    """The fewest threads that are as fast as all that PyTorch uses now; all of them if trying would take too long.

    Args:
        measure: measures a step.
        sizes: sizes of that step.
        step: seconds of a step with all threads.
        patience: seconds that trying may take.
    """
    most = torch.get_num_threads()
    if most == 1 or 2 * STEPS_MEASURED * step > patience:
        return most
    return fewest_threads(lambda: measure(sizes).step, most=most)


def on_threads(count: int | None) -> str:
    """The end of a sentence, ', 2 threads'; empty if PyTorch chooses their number."""
    return "" if count is None else f", {number_of(count, 'thread')}"
