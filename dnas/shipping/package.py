"""A trained network as two files: network.pt (its weights) and network.json (how to build and feed it)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.architecture import Architecture
from dnas.core.run import Run, load_tensors
from dnas.data.normalization import Normalization
from dnas.data.resize import ResizeRule
from dnas.space import space_of
from dnas.space.base import Stem
from dnas.system.atomic import write, write_text
from dnas.system.errors import UserError
from dnas.version import __version__

FORMAT = "dnas-network"
FORMAT_VERSION = 1
WEIGHTS_FILE = "network.pt"
SPEC_FILE = "network.json"

# No network has larger numbers; a file with larger ones is damaged, and must not make us build for hours.
_LARGEST = 1_000_000


@dataclass(frozen=True)
class Interface:
    """What an image classifier takes and gives: enough to go from an image file to the name of a class.

    Args:
        class_names: in the order of the logits.
        resize: how an image of any size becomes one of `height` x `width` pixels.
        normalization: how its pixels become inputs; as many channels as the network takes.

    Raises:
        UserError: no class.
    """

    class_names: tuple[str, ...]
    resize: ResizeRule
    normalization: Normalization

    def __post_init__(self) -> None:
        if not self.class_names:
            raise UserError("A network needs the names of its classes; got none.")

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an input; height and width in pixels."""
        return len(self.normalization.mean), self.resize.size, self.resize.size

    def to_data(self) -> dict[str, Any]:
        """Plain data, with the input's shape spelled out for readers that do not know the resize rule."""
        channels, height, width = self.shape
        return {
            "class_names": list(self.class_names),
            "input": {"channels": channels, "height": height, "width": width},
            "resize": {"rule": self.resize.name, "size": self.resize.size},
            "mean": list(self.normalization.mean),
            "std": list(self.normalization.std),
        }

    @staticmethod
    def from_data(data: Mapping[str, Any], source: str) -> Interface:
        """Validate what `to_data` gives.

        Args:
            data: may hold further entries.
            source: what messages call it.

        Raises:
            UserError: an entry is missing, of a wrong type, or contradicts another.
        """
        interface = Interface(_names(data, "class_names", source), _resize(data, source), _normalization(data, source))
        stated = _entry(data, "input", dict, source)
        for name, expected in zip(("channels", "height", "width"), interface.shape, strict=True):
            if _count(stated, name, source, place="input") != expected:
                raise UserError(
                    f"{source}: input.{name} is {stated[name]}, but mean, std and resize are for {expected}."
                )
        return interface


@dataclass(frozen=True)
class SpaceBuilder:
    """The network is `space.network(architecture, ...)` of the architecture's space, with these arguments.

    Args:
        channels: of the first cell.
        cells: how many.
        num_classes: length of the logits.
        in_channels: of the images.
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
    """The network is derived from a user's own searchable module, which no file holds: `load` is given one."""


Builder = SpaceBuilder | ModuleBuilder


@dataclass(frozen=True)
class NetworkSpec:
    """All of a trained network but its weights.

    Args:
        architecture: what was found.
        builder: how the architecture becomes a module.
        interface: what the module takes and gives.
        version: of the dnas that wrote it.

    Raises:
        UserError: builder and interface differ in the number of classes or channels.
    """

    architecture: Architecture
    builder: Builder
    interface: Interface
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
        data = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "dnas": self.version,
            "builder": _builder_to_data(self.builder),
            **self.interface.to_data(),
            "architecture": json.loads(self.architecture.to_json()),
        }
        return json.dumps(data, indent=2, ensure_ascii=False)

    @staticmethod
    def from_json(text: str, *, source: str = "the text") -> NetworkSpec:
        """Parse and validate.

        Raises:
            UserError: not JSON, or not the specification of a network; the message names `source` and the place.
        """
        data = parse_json(text, source)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UserError(f'{source} describes no network: expected an object with "format": "{FORMAT}".')
        if data.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"{source} has format_version {data.get('format_version')!r}; this dnas reads {FORMAT_VERSION}."
            )
        known = {"format", "format_version", "dnas", "builder", "architecture"}
        known |= {"class_names", "input", "resize", "mean", "std"}
        _no_others(data, known, source)
        architecture = json.dumps(_entry(data, "architecture", dict, source))
        parts = (
            Architecture.from_json(architecture, source=f"{source}, architecture"),
            _builder_from_data(_entry(data, "builder", dict, source), source),
            Interface.from_data(data, source),
            _entry(data, "dnas", str, source),
        )
        try:
            return NetworkSpec(*parts)
        except ValueError as error:
            raise UserError(f"{source}: {error}") from error


def save_network(run: Run, network: nn.Module, spec: NetworkSpec) -> None:
    """Write network.pt and network.json into the run's folder.

    Args:
        run: the retraining; `dnas.load` finds it as the folder RUN/retrain.
        network: on any device, with its auxiliary head where the builder has one.
        spec: of this network.

    Raises:
        UserError: the builder makes another network, or the network's state holds more than tensors.
    """
    state = network.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"The network's state {name!r} is a {type(value).__name__}; only tensors can be written. "
                "Keep such values in buffers."
            )
    if isinstance(spec.builder, SpaceBuilder):
        check_state(skeleton(spec), state, source="The network")
    # Copies, in plain memory format: a view would be written with all of the memory that it looks into.
    weights = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    # Weights first: the folder counts as holding a network from the moment that it has a network.json.
    write(run.path / WEIGHTS_FILE, lambda file: torch.save(weights, file))
    write_text(run.path / SPEC_FILE, spec.to_json() + "\n")


