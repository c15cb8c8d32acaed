"""An observer for recipes of tests: it kills its process once, whichever comes first."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from dnas.searching.observer import EpochReport, Observer


@dataclass(frozen=True)
class KillsOnce(Observer):
    """Kills the process after the second epoch, unless that has been done.

    Args:
        marker: a file that says that it has been done.
    """

    marker: str

    def epoch_ended(self, report: EpochReport) -> None:
        if report.epoch == 2 and not Path(self.marker).exists():
            Path(self.marker).write_text("killed")
            os.kill(os.getpid(), signal.SIGKILL)
