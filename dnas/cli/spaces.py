"""`dnas spaces`: the search spaces, how large they are, and how large their networks are."""

from __future__ import annotations

import json

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.parser import Command


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--num", type=int, default=100, help="number of random architectures whose parameters are counted"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(config: Namespace, given: Arguments) -> None:
    from dnas.jobs.list_spaces import EXAMPLES, facts_of, spaces_text

    facts = [facts_of(example, config.num) for example in EXAMPLES]
    print(json.dumps([one.to_data() for one in facts], indent=2) if config.json else spaces_text(facts))


COMMAND = Command("spaces", _fill, _run)
