"""What holding a budget adds to a search step, as a share of the step; one thread, the processor's time of it.

    python benchmarks/budget_step.py [--steps 40]

Steps with and without a budget take turns on the same supernets: the four choices of `budgets.py`, NAS-Bench-201 and
the space of DARTS, each small.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from budgets import model
from torch import nn

from dnas import Argmax, Budget, DartsSpace, NasBench201Space, SearchSettings, Supernet
from dnas.core.batch import Batch
from dnas.cost.delivered import DerivedNetwork
from dnas.searching.execution import Stepper
from dnas.searching.own_bounds import bounds_on


def step_seconds(made: nn.Module, shape: tuple[int, int, int], batch: int, steps: int) -> tuple[float, float]:
    """Median seconds of a step without and with a budget of half the FLOPs."""
    settings = SearchSettings(capture=False)
    bounds = bounds_on(DerivedNetwork(made, torch.zeros(1, *shape)), Budget(("flops<=50%",)), Argmax())
    steppers = [
        Stepper(Supernet(made), settings, say=print, bounds=own, steps_per_epoch=steps) for own in (None, bounds)
    ]
    data = Batch(torch.randn(batch, *shape), torch.randint(0, 10, (batch,)))
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(steps):
        for stepper, found in zip(steppers, seconds, strict=True):
            started = time.thread_time()
            stepper.take([data], data, 0.5)
            found.append(time.thread_time() - started)
    return statistics.median(seconds[0][3:]), statistics.median(seconds[1][3:])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    cases = {
        "four choices, 8x8, batch 64": (model(0), (1, 8, 8), 64),
        "NAS-Bench-201, 8 channels, 1 cell per stage, 16x16, batch 64": (
            NasBench201Space().model(channels=8, cells=1, num_classes=10),
            (3, 16, 16),
            64,
        ),
        "DARTS, 8 channels, 5 cells, 16x16, batch 32": (
            DartsSpace().model(channels=8, cells=5, num_classes=10),
            (3, 16, 16),
            32,
        ),
    }
    for name, (made, shape, batch) in cases.items():
        without, within = step_seconds(made, shape, batch, steps)
        print(f"{name}: {1e3 * without:.1f} ms, with a budget {1e3 * within:.1f} ms ({within / without - 1:+.1%})")


if __name__ == "__main__":
    main()
