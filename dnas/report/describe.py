"""The parts of a network: parameters, FLOPs and output size, stage by stage."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.architecture import Architecture
from dnas.cost import count_parameters, flops_by_module
from dnas.space import Stem, space_of
from dnas.system.errors import UserError
from dnas.system.words import aligned
from dnas.training.evaluate import evaluation_mode

# Batch norm with batch statistics refuses a single value per channel, so two images are counted and halved.
_BATCH = 2


@dataclass(frozen=True)
class NetworkStage:
    """Consecutive parts of a network whose outputs have the same height and width.

    name: name of the submodule; for a list, with the numbers of its first and last item.
    output_shape: output shape of the last part, without the batch dimension (of the last one, if there are several
        tensors); None if evaluation leaves the stage out, as it does an auxiliary head.
    parameters: number of entries; a tensor that is also in an earlier stage counts only there.
    flops: FLOPs of one forward pass over one image.
    """

    name: str
    output_shape: tuple[int, ...] | None
    parameters: int
    flops: int


@dataclass(frozen=True)
class Description:
    """A network in numbers.

    Args:
        input_shape: (channels, height, width) of one image.
        parameters: number of entries of all parameters.
        flops: FLOPs of one forward pass over one image in evaluation mode, 2 for each multiply-add (see `dnas.cost`).
        stages: the stages in order; their parameters and FLOPs add up to those of the network.
    """

    input_shape: tuple[int, ...]
    parameters: int
    flops: int
    stages: tuple[NetworkStage, ...]

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(asdict(self), indent=2)

    def to_text(self) -> str:
        """A table with aligned columns."""
        rows = [
            ("stage", "output", "parameters", "FLOPs"),
            ("input", _size(self.input_shape), "", ""),
            *((s.name, _size(s.output_shape), f"{s.parameters:,}", f"{s.flops:,}") for s in self.stages),
            ("total", "", f"{self.parameters:,}", f"{self.flops:,}"),
        ]
        unused = [stage.name for stage in self.stages if stage.output_shape is None]
        notes = [
            f"FLOPs: one image, forward, evaluation mode; a multiply-add is 2. Multi-adds: {self.flops / 2e6:,.1f}M."
        ]
        notes += [f"Takes no part in evaluation: {', '.join(unused)}."] if unused else []
        return "\n".join([*aligned(rows, "<<>>"), *notes])


def describe(network: nn.Module, *, input_shape: Sequence[int], dtype: torch.dtype | None = None) -> Description:
    """Parameters, FLOPs and output shapes of a network's top-level parts; lists of modules are divided into stages.

    A stage is a run of list items (such as cells) whose outputs have equal height and width. The network is run in
    evaluation mode on two images of zeros; it and its mode stay as they were. On the 'meta' device nothing is computed.

    Args:
        network: maps images (batch, channels, height, width) to anything.
        input_shape: (channels, height, width) of one image, or the shape of another sample.
        dtype: of the inputs; None for that of the network's weights.

    Raises:
        UserError: the network cannot take images of this shape.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(8 * 16, 10))
        >>> [(stage.output_shape, stage.flops) for stage in describe(network, input_shape=(3, 4, 4)).stages]
        [((8, 4, 4), 6912), ((128,), 0), ((10,), 2560)]
    """
    flops, shapes = _measured(network, tuple(input_shape), dtype)
    stages = []
    counted: set[Tensor] = set()
    for units in _stages(network, shapes):
        name = units[0][0] if len(units) == 1 else f"{units[0][0]}-{units[-1][0].split()[-1]}"
        new = {weight for _, _, unit in units for weight in unit.parameters()} - counted
        counted |= new
        used = sum(flops.get(path, 0) for _, path, _ in units)
        stages.append(NetworkStage(name, shapes.get(units[-1][1]), sum(weight.numel() for weight in new), used))
    parameters = count_parameters(network)
    rest = NetworkStage(
        "(itself)",
        (),
        parameters - sum(stage.parameters for stage in stages),
        flops[""] - sum(stage.flops for stage in stages),
    )
    if rest.parameters or rest.flops:
        stages.append(rest)
    return Description(tuple(input_shape), parameters, flops[""], tuple(stages))


def describe_architecture(
    architecture: Architecture,
    *,
    channels: int,
    cells: int,
    num_classes: int,
    input_size: int,
    in_channels: int = 3,
    stem: Stem = "cifar",
    auxiliary: bool = False,
    supernet: bool = False,
) -> Description:
    """Describe the evaluation network of an architecture, as in its space's paper; nothing is computed.

    Args:
        architecture: an architecture of one of our spaces.
        channels: output channels of the first cell.
        cells: number of cells (for NAS-Bench-201 in each of three stages).
        num_classes: length of the logits.
        input_size: height and width of the images in pixels.
        in_channels: channels of the images.
        stem: 'cifar' keeps the image size, 'imagenet' divides it by 8.
        auxiliary: whether to include the auxiliary head, which only training uses.
        supernet: whether to describe the searched model instead; it has no auxiliary head.

    Raises:
        UserError: the space cannot build it, or the image is too small.

    Example:
        >>> from dnas.formats import published
        >>> describe_architecture(
        ...     published("DARTS_V2"), channels=36, cells=20, num_classes=10, input_size=32
        ... ).parameters
        3349342
    """
    if input_size < 1:
        raise UserError(f"input_size must be 1 or more pixels; got {input_size}.")
    if supernet and auxiliary:
        raise UserError("A supernet has no auxiliary head; leave out --auxiliary or --supernet.")
    sizes = {"channels": channels, "cells": cells, "num_classes": num_classes, "in_channels": in_channels}
    space = space_of(architecture)
    with torch.device("meta"):
        if supernet:
            network = space.model(**sizes, stem=stem)
        else:
            network = space.network(architecture, **sizes, stem=stem, auxiliary=auxiliary)
    return describe(network, input_shape=(in_channels, input_size, input_size))


# A part of a network: its name in the table, its path, and the module.
_Unit = tuple[str, str, nn.Module]


def _units(network: nn.Module) -> Iterator[_Unit]:
    """Top-level children; for a list, its items."""
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name} {index}", f"{name}.{index}", item) for index, item in enumerate(child))
        else:
            yield name, name, child


def _stages(network: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> list[list[_Unit]]:
    """Consecutive units; items of one list stay together as long as height and width do not change."""
    stages: list[list[_Unit]] = []
    last: tuple[str, Any] | None = None
    for unit in _units(network):
        owner = unit[1].rpartition(".")[0]
        shape = shapes.get(unit[1])
        key = (owner, None if shape is None else shape[1:])
        if owner and key == last:
            stages[-1].append(unit)
        else:
            stages.append([unit])
        last = key
    return stages


def _measured(
    network: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype | None
) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """FLOPs by submodule and output shapes by unit, for one image."""
    device = next(network.parameters(), torch.empty(0)).device
    real = next((weight.dtype for weight in network.parameters() if weight.is_floating_point()), None)
    dtype = real if dtype is None else dtype
    images = torch.zeros(_BATCH, *input_shape, device=device, dtype=dtype)
    shapes: dict[str, tuple[int, ...]] = {}
    with evaluation_mode(network), _recording(network, shapes):
        try:
            flops = flops_by_module(network, images)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{type(network).__name__} cannot take images of {_size(input_shape)}: {str(error).splitlines()[0]}"
            ) from error
    return {name: count // _BATCH for name, count in flops.items()}, shapes


@contextmanager
def _recording(network: nn.Module, shapes: dict[str, tuple[int, ...]]) -> Iterator[None]:
    """Put the output shape of each unit into `shapes`; if it has several tensors, that of the last."""

    def hook(path: str):
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            parts = list(output.values()) if isinstance(output, Mapping) else output
            tensors = [
                part for part in (parts if isinstance(parts, tuple | list) else [parts]) if isinstance(part, Tensor)
            ]
            shapes[path] = tuple(tensors[-1].shape[1:]) if tensors else ()

        return record

    handles = [unit.register_forward_hook(hook(path)) for _, path, unit in _units(network)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _size(shape: Sequence[int] | None) -> str:
    return "-" if shape is None else " x ".join(map(str, shape))
