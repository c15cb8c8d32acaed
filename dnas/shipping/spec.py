"""The specification of a trained network: everything except its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from dnas.core.architecture import Architecture
from dnas.shipping.array_interface import ArrayInterface
from dnas.shipping.entries import count, entry, refuse_others
from dnas.shipping.interface import Interface
from dnas.space import space_of
from dnas.space.base import Stem
from dnas.system.digest import without_seal
from dnas.system.errors import UserError
from dnas.system.reading import parse_json
from dnas.version import __version__

FORMAT = "dnas-network"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class SpaceBuilder:
    """The network is `space.network(architecture, ...)` of the architecture's space, with these arguments.

    Args:
        channels: output channels of the first cell.
        cells: number of cells.
        num_classes: number of logits.
        in_channels: channels of the images.
        stem: 'cifar' keeps the image size, 'imagenet' divides it by 8.
        auxiliary: whether there is an auxiliary head, which only training uses.
    """

    channels: int
    cells: int
    num_classes: int
    in_channels: int
    stem: Stem = "cifar"
    auxiliary: bool = False

    def network(self, architecture: Architecture) -> nn.Module:
        """The network with new weights.

        Raises:
            UserError: the architecture belongs to no space, or its space cannot build this.
        """
        return space_of(architecture).network(
            architecture,
            channels=self.channels,
            cells=self.cells,
            num_classes=self.num_classes,
            in_channels=self.in_channels,
            stem=self.stem,
            auxiliary=self.auxiliary,
        )


@dataclass(frozen=True)
class ModuleBuilder:
    """The network is derived from a user's own searchable module, which no file holds; the user gives it to `load`."""


Builder = SpaceBuilder | ModuleBuilder
AnyInterface = Interface | ArrayInterface


def interface_from(data: Mapping[str, Any], source: str) -> AnyInterface:
    """The interface in the entries of a file: of images with a class each, or of other arrays.

    Raises:
        UserError: as their `from_data`.
    """
    return ArrayInterface.from_data(data, source) if "inputs" in data else Interface.from_data(data, source)


@dataclass(frozen=True)
class NetworkSpec:
    """Everything about a trained network except its weights.

    Args:
        architecture: the architecture that the search found.
        builder: how the architecture becomes a module.
        interface: inputs and outputs of the module.
        version: version of the dnas that wrote the file.

    Raises:
        UserError: builder and interface disagree on the number of classes or channels.
    """

    architecture: Architecture
    builder: Builder
    interface: AnyInterface
    version: str = __version__

    def __post_init__(self) -> None:
        if isinstance(self.builder, ModuleBuilder):
            return
        numbers = {
            "classes": (self.builder.num_classes, self.interface.num_classes, "names of classes"),
            "channels": (self.builder.in_channels, self.interface.shape[0], "channels in mean and std"),
        }
        for what, (built, stated, place) in numbers.items():
            if built != stated:
                raise UserError(f"The network is built for {built} {what}, but there are {stated} {place}.")

    def to_json(self) -> str:
        """Indented JSON with a format name and version."""
        return json.dumps(self.to_data(), indent=2, ensure_ascii=False)

    def to_data(self) -> dict[str, Any]:
        """Plain data as JSON holds it."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "dnas": self.version,
            "builder": _builder_to_data(self.builder),
            **self.interface.to_data(),
            "architecture": self.architecture.to_data(),
        }

    @staticmethod
    def from_json(text: str, *, source: str = "the text") -> NetworkSpec:
        """The specification from its JSON text, validated.

        Raises:
            UserError: the text is not JSON or does not specify a network; the message names `source` and the place.
        """
        data = parse_json(text, source)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UserError(f'{source} describes no network: expected an object with "format": "{FORMAT}".')
        if data.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"{source} has format_version {data.get('format_version')!r}; this dnas reads {FORMAT_VERSION}."
            )
        data = without_seal(data, text, source=source)
        known = {"format", "format_version", "dnas", "builder", "architecture"}
        known |= {"names", "inputs", "targets"} if "inputs" in data else {"class_names", "input", "resize"}
        known |= {"mean", "std"}
        refuse_others(data, known, source)
        architecture = json.dumps(entry(data, "architecture", dict, source))
        parts = (
            Architecture.from_json(architecture, source=f"{source}, architecture"),
            _builder_from_data(entry(data, "builder", dict, source), source),
            interface_from(data, source),
            entry(data, "dnas", str, source),
        )
        try:
            return NetworkSpec(*parts)
        except ValueError as error:
            raise UserError(f"{source}: {error}") from error


def _builder_to_data(builder: Builder) -> dict[str, Any]:
    return {"kind": "module"} if isinstance(builder, ModuleBuilder) else {"kind": "space", **vars(builder)}


def _builder_from_data(data: dict[str, Any], source: str) -> Builder:
    kind = entry(data, "kind", str, source, place="builder")
    if kind == "module":
        refuse_others(data, {"kind"}, source, place="builder")
        return ModuleBuilder()
    if kind != "space":
        raise UserError(f"{source}: builder.kind must be 'space' or 'module'; got {kind!r}.")
    counts = ("channels", "cells", "num_classes", "in_channels")
    refuse_others(data, {"kind", "stem", "auxiliary", *counts}, source, place="builder")
    stem = data.get("stem")
    if stem != "cifar" and stem != "imagenet":
        raise UserError(f"{source}: builder.stem must be 'cifar' or 'imagenet'; got {stem!r}.")
    channels, cells, num_classes, in_channels = (count(data, name, source, place="builder") for name in counts)
    auxiliary = entry(data, "auxiliary", bool, source, place="builder")
    return SpaceBuilder(channels, cells, num_classes, in_channels, stem, auxiliary)
