"""`dnas baseline`: the architecture that was found beside random ones of the same space and budget."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.beside import add_beside, add_opponents, beside_words, named_architectures
from dnas.cli.own_model import add_model
from dnas.cli.parser import Command
from dnas.cli.run_settings import retrained, trust_words
from dnas.cli.shared import goes_on_with
from dnas.cli.workers import add_workers, workers_of, workers_words
from dnas.core.run import writing
from dnas.finalists.opponents.named import named_opponents
from dnas.jobs.images import read_data
from dnas.jobs.judge import baseline_command, check_baseline
from dnas.jobs.opponents import opponents_of
from dnas.jobs.report import report_at_end
from dnas.jobs.workers import train_random_on_workers
from dnas.system.display import RichDisplay


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained")
    help = "number of random architectures to train like the found one"
    parser.add_argument("--num_random", type=int, default=8, help=help)
    add_beside(parser, "ARCHITECTURE", "DARTS_V2")
    add_opponents(parser, "the search")
    add_model(parser)
    add_workers(parser)


def _run(config: Namespace, given: Arguments) -> None:
    run, job = retrained(config)
    check_baseline(job, config.num_random)
    beside = named_architectures(config.beside, job.space.name)
    opponents = named_opponents(config.opponents)
    asked = (
        *beside_words(config.beside),
        *(("--opponents", *config.opponents) if opponents else ()),
        *workers_words(config),
    )
    words = ("baseline", run.path, "--num_random", config.num_random, *asked, *trust_words(job))
    with RichDisplay() as display, goes_on_with(*words), writing(run, display.say):
        data = read_data(run, job, display)
        workers = workers_of(config.ray, config.gpus_per_row, [job])
        if workers is not None:
            train_random_on_workers(run, job, data.kind, config.num_random, workers, display)
        beside |= opponents_of(run, job, data, opponents, display)
        num = config.num_random
        display.say(baseline_command(run, job, data, num, display, beside=beside, opponents=opponents))
        report_at_end(run, job.search, display)


COMMAND = Command("baseline", _fill, _run, other_names={"--num": "--num_random"})
