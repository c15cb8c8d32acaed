"""`dnas say`: a text that a trained language model goes on with."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.parser import Command


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run", type=Path, help="run folder of dnas language; RUN/cells/NAME for a cell other than the found one"
    )
    parser.add_argument("text", type=str, nargs="?", default="", help="beginning of the text")
    parser.add_argument("--num", type=int, default=200, help="number of characters or words to make up")
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.8,
        help="below 1 likely characters or words become more likely, above 1 less likely",
    )
    parser.add_argument("--seed", type=int, default=0, help="whole number that determines the draws")


def _run(config: Namespace, given: Arguments) -> None:
    from dnas.language.sample import continued, load_language

    language = load_language(config.run)
    print(continued(language, config.text, num=config.num, temperature=config.temperature, seed=config.seed))


COMMAND = Command("say", _fill, _run)
