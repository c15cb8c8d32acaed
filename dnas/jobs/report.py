"""The report of runs: `dnas report`, and the end of commands that make something to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dnas.core.run import Run
from dnas.report.facts import facts_of
from dnas.report.report import report
from dnas.searching.mixture_history import mixtures_by_epoch
from dnas.searching.settings import SearchSettings
from dnas.system.atomic import write_text
from dnas.system.display import Display
from dnas.system.errors import UserError

FILE = "report.html"  # in the folder of the first run


def write_report(runs: Sequence[tuple[Run, SearchSettings | None]], path: Path | None = None) -> Path:
    """Write the report of one run, or of several side by side.

    Args:
        runs: each with the settings of its search; without them the report has no mixtures.
        path: where to; by default report.html in the folder of the first.

    Raises:
        FileNotFoundError: a folder does not exist, or holds no run.
        UserError: a file of a run is damaged, or the report would be too large.
    """
    facts = [facts_of(run, [] if settings is None else mixtures_by_epoch(run, settings)) for run, settings in runs]
    path = path or runs[0][0].path / FILE
    write_text(path, report(facts))
    return path


def report_at_end(run: Run, settings: SearchSettings | None, display: Display) -> None:
    """Write the report of a run whose command has done its work, which no damaged file and no full disk undoes."""
    try:
        display.say(f"Report: {write_report([(run, settings)])}")
    except (UserError, OSError) as error:
        display.say(f"No report: {error}")
