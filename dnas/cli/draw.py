"""`dnas draw`: the picture of an architecture."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.parser import Command
from dnas.formats import read_architecture
from dnas.report.draw import draw


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument(
        "architecture", type=str, help="a run folder, an architecture.json, a genotype text or file, or DARTS_V2"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="file that ends in .svg, .pdf or .png")
    parser.add_argument(
        "--cells", type=int | None, default=None, help="draw a network of so many cells too, above the cells"
    )
    parser.add_argument("--space", type=str | None, default=None, help="space that it must belong to")


def _run(config: Namespace, given: Arguments) -> None:
    draw(read_architecture(config.architecture, config.space), config.output, cells=config.cells)
    print(config.output)


COMMAND = Command("draw", _fill, _run)
