"""The contract of every schedule."""

from __future__ import annotations

from typing import cast

import torch

from dnas.core.schedule import Schedule
from dnas.testing.require import copies, require, same, unchanged


def check_schedule(schedule: Schedule, device: torch.device | str = "cpu") -> None:
    """Check the contract of every schedule.

    - It returns a finite scalar of the progress's dtype and device, computed without reading the progress on the host,
    so
      that a captured graph sees it change.
    - It gives the same number when called again and after copying.
    - Progress and random state stay bit-identical.

    Args:
        schedule: the part to check.
        device: device of the progress.

    Raises:
        AssertionError: names the first point that does not hold.

    Example:
        >>> from dnas import Cosine
        >>> check_schedule(Cosine(0.025, 0.001))
    """
    for dtype in (torch.float32, torch.float64):
        for number in (0.0, 0.3, 1.0):
            progress = torch.tensor(number, dtype=dtype, device=device)
            with unchanged(schedule, {"progress": progress}):
                value, again = (schedule(progress) for _ in range(2))
            require(value.shape == (), schedule, f"gives shape {tuple(value.shape)}, not a scalar")
            require(value.dtype == dtype, schedule, f"gives {value.dtype} for {dtype}")
            require(value.device == progress.device, schedule, f"gives a value on {value.device}")
            require(bool(value.isfinite()), schedule, f"is not finite at {number}")
            require(same(value, again), schedule, "gives another number when called again")
            for kind, copied in copies(schedule).items():
                require(same(value, cast(Schedule, copied)(progress)), schedule, f"differs from its {kind} copy")
    try:
        schedule(torch.empty((), device="meta"))  # a tensor without a value
    except RuntimeError as error:
        raise AssertionError(f"{type(schedule).__name__} reads the progress on the host ({error}).") from error
