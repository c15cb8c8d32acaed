"""A search step of the DARTS supernet by one process and by several: time, and what they send each other.

    python benchmarks/ranks.py --output ranks.jsonl
    torchrun --nproc-per-node 2 benchmarks/ranks.py --output ranks.jsonl

Each call adds a row for each batch (all ranks' rows together): strong scaling compares rows of one batch, weak scaling
those of one batch for each rank. Beside the clock stands the CPU time of a process, which does not count what else runs
on the machine, nor what a rank waits for others. Needs torch and numpy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs where dnas is not installed

from rows import append_rows  # noqa: E402

from dnas import DartsSpace, FirstOrder, OneStep, SearchSettings, Supernet  # noqa: E402
from dnas.core.batch import Batch  # noqa: E402
from dnas.data.iterable_batches import IterableBatches  # noqa: E402
from dnas.data.rank_rows import rows_of  # noqa: E402
from dnas.distributed.batch_norm import batch_norm_over_ranks  # noqa: E402
from dnas.distributed.together import together  # noqa: E402
from dnas.searching.execution import Stepper  # noqa: E402
from dnas.system.processor import processor_name  # noqa: E402

sent = {"messages": 0, "bytes": 0}


def main() -> None:
    """Measure a step for each batch and add the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("ranks.jsonl"))
    parser.add_argument("--batches", type=int, nargs="+", default=(32, 64), help="images of all ranks together")
    parser.add_argument("--sizes", type=int, nargs=3, default=(8, 5, 16), metavar=("CHANNELS", "CELLS", "PIXELS"))
    parser.add_argument("--order", type=int, choices=(1, 2), default=1)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--own_batch_norm", action="store_true", help="each rank normalises by its own rows")
    given = parser.parse_args()
    _count_messages()
    with together() as ranks, batch_norm_over_ranks(not given.own_batch_norm):
        for batch in given.batches:
            row = measured(batch, *given.sizes, order=given.order, steps=given.steps)
            row |= {"ranks": ranks.size, "synchronised": not given.own_batch_norm}
            if ranks.is_first:
                append_rows(given.output, [row])
                print(row, flush=True)


def measured(batch: int, channels: int, cells: int, pixels: int, *, order: int, steps: int) -> dict[str, Any]:
    """The median step of a search with this batch."""
    torch.manual_seed(0)
    model = DartsSpace().model(channels=channels, cells=cells, num_classes=10, in_channels=3)
    settings = SearchSettings(hypergradient=FirstOrder() if order == 1 else OneStep(), capture=False)
    stepper = Stepper(Supernet(model), settings, say=print)
    whole = [Batch(torch.randn(batch, 3, pixels, pixels), torch.randint(0, 10, (batch,)))] * 2
    train, val = rows_of(IterableBatches(whole)).epoch(0)
    stepper.take([train], val, 0.0)  # the first step makes the optimizer's state
    sent.update(messages=0, bytes=0)
    by_clock, by_cpu = [], []
    for _ in range(steps):
        began, cpu = time.perf_counter(), time.process_time()
        stepper.take([train], val, 0.0)
        by_clock.append(time.perf_counter() - began)
        by_cpu.append(time.process_time() - cpu)
    return {
        "batch": batch,
        "channels": channels,
        "cells": cells,
        "pixels": pixels,
        "order": order,
        "seconds": statistics.median(by_clock),
        "cpu_seconds": min(by_cpu),
        "steps": steps,
        **{name: number / steps for name, number in sent.items()},
        "weights": sum(weight.numel() for weight in model.parameters()),
        "load": os.getloadavg()[0],
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
    }


def _count_messages() -> None:
    """Let the sums over ranks be counted."""
    all_reduce = dist.all_reduce

    def counted(tensor: torch.Tensor, *arguments: Any, **keywords: Any) -> Any:
        sent["messages"] += 1
        sent["bytes"] += tensor.numel() * tensor.element_size()
        return all_reduce(tensor, *arguments, **keywords)

    dist.all_reduce = counted


if __name__ == "__main__":
    main()
