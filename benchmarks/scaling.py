"""Time and memory of a search step over batch size, channels, cells and image size, and the law that they follow.

    python benchmarks/scaling.py --output scaling.jsonl

From a base setting one size is changed at a time; `--all-combinations` measures the whole grid. Every point runs in a
process of its own, so that its peak of memory is its own, and adds a row to the output; points that the file already
has for this device and number of threads are passed over, so that a stopped run goes on. `--table` prints what the
file holds and measures nothing. Needs torch and numpy.

The laws are

    seconds = a cells + b batch pixels channels^p cells
    bytes   = a       + b batch pixels channels^p cells

with the a, b and p of least squares of the relative errors, over all points of one device, number of threads and
order. What a step takes besides its work, calling thousands of operations, goes with the cells. The law goes by the
best of each point's steps, since what else runs on a machine only adds to them, and on one thread of a CPU by the time
that the process had the CPU, which says what an idle machine would take. Where cores are shared give OMP_NUM_THREADS=1:
threads that wait for each other cost many times what they bring.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs where dnas is not installed

from rows import append_rows, read_rows  # noqa: E402

from dnas.data import image_kind  # noqa: E402
from dnas.jobs.job import Job  # noqa: E402
from dnas.jobs.planning.trial import Trial  # noqa: E402
from dnas.jobs.profile.values import Timing  # noqa: E402
from dnas.method.hypergradient import FirstOrder, OneStep  # noqa: E402
from dnas.searching.settings import SearchSettings  # noqa: E402
from dnas.system.devices import device_name  # noqa: E402
from dnas.system.memory import peak_memory, reset_peak_memory  # noqa: E402
from dnas.system.peak import measured_seconds  # noqa: E402

NUM_CLASSES = 10
VARIED = ("batch", "channels", "cells", "size")
# Steps of a point end early when they have taken this long.
SECONDS_PER_POINT = 10.0
# A point whose process takes longer than this is given up.
TIMEOUT = 600.0


@dataclass(frozen=True)
class Point:
    """One setting of the DARTS supernet; `size` is the height and width of the images in pixels."""

    batch: int
    channels: int
    cells: int
    size: int
    order: int
    device: str


def main() -> None:
    """Measure what is missing, then print the table and the laws."""
    arguments = _parser().parse_args()
    if arguments.point is not None:
        print(json.dumps(measure(Point(**json.loads(arguments.point)), arguments.repeats)))
        return
    if not arguments.table:
        for point in missing(points(arguments), read_rows(arguments.output)):
            _append(arguments.output, measure_apart(point, arguments.repeats))
    rows = read_rows(arguments.output)
    print(table(rows))
    for group in groups(rows):
        print()
        print(laws(group))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("scaling.jsonl"), help="file to which rows are added")
    parser.add_argument("--table", action="store_true", help="measure nothing, print what the file holds")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--order", type=int, choices=(1, 2), default=1, help="of the hypergradient")
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed for each point, after one not")
    parser.add_argument(
        "--base", type=int, nargs=4, default=(8, 8, 5, 32), metavar=("BATCH", "CHANNELS", "CELLS", "SIZE")
    )
    parser.add_argument("--batch", type=int, nargs="*", default=(16, 32, 64))
    parser.add_argument("--channels", type=int, nargs="*", default=(4, 16, 32))
    parser.add_argument("--cells", type=int, nargs="*", default=(3, 8, 14))
    parser.add_argument("--size", type=int, nargs="*", default=(64, 128, 224))
    parser.add_argument("--all-combinations", action="store_true", help="instead of one size at a time")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    return parser


def points(arguments: argparse.Namespace) -> list[Point]:
    """The settings to measure, the cheap ones first."""
    batch, channels, cells, size = arguments.base
    base = Point(batch, channels, cells, size, arguments.order, arguments.device)
    values = {name: sorted({getattr(base, name), *getattr(arguments, name)}) for name in VARIED}
    if arguments.all_combinations:
        found = [replace(base, **dict(zip(VARIED, v, strict=True))) for v in itertools.product(*values.values())]
    else:
        found = [replace(base, **{name: value}) for name in VARIED for value in values[name]]
    return sorted(dict.fromkeys(found), key=lambda point: point.batch * point.size**2 * point.channels * point.cells)


def missing(wanted: Iterable[Point], rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """The points that no row has for this hardware and number of threads."""
    done = {(Point(**row["point"]), row["hardware"]) for row in rows}
    return [point for point in wanted if (point, device_name(torch.device(point.device))) not in done]


def measure_apart(point: Point, repeats: int) -> dict[str, Any]:
    """The row of a point, measured in a process of its own; one that fails or takes too long has an 'error'."""
    command = [sys.executable, __file__, "--point", json.dumps(asdict(point)), "--repeats", str(repeats)]
    row = {"point": asdict(point), "hardware": device_name(torch.device(point.device)), **_circumstances()}
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return {**row, "error": f"took longer than {TIMEOUT:.0f} s"}
    if answer.returncode != 0:
        last = answer.stderr.strip().splitlines()[-1:] or [f"ended with status {answer.returncode}"]
        return {**row, "error": last[0]}
    return {**row, **json.loads(answer.stdout)}


def measure(point: Point, repeats: int) -> dict[str, Any]:
    """Seconds of a search step, and bytes at its peak, in this process."""
    device = torch.device(point.device)
    settings = SearchSettings(hypergradient=FirstOrder() if point.order == 1 else OneStep())
    job = Job(image_size=point.size, channels=point.channels, cells=point.cells, search=settings)
    reset_peak_memory(device)
    before = peak_memory(device)
    kind = image_kind(tuple(map(str, range(NUM_CLASSES))), channels=3, size=point.size)
    trial = Trial(job, kind, batch_size=point.batch, device=device)
    measured_seconds(trial.step, device)  # not counted: memory is allocated and kernels are chosen
    seconds: list[float] = []
    cpu_seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < SECONDS_PER_POINT:
        started = time.process_time()
        seconds.append(measured_seconds(trial.step, device))
        cpu_seconds.append(time.process_time() - started)
    return {
        "seconds": asdict(Timing.of(seconds)),
        "cpu_seconds": min(cpu_seconds),
        "best_seconds": min(cpu_seconds if device.type == "cpu" and torch.get_num_threads() == 1 else seconds),
        "steps": len(seconds),
        "memory": peak_memory(device),
        "memory_before": before,
    }


def _circumstances() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "commit": commit.stdout.strip() or "unknown",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _append(path: Path, row: Mapping[str, Any]) -> None:
    append_rows(path, [row])
    print(json.dumps(row), file=sys.stderr, flush=True)


# The law


@dataclass(frozen=True)
class Law:
    """value = a + b batch pixels channels^p cells, or a cells + ... where the fixed part goes with the cells.

    Args:
        a, b, p: as above.
        per_cell: whether a is multiplied by the cells.
        mean_error: root of the mean square of (law - value) / value over the points.
        largest_error: largest of its magnitudes.
    """

    a: float
    b: float
    p: float
    per_cell: bool
    mean_error: float
    largest_error: float

    def __call__(self, point: Point) -> float:
        fixed, work, channels = _terms(point, self.per_cell)
        return self.a * fixed + self.b * work * channels**self.p

    def to_text(self, name: str, unit: str) -> str:
        fixed = f"{self.a:.3g} cells" if self.per_cell else f"{self.a:.3g}"
        return (
            f"{name} in {unit} = {fixed} + {self.b:.3g} batch pixels channels^{self.p:.2f} cells; relative error "
            f"{self.mean_error:.0%} (root mean square), {self.largest_error:.0%} at most"
        )


def _terms(point: Point, per_cell: bool) -> tuple[int, int, int]:
    """What a and b are multiplied by, and the channels."""
    return point.cells if per_cell else 1, point.batch * point.size**2 * point.cells, point.channels


def fit(measured: Mapping[Point, float], *, per_cell: bool) -> Law:
    """The law with the least squares of relative errors; p is searched from 0 to 2 in steps of 0.01.

    Raises:
        ValueError: fewer than four points, which three unknowns would fit whatever they are.
    """
    if len(measured) < 4:
        raise ValueError(f"A law with three unknowns needs at least four points to be tested by; got {len(measured)}.")
    value = np.array(list(measured.values()))
    fixed, work, channels = np.array([_terms(point, per_cell) for point in measured], dtype=float).T
    best: Law | None = None
    for p in np.arange(0, 2.005, 0.01):
        # Divided by the value, so that a small point counts like a large one.
        columns = np.stack([fixed / value, work * channels**p / value], axis=1)
        (a, b), *_ = np.linalg.lstsq(columns, np.ones_like(value), rcond=None)
        error = columns @ (a, b) - 1
        mean_error, largest_error = float(np.sqrt((error**2).mean())), float(np.abs(error).max())
        if best is None or mean_error < best.mean_error:
            best = Law(float(a), float(b), float(p), per_cell, mean_error, largest_error)
    assert best is not None
    return best


def groups(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Rows of one device, number of threads and order; those that failed are left out."""
    found: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        if "error" not in row:
            found.setdefault((row["hardware"], row["point"]["order"]), []).append(row)
    return list(found.values())


