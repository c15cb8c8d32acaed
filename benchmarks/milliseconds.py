"""Predicted milliseconds against measured ones: NAS-Bench-201 and mobile networks, in PyTorch and onnxruntime.

    python benchmarks/milliseconds.py OUT.jsonl [--threads 1]

The networks are small (16 channels, 32x32 images, one at a time): the cell of NAS-Bench-201 with 5 cells per stage, and
`MobileSpace` with 3 layers in each of 3 stages, of 4 blocks each. Candidates are measured by themselves; constant and
scale are fitted on ten networks, and the error is of twenty others. A row is a line of JSON; rows of the same machine,
runtime and number of threads are not made again. The load of the machine before and after is in the row.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any, get_args

import torch
from rows import complete

from dnas import MobileSpace, NasBench201Space, Space
from dnas.cost.milliseconds import measure_milliseconds
from dnas.cost.stopwatch import Runtime, Stopwatch
from dnas.space.delivered import NetworkSizes, SpaceNetwork
from dnas.system.devices import device_name
from dnas.training.baseline import draw_random

CASES: dict[str, tuple[Space, NetworkSizes]] = {
    "nasbench201": (NasBench201Space(), NetworkSizes(16, 5, 10, 3, 32)),
    "mobile": (MobileSpace(), NetworkSizes(16, 4, 10, 3, 32)),
}


def one_row(name: str, runtime: Runtime, threads: int) -> dict[str, Any]:
    space, sizes = CASES[name]
    before, started = os.getloadavg()[0], time.perf_counter()
    delivered = SpaceNetwork(space, sizes, "cpu")
    table = measure_milliseconds(
        delivered, Stopwatch(runtime, threads), lambda index: draw_random(space, 0, index).decisions
    )
    signed = [p / m - 1 for p, m in zip(table.fit.predicted, table.fit.measured, strict=True)]
    return {
        "space": name,
        "runtime": runtime,
        "device": table.host.device,
        "threads": threads,
        "mean_error": table.fit.mean_error,
        "largest_error": table.fit.largest_error,
        "mean_signed_error": statistics.mean(signed),
        "predicted": table.fit.predicted,
        "measured": table.fit.measured,
        "load": [before, os.getloadavg()[0]],
        "seconds": time.perf_counter() - started,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    here = device_name(torch.device("cpu"))
    wanted = [(name, runtime, here, options.threads) for name in CASES for runtime in get_args(Runtime)]
    rows = complete(
        options.out,
        ("space", "runtime", "device", "threads"),
        wanted,
        lambda name, runtime, _, threads: [one_row(name, runtime, threads)],
        minutes=0.7,
    )
    for row in rows:
        print(
            f"{row['space']:12} {row['runtime']:12} {row['device']}, {row['threads']} thread(s), load "
            f"{row['load'][0]:.0f} to {row['load'][1]:.0f}: off by {row['mean_error']:.1%} on average, "
            f"{row['largest_error']:.1%} at most, {row['mean_signed_error']:+.1%} in the mean; networks of "
            f"{min(row['measured']):.2f} to {max(row['measured']):.2f} ms"
        )


if __name__ == "__main__":
    main()