def read_spec(path: Path) -> NetworkSpec:
    """Read network.json in a folder, or that file itself.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is not the specification of a network.
    """
    file = path / SPEC_FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text; expected the specification of a network.") from error
    return NetworkSpec.from_json(text, source=str(file))


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read network.pt of a folder; it holds tensors only, and no code in it is run.

    Raises:
        FileNotFoundError: there is none.
        UserError: damaged, or something other than tensors.
    """
    path = folder / WEIGHTS_FILE
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no {WEIGHTS_FILE}, the weights that belong to its {SPEC_FILE}.")
    state = load_tensors(path)
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{path}: {name!r} is a {type(value).__name__}; expected names with tensors only.")
    return state


def skeleton(spec: NetworkSpec) -> nn.Module:
    """The network that the builder of a space makes, without memory for its weights (on the 'meta' device)."""
    assert isinstance(spec.builder, SpaceBuilder)
    with torch.device("meta"):
        return spec.builder.network(spec.architecture)


def check_state(network: nn.Module, state: Mapping[str, Any], *, source: str) -> None:
    """See that `state` has the names and shapes of the network's own, and no others.

    Raises:
        UserError: names the first difference and `source`.
    """
    own = network.state_dict()
    for name in dict.fromkeys([*own, *state]):
        mine, theirs = _kind(own, name), _kind(state, name)
        if mine != theirs:
            raise UserError(
                f"{source} belongs to another architecture or space: {name!r} is {theirs} there, expected {mine}."
            )


def parse_json(text: str, source: str) -> Any:
    """JSON as data.

    Raises:
        UserError: it is none; the message names `source`.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{source} is not JSON: {error}") from error


def _kind(state: Mapping[str, Tensor], name: str) -> str:
    if name not in state:
        return "missing"
    numbers = "" if state[name].is_floating_point() else f" of {state[name].dtype}"
    return f"a tensor of shape {tuple(state[name].shape)}{numbers}"


def _builder_to_data(builder: Builder) -> dict[str, Any]:
    return {"kind": "module"} if isinstance(builder, ModuleBuilder) else {"kind": "space", **vars(builder)}


def _builder_from_data(data: dict[str, Any], source: str) -> Builder:
    kind = _entry(data, "kind", str, source, place="builder")
    if kind == "module":
        _no_others(data, {"kind"}, source, place="builder")
        return ModuleBuilder()
    if kind != "space":
        raise UserError(f"{source}: builder.kind must be 'space' or 'module'; got {kind!r}.")
    counts = ("channels", "cells", "num_classes", "in_channels")
    _no_others(data, {"kind", "stem", "auxiliary", *counts}, source, place="builder")
    stem = data.get("stem")
    if stem != "cifar" and stem != "imagenet":
        raise UserError(f"{source}: builder.stem must be 'cifar' or 'imagenet'; got {stem!r}.")
    channels, cells, num_classes, in_channels = (_count(data, name, source, place="builder") for name in counts)
    auxiliary = _entry(data, "auxiliary", bool, source, place="builder")
    return SpaceBuilder(channels, cells, num_classes, in_channels, stem, auxiliary)


def _names(data: Mapping[str, Any], name: str, source: str) -> tuple[str, ...]:
    names = _entry(data, name, list, source)
    if not names or not all(isinstance(item, str) for item in names):
        raise UserError(f"{source}: {name} must be a list of one or more names; got {names!r}.")
    return tuple(names)


def _resize(data: Mapping[str, Any], source: str) -> ResizeRule:
    resize = _entry(data, "resize", dict, source)
    _no_others(resize, {"rule", "size"}, source, place="resize")
    size, rule = _count(resize, "size", source, place="resize"), _entry(resize, "rule", str, source, place="resize")
    try:
        return ResizeRule(size, rule)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error


def _normalization(data: Mapping[str, Any], source: str) -> Normalization:
    mean, std = _numbers(data, "mean", source), _numbers(data, "std", source)
    try:
        return Normalization(mean, std)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error


def _numbers(data: Mapping[str, Any], name: str, source: str) -> tuple[float, ...]:
    values = _entry(data, name, list, source)
    if not values or not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise UserError(f"{source}: {name} must be a list of numbers, one for each channel; got {values!r}.")
    return tuple(float(value) for value in values)


def _count(data: Mapping[str, Any], name: str, source: str, *, place: str) -> int:
    value = _entry(data, name, int, source, place=place)
    if not 1 <= value <= _LARGEST:
        raise UserError(f"{source}: {place}.{name} must be a whole number from 1 to {_LARGEST:,}; got {value}.")
    return value


_CALLED = {int: "a whole number", bool: "true or false", str: "a text", list: "a list", dict: "an object"}


def _entry(data: Mapping[str, Any], name: str, kind: type, source: str, *, place: str = "") -> Any:
    """`data[name]`, which must be of exactly this type (true is no whole number)."""
    where = f"{place}.{name}" if place else name
    if name not in data:
        raise UserError(f"{source}: {where} is missing; expected {_CALLED[kind]}.")
    if type(data[name]) is not kind:
        raise UserError(f"{source}: {where} must be {_CALLED[kind]}; got {data[name]!r}.")
    return data[name]


def _no_others(data: Mapping[str, Any], known: set[str], source: str, *, place: str = "") -> None:
    unknown = sorted(set(data) - known)
    if unknown:
        where = f" in {place}" if place else ""
        raise UserError(f"{source}: unknown entries {unknown}{where}; known are {sorted(known)}.")