def laws(rows: Sequence[Mapping[str, Any]]) -> str:
    """Both laws of one group of rows in words."""
    head = f"{rows[0]['hardware']}, order {rows[0]['point']['order']}, {len(rows)} points"
    if len(rows) < 4:
        return f"{head}: too few for a law."
    seconds = fit({Point(**row["point"]): row["best_seconds"] for row in rows}, per_cell=True)
    memory = fit({Point(**row["point"]): float(row["memory"]) for row in rows}, per_cell=False)
    return "\n".join([head, seconds.to_text("time", "s"), memory.to_text("memory", "bytes")])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of all rows."""
    lines = [
        "| order | image | batch | channels | cells | step, s | median (low to high) by the clock | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        point = Point(**row["point"])
        start = f"| {point.order} | {point.size} | {point.batch} | {point.channels} | {point.cells} | "
        if "error" in row:
            lines.append(f"{start}{row['error']} | | |")
            continue
        best, clock = row["best_seconds"], row["seconds"]
        digits = max(0, 2 - math.floor(math.log10(best)))
        first, *times = [f"{value:.{digits}f}" for value in (best, clock["median"], clock["low"], clock["high"])]
        lines.append(f"{start}{first} | {times[0]} ({times[1]} to {times[2]}) | {row['memory'] / 2**20:.0f} MiB |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
