"""The compute of a run, which its opponents may spend too: counted while commands work, in RUN/compute.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch

from dnas.core.run import Run
from dnas.distributed.ranks import ranks
from dnas.finalists.contest import FOLDER
from dnas.system.compute import compute_clock
from dnas.system.devices import device_name
from dnas.system.errors import UserError

FILE = "compute"  # name of the JSON file


class Spent(NamedTuple):
    """The compute of a run so far.

    Args:
        seconds: CPU seconds of the process, or seconds of the device (`dnas.system.compute`).
        is_whole: whether no part is missing; a process that was killed could not write what it had spent.
        processor: where they were spent; empty where it was not noted.
        flops: of all trainings of an opponent (`Contest.training_flops`); None where they were not counted.
    """

    seconds: float
    is_whole: bool
    processor: str = ""
    flops: float | None = None


def spent_in(run: Run) -> Spent | None:
    """The compute of a run, with that of the workers that trained its finalists; None where it was not counted.

    Raises:
        UserError: a file is damaged.
    """
    own = _own(run)
    if own is None:
        return None
    parts = [own]
    for path in sorted((run.path / FOLDER).glob(f"*/{FILE}.json")):
        part = _own(Run(path.parent))
        assert part is not None
        parts.append(part)
    return own._replace(
        seconds=sum(part.seconds for part in parts),
        is_whole=all(part.is_whole for part in parts),
        processor=" and ".join(sorted({part.processor for part in parts} - {""})),
    )


def _own(run: Run) -> Spent | None:
    """What the processes that worked in this folder itself have spent."""
    path = run.path / f"{FILE}.json"
    if not path.exists():
        return None
    data = run.load_json(FILE)
    if not isinstance(data, Mapping) or not isinstance(data.get("seconds"), float):
        raise UserError(f"{path} must hold the seconds of compute of the run; got {data!r}.")
    is_whole = bool(data.get("is_whole")) and not data.get("is_open")
    flops = data.get("flops")
    if not isinstance(flops, float | None):
        raise UserError(f"{path}: flops must be a number; got {flops!r}.")
    return Spent(data["seconds"], is_whole, str(data.get("processor", "")), flops)


@contextmanager
def counted(run: Run, device: torch.device, *, before: float = 0.0) -> Iterator[None]:
    """Add the compute of the block to that of the run, also where the block is left by an error or Ctrl-C.

    Args:
        run: the folder.
        device: where the work is done.
        before: seconds that were spent before the block and belong to it, for planning.
    """
    so_far = _own(run) or Spent(0.0, True)
    clock = compute_clock(device)
    started = clock()
    kept = {"is_whole": so_far.is_whole, "processor": device_name(device)}
    run.save_json(FILE, {"seconds": so_far.seconds, **kept, "is_open": True})
    try:
        yield
    finally:
        # Ranks work in step, so each spends what this one does.
        seconds = so_far.seconds + before + (clock() - started) * ranks().size
        run.save_json(FILE, {"seconds": seconds, **kept, "is_open": False})


def compute_to_spend(run: Run, device: torch.device) -> float:
    """The seconds of compute that an opponent of a run's search may spend on this device.

    Where a killed process left a part uncounted, the duration of the search by the clock stands for it, if that is
    longer: in the opponent's favour.

    Raises:
        UserError: the run does not say how much compute its search took, or it took them on another processor.
    """
    spent = spent_in(run)
    by_the_clock = run.load_json("search") if (run.path / "search.json").exists() else {}
    if spent is None or "seconds" not in by_the_clock:
        raise UserError(
            f"{run.path} does not say how much compute its search took, so that opponents could have the same: it was "
            "made before that was counted, or is not finished. Search again in another folder."
        )
    if spent.processor not in ("", device_name(device)):
        raise UserError(
            f"The search in {run.path} ran on {spent.processor}, and this is {device_name(device)}: seconds of one are "
            "not the compute of the other. Let its opponents run on the same kind of machine."
        )
    return spent.seconds if spent.is_whole else max(spent.seconds, float(by_the_clock["seconds"]))
