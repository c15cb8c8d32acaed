"""`dnas measure`: a table of milliseconds, for budgets in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.parser import Command
from dnas.cli.shared import part_of
from dnas.cost.stopwatch import Runtime, Stopwatch
from dnas.jobs.milliseconds import measure_table
from dnas.space import DartsSpace, Space
from dnas.space.base import Stem
from dnas.space.delivered import NetworkSizes, SpaceNetwork
from dnas.system.devices import named_device
from dnas.system.display import RichDisplay
from dnas.system.errors import UserError
from dnas.training.baseline import draw_random


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured, and how.

    Args:
        output: file for the table; `dnas search --milliseconds` takes it.
        space: search space.
        channels: output channels of the first cells of the networks, as for `dnas retrain`.
        cells: number of cells of the networks, as for `dnas retrain`.
        num_classes: number of classes.
        in_channels: channels of an image: 3, or 1 for grey ones.
        image_size: height and width of an image in pixels.
        stem: layers before the cells: 'cifar' keeps the resolution of the images, 'imagenet' divides it by 8.
        runtime: 'torch', or 'onnxruntime' to run the networks as ONNX files on the CPU.
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:1'.
        threads: number of CPU threads of one network; by default all of PyTorch's.
    """

    output: Path = Path("milliseconds.json")
    space: Space = DartsSpace()
    channels: int = 36
    cells: int = 20
    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32
    stem: Stem = "cifar"
    runtime: Runtime = "torch"
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("channels", "cells", "num_classes", "in_channels", "image_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if self.threads is not None and self.threads < 1:
            raise UserError(f"threads must be at least 1; got {self.threads}.")


def _fill(parser: ArgumentParser) -> None:
    parser.add_class_arguments(MeasureOptions, None, sub_configs=False)


def _run(config: Namespace, given: Arguments) -> None:
    options = part_of(config, MeasureOptions)
    device = torch.device("cpu") if options.runtime == "onnxruntime" else named_device(options.device)
    sizes = NetworkSizes(
        options.channels,
        options.cells,
        options.num_classes,
        options.in_channels,
        options.image_size,
        stem=options.stem,
    )
    stopwatch = Stopwatch(options.runtime, options.threads or torch.get_num_threads())
    with RichDisplay() as display:
        delivered = SpaceNetwork(options.space, sizes)
        table = measure_table(delivered, stopwatch, device, lambda index: draw_random(options.space, 0, index), display)
        table.save(options.output)
        display.say(f"The table is {options.output}.")


COMMAND = Command("measure", _fill, _run)
