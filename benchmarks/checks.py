"""What the checks of a step cost: steps of a search and of a training with and without them, in turns of one process.

    python benchmarks/checks.py --pairs 40

Times are those of the thread's own CPU, so that other work on the machine disturbs both ways alike. A line says the
median of the pairs' differences in percent of a step, with the interval of order statistics that holds it with 95 %.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from math import sqrt
from statistics import median

import torch
from torch.nn.utils import get_total_norm

import dnas
from dnas.core.batch import Batch
from dnas.data.iterable_batches import IterableBatches
from dnas.searching.loop import SearchLoop
from dnas.searching.supernet import Supernet
from dnas.space import DartsSpace
from dnas.system.display import Silent
from dnas.system.processor import processor_name
from dnas.task import Classification
from dnas.training.loop import TrainingLoop

BATCH = 32


def batches() -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [
        Batch(torch.randn(BATCH, 3, 16, 16, generator=generator), torch.randint(0, 10, (BATCH,), generator=generator))
        for _ in range(4)
    ]


def cpu_seconds(work: Callable[[], object]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def say(name: str, without: Callable[[], object], checked: Callable[[], object], pairs: int) -> None:
    """Take steps of both ways in turns, each first in every second pair, and print the difference."""
    without()
    checked()
    shares, seconds = [], []
    for pair in range(pairs):
        ways = (without, checked) if pair % 2 else (checked, without)
        taken = {way: cpu_seconds(way) for way in ways}
        shares.append(100 * (taken[checked] - taken[without]) / taken[without])
        seconds.append(taken[without])
    shares.sort()
    away = round(0.98 * sqrt(pairs))  # 1.96 standard deviations of a binomial number with p = 1/2
    low, high = shares[max(pairs // 2 - away, 0)], shares[min(pairs // 2 + away, pairs - 1)]
    print(
        f"{name}: a step takes {1000 * median(seconds):.1f} ms; with checks {median(shares):+.2f} % "
        f"({low:+.2f} to {high:+.2f} %, {pairs} pairs)",
        flush=True,
    )


def of_search(pairs: int) -> None:
    space, settings = DartsSpace(nodes=2), dnas.SearchSettings(epochs=1)
    supernet = Supernet(space.model(channels=8, cells=3, num_classes=10), task=Classification(), seed=0)
    data = IterableBatches(batches())
    loop = SearchLoop(
        supernet,
        train=data,
        val=data,
        validation=data,
        settings=settings,
        stage=0,
        stamp=space.architecture,
        run=None,
        observers=(),
        display=Silent(),
    )
    weight_batch, alpha_batch = batches()[:2]
    checks = loop.first_batches.checks
    given = [(checks["train"], 0, weight_batch), (checks["val"], 0, alpha_batch)]
    say(
        "search",
        lambda: loop.stepper.take([weight_batch], alpha_batch, 0.0),
        lambda: loop._taken(given, [weight_batch], alpha_batch, 1),
        pairs,
    )


def of_training(pairs: int) -> None:
    space = DartsSpace(nodes=2)
    network = space.network(
        space.random(torch.Generator().manual_seed(0)), channels=16, cells=5, num_classes=10, in_channels=3
    )
    settings = dnas.RetrainSettings(epochs=1, auxiliary=False)
    loop = TrainingLoop(
        network, IterableBatches(batches()), settings, None, Silent(), "retrain", None, Classification()
    )
    step, batch = loop.training_step, batches()[0]
    given = [(loop.batch_check, 0, batch)]

    def checked() -> None:
        loop.finiteness.taken(
            given, lambda: step.take(batch, 0.0, is_first=False), wrong_with=loop._wrong_with, when="now"
        )

    say("training", lambda: step.take(batch, 0.0, is_first=False), checked, pairs)
    gradients = [weight.grad for weight in loop.weights if weight.grad is not None]
    norm = median(cpu_seconds(lambda: float(get_total_norm(gradients))) for _ in range(pairs))
    print(f"training: the norm of its gradient, which every step takes, {1000 * norm:.2f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="What the checks of a step cost.")
    parser.add_argument("--pairs", type=int, default=40)
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    print(f"{processor_name()}, one thread, torch {torch.__version__}")
    of_search(pairs)
    of_training(pairs)


if __name__ == "__main__":
    main()
