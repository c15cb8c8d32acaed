"""The table of milliseconds of a run: measured here, or handed over by another machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from dnas.core.architecture import Architecture, Kept
from dnas.core.run import Run
from dnas.cost.delivered import Delivered
from dnas.cost.flops import call_arguments
from dnas.cost.milliseconds import Milliseconds, measure_milliseconds
from dnas.cost.stopwatch import Stopwatch, measured
from dnas.jobs.job import Job
from dnas.system.devices import named_device
from dnas.system.display import Display
from dnas.system.errors import UserError

# Name of the file in a run folder.
FILE = "milliseconds.json"


def is_limited(job: Job) -> bool:
    """Whether the job's budget has a limit in milliseconds."""
    budget = job.search.budget
    return budget is not None and any(limit.unit == "milliseconds" for limit in budget.parsed)


def measure_table(
    delivered: Delivered,
    stopwatch: Stopwatch,
    device: torch.device,
    draw: Callable[[int], Architecture],
    display: Display,
) -> Milliseconds:
    """Measure the candidates and some whole networks on this machine.

    Args:
        delivered: the networks.
        stopwatch: measures them.
        device: where they run.
        draw: returns random architecture number 0, 1 ...
        display: shows progress and messages.
    """
    display.say(f"Measuring candidates and networks in {stopwatch.runtime} ...")
    table = measure_milliseconds(
        delivered.on(device),
        stopwatch,
        lambda index: draw(index).decisions,
        lambda done, total: display.update("measuring", done, total, {}),
    )
    display.say(f"Measured: {table}.")
    return table


def take_table(
    job: Job,
    delivered: Delivered,
    source: Path | None,
    draw: Callable[[int], Architecture],
    display: Display,
) -> Milliseconds:
    """The table of a new run: the given one, or one that is measured now.

    Raises:
        UserError: the given one is damaged, of other networks, or of another number of threads on this machine.
    """
    device, threads = named_device(job.device), job.threads or torch.get_num_threads()
    if source is None:
        return measure_table(delivered, Stopwatch(threads=threads), device, draw, display)
    table = Milliseconds.load(source)
    table.check_sizes(delivered, str(source))
    table.check_threads(device, threads, str(source))
    display.say(f"The table {source}: {table}.")
    if not table.is_of_here(device):
        display.say("It is of another machine: its predictions decide, and no network is measured here.")
    return table


def table_of(run: Run, delivered: Delivered) -> Milliseconds:
    """The table of a run.

    Raises:
        UserError: it is missing, damaged, or of networks of other sizes.
    """
    path = run.path / FILE
    if not path.exists():
        raise UserError(
            f"{run.path} has no table of milliseconds, since its search had no budget in them: make one of its "
            f"networks with dnas measure --output {path}, and the sizes of their retraining."
        )
    table = Milliseconds.load(path)
    table.check_sizes(delivered, str(path))
    return table


class MeasuredNetwork:
    """Measures built networks as a table was measured.

    Args:
        delivered: the networks.
        table: what they are compared with.
        device: of this machine.
    """

    def __init__(self, delivered: Delivered, table: Milliseconds, device: torch.device):
        self._delivered = delivered.on(device)
        self._stopwatch = Stopwatch(table.host.runtime, table.host.threads)

    def __call__(self, kept: Mapping[str, Kept]) -> float:
        arguments, _ = call_arguments(self._delivered.inputs)
        return measured(self._stopwatch.network(self._delivered.network(kept), arguments))
