"""`dnas report`: runs as one page of HTML to look at."""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.language import language_job_of
from dnas.cli.parser import Command
from dnas.cli.run_settings import job_of
from dnas.cli.shared import add_trust
from dnas.core.run import Run
from dnas.jobs.report import write_report
from dnas.searching.settings import SearchSettings
from dnas.system.errors import UserError


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, which are shown side by side")
    parser.add_argument(
        "-o", "--output", type=Path | None, default=None, help="file to write; by default report.html in the first run"
    )
    add_trust(parser)


def _run(config: Namespace, given: Arguments) -> None:
    runs = [Run(path) for path in config.runs]
    print(write_report([(run, _settings(run, trust=config.trust)) for run in runs], config.output))


def _settings(run: Run, *, trust: bool) -> SearchSettings | None:
    """The settings of a search, with which its mixtures can be computed; None of other runs, and of untrusted parts."""
    config = run.read_config() if run.config_path.exists() else {}
    try:
        if "language" in config:
            return language_job_of(run, trust=trust).search.search
        return job_of(run, trust=trust).search if "job" in config else None
    except UserError as error:
        print(f"dnas: no mixtures of {run.path} in the report: {error}", file=sys.stderr)
        return None


COMMAND = Command("report", _fill, _run)
