"""`dnas export`: the retrained network as files that other programs run."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.own_model import add_model, model_for
from dnas.cli.parser import Command
from dnas.shipping.export import FORMATS, Format, export


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained")
    parser.add_argument(
        "--formats", type=Format, nargs="+", default=list(FORMATS), help="formats to write; by default all"
    )
    parser.add_argument("--output", type=Path | None, default=None, help="folder for the files; by default RUN/export")
    add_model(parser)


def _run(config: Namespace, given: Arguments) -> None:
    model = model_for(config.run, config)
    for file in export(config.run, formats=tuple(config.formats), output=config.output, model=model):
        checked = "" if file.deviation is None else f", differs from PyTorch by {file.deviation:.1e} at most"
        print(f"{file.format}: {file.path} ({file.num_bytes / 1e6:.2f} MB{checked})")


COMMAND = Command("export", _fill, _run)
