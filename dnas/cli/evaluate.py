"""`dnas evaluate`: the retrained network on the test part."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.network import add_network, network_of
from dnas.cli.own_model import add_model
from dnas.cli.parser import Command
from dnas.cli.run_settings import retrained
from dnas.core.run import writing
from dnas.jobs.judge import evaluate_command
from dnas.jobs.report import report_at_end
from dnas.system.display import RichDisplay


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained")
    add_network(parser)
    add_model(parser)


def _run(config: Namespace, given: Arguments) -> None:
    run, job = retrained(config)
    with RichDisplay() as display, writing(run, display.say):
        path, why = network_of(config)
        if why:
            display.say(why)
        display.say(evaluate_command(run, job, display, path))
        report_at_end(run, job.search, display)


COMMAND = Command("evaluate", _fill, _run)
