"""`dnas describe`: parameters and FLOPs of an architecture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.own_model import add_model, model_for
from dnas.cli.parser import Command
from dnas.cli.shared import part_of
from dnas.cli.table import table_for
from dnas.formats import read_architecture
from dnas.language.sample import trained_sizes
from dnas.report.describe import describe, describe_architecture
from dnas.report.describe_cell import describe_cell
from dnas.shipping.load import find_network, load, load_spec
from dnas.shipping.spec import ModuleBuilder, NetworkSpec, SpaceBuilder
from dnas.space.base import Stem
from dnas.space.recurrent import RecurrentSpace
from dnas.system.errors import UserError
from dnas.table import standing

# Options that only networks for images have, and only recurrent cells.
_OF_IMAGES = {
    *("--channels", "--cells", "--num_classes", "--input_size", "--in_channels", "--stem", "--auxiliary"),
    *("--supernet", "--table"),
}
_OF_CELLS = {"--hidden", "--vocabulary"}


@dataclass(frozen=True)
class DescribeOptions:
    """Sizes of the network that is described; of a run that was retrained they are by default those of its network.

    Args:
        space: space of a genotype text, darts or nasbench201; architecture files name theirs.
        channels: number of channels in the first cells.
        cells: number of cells.
        num_classes: length of the output.
        input_size: height and width of the images in pixels.
        in_channels: number of channels of the images: 3 of colour, 1 of grey ones.
        stem: first layers: 'cifar' keeps the resolution, 'imagenet' divides it by 8.
        hidden: number of units of the hidden state and of the embedding, for a recurrent cell.
        vocabulary: number of different tokens, for a recurrent cell.
    """

    space: str | None = None
    channels: int = 36
    cells: int = 20
    num_classes: int = 10
    input_size: int = 32
    in_channels: int = 3
    stem: Stem = "cifar"
    hidden: int = 850
    vocabulary: int = 10_000


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("architecture", type=str, help="a run folder, an architecture.json, or a genotype text or file")
    parser.add_class_arguments(DescribeOptions, None, sub_configs=False)
    parser.add_argument("--auxiliary", action="store_true", help="count the auxiliary head of training too")
    parser.add_argument("--supernet", action="store_true", help="describe the supernet that is searched instead")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--table", type=Path, help="file of a benchmark's table, in which the architecture is looked up"
    )
    add_model(parser)


def _defaults(given: Arguments) -> Mapping[str, Any]:
    """The sizes of a run's network, or of its language model."""
    text = "".join(given.positionals[:1])
    if not os.path.isdir(text):  # the text of a genotype is too long for Path.is_dir
        return {}
    is_network = "--supernet" not in given.names and find_network(Path(text)) is not None
    return {**(_sizes_of(load_spec(text)) if is_network else {}), **trained_sizes(Path(text))}


def _sizes_of(spec: NetworkSpec) -> dict[str, Any]:
    """The options that describe a network; none for one that was derived from a user's own module."""
    if not isinstance(spec.builder, SpaceBuilder):
        return {}
    names = ("channels", "cells", "num_classes", "in_channels", "stem")
    return {**{name: getattr(spec.builder, name) for name in names}, "input_size": spec.interface.kind.image_size}


def _run(config: Namespace, given: Arguments) -> None:
    options = part_of(config, DescribeOptions)
    if _is_of_own_module(config.architecture) and not config.supernet:
        _describe_own(Path(config.architecture), config, given)
        return
    architecture = read_architecture(config.architecture, options.space)
    recurrent = architecture.space == RecurrentSpace.name
    idle = given.names & (_OF_IMAGES if recurrent else _OF_CELLS)
    if idle:
        raise UserError(
            f"{', '.join(sorted(idle))} would have no effect: {config.architecture} is "
            f"{'a recurrent cell, for text' if recurrent else 'no recurrent cell'}. Leave it out."
        )
    if recurrent:
        cell = describe_cell(architecture, hidden=options.hidden, vocabulary=options.vocabulary)
        print(cell.to_json() if config.json else cell.to_text())
        return
    table = table_for(config.table, architecture.space)
    description = describe_architecture(
        architecture,
        channels=options.channels,
        cells=options.cells,
        num_classes=options.num_classes,
        input_size=options.input_size,
        in_channels=options.in_channels,
        stem=options.stem,
        auxiliary=config.auxiliary,
        supernet=config.supernet,
    )
    print(description.to_json() if config.json else description.to_text())
    if table is not None and not config.json:
        print(standing(table, architecture))


def _is_of_own_module(text: str) -> bool:
    """Whether a text is a folder with a network that was derived from a module of the user's own."""
    if not os.path.isdir(text) or find_network(Path(text)) is None:
        return False
    return isinstance(load_spec(text).builder, ModuleBuilder)


def _describe_own(path: Path, config: Namespace, given: Arguments) -> None:
    idle = given.names & (_OF_IMAGES | _OF_CELLS)
    if idle:
        raise UserError(f"{', '.join(sorted(idle))} would have no effect on a network of your own. Leave it out.")
    network = load(path, model=model_for(path, config))
    kind = load_spec(path).interface.kind
    dtype = torch.int64 if kind.inputs == "tokens" else None
    description = describe(network, input_shape=kind.shape, dtype=dtype)
    print(description.to_json() if config.json else description.to_text())


COMMAND = Command("describe", _fill, _run, defaults=_defaults)
