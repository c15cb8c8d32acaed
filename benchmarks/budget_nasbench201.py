"""Budgets on NAS-Bench-201: one search and its front of five, one search within a budget, random ones beside them.

    python benchmarks/cifar16.py CIFAR10 cifar16.npz
    dnas table NB201 nb201.npz
    python benchmarks/budget_nasbench201.py OUT.jsonl --data cifar16.npz --table nb201.npz --folder RUNS [--seeds 0 1]

The supernet has 8 channels and 1 cell per stage, on 16x16 images in batches of 64, for one epoch over 25,000 images for
the weights and 25,000 for the alphas (`default` recipe, alphas' rate 0.003); the budget is about the networks of the
table (16 channels, 5 cells per stage). Found networks are looked up in the table. Regret is the best `test200_c10`
within the budget, over the whole table, minus that of the network.

Random architectures come from `dnas.cost.drawing` for the same budget. "The same compute" is the processor's time of
the search within a budget: while it lasts, networks are drawn and trained at the search's sizes for as many epochs over
one half of the images, and the one is chosen that is best on the other half. The closed form has the expected test
accuracy of the best of so many draws if `valid200_c10` chooses (200 epochs for each, which no one has paid for): a
bound on what random search with so many draws can do.

A row is a line of JSON; rows that are there are not made again, and finished runs in RUNS are taken as they are.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from rows import complete
from torch import Tensor, nn

from dnas import Argmax, Budget, NasBench201Space
from dnas.core.architecture import Architecture
from dnas.cost.bounds import Bounds
from dnas.cost.drawing import BandDraws
from dnas.data import load_source
from dnas.formats import read_nasbench201, write_nasbench201
from dnas.searching.own_bounds import bounds_on
from dnas.space.delivered import NetworkSizes, SpaceNetwork
from dnas.table import load_table
from dnas.table.order import NUM_ARCHITECTURES
from dnas.table.table import Table

SPACE = NasBench201Space()
SMALL = {"channels": 8, "cells": 1}
IMAGE_SIZE, BATCH, EPOCHS, HALF = 16, 64, 1, 25_000
ALPHAS_LR = 0.003  # ten times the recipe's, for a search of a thirtieth of the usual length
# Percent of the costliest network's FLOPs: just enough for one, two ... five 3x3 convolutions among the six edges.
LIMITS, DIRECT = (20, 36, 52, 68, 84), 52
TEST, VALIDATION = "test200_c10", "valid200_c10"
MINUTES_OF_A_SEED = 3  # of one core, estimated


class Files(NamedTuple):
    """Where data are read and runs are written."""

    data: Path
    folder: Path


def bounds(limit: int) -> Bounds:
    """A budget in FLOPs, in percent, on the networks of the table."""
    delivered = SpaceNetwork(SPACE, NetworkSizes(16, 5, 10, 3, IMAGE_SIZE))
    return bounds_on(delivered, Budget((f"flops<={limit}%",)), Argmax())


def dnas(*words: object) -> float:
    """Run a command; returns the processor's seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "dnas", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def searched(files: Files, seed: int, name: str, *words: str) -> tuple[Path, float]:
    """A search, unless it is there: its folder and the processor's seconds of it."""
    run, taken = files.folder / f"{name}-{seed}", files.folder / f"{name}-{seed}.seconds"
    if not taken.exists():
        sizes = (f"--{key}={value}" for key, value in SMALL.items())
        settings = (f"--search.epochs={EPOCHS}", f"--batch_size={BATCH}", f"--image_size={IMAGE_SIZE}", "--threads=1")
        settings = (*settings, f"--search.alphas.lr={ALPHAS_LR}")
        networks = ("--retrain.channels=16", "--retrain.cells=5", "--search.validate_every=0")
        space = ("--space=dnas.NasBench201Space", f"--data={files.data}", f"--seed={seed}", f"--run={run}")
        taken.write_text(str(dnas("search", *space, *sizes, *settings, *networks, *words)))
    return run, float(taken.read_text())


def front_rows(files: Files, seed: int) -> list[dict[str, Any]]:
    run, seconds = searched(files, seed, "free")
    dnas("front", run, "--budget", "flops", "--at", *(f"{limit}%" for limit in LIMITS))
    return [
        _row("front", seed, limit, Architecture.load(run / "front" / "flops" / f"{number}.json"), seconds)
        for number, limit in enumerate(LIMITS, start=1)
    ]


def direct_rows(files: Files, seed: int) -> list[dict[str, Any]]:
    run, seconds = searched(files, seed, "within", f"--budget=flops<={DIRECT}%")
    return [_row("searched", seed, DIRECT, Architecture.load(run / "architecture.json"), seconds)]


def drawn_rows(files: Files, seed: int) -> list[dict[str, Any]]:
    """Random networks, trained while the processor's time of the search within the budget lasts."""
    _, seconds = searched(files, seed, "within", f"--budget=flops<={DIRECT}%")
    source = load_source(str(files.data)).train
    order = torch.randperm(len(source.targets), generator=torch.Generator().manual_seed(seed))
    images = (source.inputs[order].float() / 255 - 0.5) / 0.25
    labels = source.targets[order]
    draw, rows = BandDraws(bounds(DIRECT)), []
    spent = 0.0
    while not rows or spent * (1 + 1 / len(rows)) <= seconds:
        architecture = SPACE.architecture(draw(Random(1000 * seed + len(rows))))
        accuracy, own = trained(architecture, images, labels, seed=len(rows))
        rows.append(_row("drawn", seed, DIRECT, architecture, own) | {"held_out": accuracy})
        spent += own
    return rows


def trained(architecture: Architecture, images: Tensor, labels: Tensor, *, seed: int) -> tuple[float, float]:
    """Train on one half: accuracy on the other half, and the processor's seconds."""
    started = time.process_time()
    torch.manual_seed(seed)
    network = SPACE.network(architecture, num_classes=10, **SMALL).to(memory_format=torch.channels_last)  # pyright: ignore
    optimizer = torch.optim.SGD(network.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)
    steps = EPOCHS * (HALF // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, 0.001)
    for _ in range(EPOCHS):
        for part in torch.randperm(HALF).split(BATCH)[: HALF // BATCH]:
            x_NCHW = images[part]
            flipped = torch.rand(len(part)) < 0.5
            x_NCHW[flipped] = x_NCHW[flipped].flip(3)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits(network, x_NCHW), labels[part]).backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        right = sum(
            int((logits(network, x).argmax(1) == y).sum())
            for x, y in zip(images[HALF:].split(500), labels[HALF:].split(500), strict=True)
        )
    return right / (len(images) - HALF), time.process_time() - started


def logits(network: nn.Module, x: Tensor) -> Tensor:
    out = network(x)
    return out[0] if isinstance(out, tuple) else out


def _row(kind: str, seed: int, limit: int, architecture: Architecture, seconds: float) -> dict[str, Any]:
    return {
        "kind": kind,
        "seed": seed,
        "limit": limit,
        "architecture": write_nasbench201(architecture),
        "use": bounds(limit).use(architecture.decisions),
        "seconds": seconds,
    }


PARTS: dict[str, Callable[[Files, int], list[dict[str, Any]]]] = {
    "front": front_rows,
    "searched": direct_rows,
    "drawn": drawn_rows,
}


# What the rows say


def best_of(num: float, places: Sequence[tuple[float, float, float]]) -> float:
    """The expected value of the best of some draws.

    Args:
        num: number of draws; 1 or more.
        places: (probability, what chooses, value) of each architecture.
    """
    total, above, expected = sum(p for p, *_ in places), 0.0, 0.0
    for p, _, value in sorted(places, key=lambda place: -place[1]):
        # That the best of all draws is this one: none is above, and not all are below.
        expected += value * ((1 - above / total) ** num - max(1 - (above + p) / total, 0.0) ** num)
        above += p
    return expected


def distribution(limit: int, benchmark: Table) -> list[tuple[float, float, float]]:
    """Probability, validation and test accuracy of each architecture that a draw can give."""
    draws = BandDraws(bounds(limit))
    found = []
    for items, weight in zip(draws._fitting or (), draws._weights, strict=True):  # pyright: ignore[reportPrivateUsage]
        architecture = SPACE.architecture(draws._kept(items))  # pyright: ignore[reportPrivateUsage]
        found.append((weight, benchmark.accuracy(architecture, VALIDATION), benchmark.accuracy(architecture, TEST)))
    return found


def report(rows: list[dict[str, Any]], benchmark: Table) -> str:
    every = [benchmark.architecture(row) for row in range(NUM_ARCHITECTURES)]
    values = [benchmark.accuracy(architecture, TEST) for architecture in every]
    seconds = statistics.mean(row["seconds"] for row in rows if row["kind"] == "searched")
    draws = seconds / statistics.mean(row["seconds"] for row in rows if row["kind"] == "drawn")
    lines = [f"A search takes {seconds:.0f} s of the processor, as long as training {draws:.1f} random networks."]
    for limit in LIMITS:
        own = bounds(limit)
        best = max(value for value, kept in zip(values, every, strict=True) if own.fits(kept.decisions))
        lines.append(f"flops<={limit}%: the best of the table has {best:.2f}; regret:")
        for kind in ("front", "searched"):
            if these := [row for row in rows if (row["kind"], row["limit"]) == (kind, limit)]:
                lines.append(_line(kind, best, these, benchmark))
        if limit == DIRECT:
            lines.append(_line("random, chosen by held-out images", best, chosen(rows), benchmark))
        spread = distribution(limit, benchmark)
        bound = ", ".join(f"{best - best_of(n, spread):.2f} (best of {n:.1f})" for n in (1.0, max(draws, 1.0)))
        lines.append(f"  random, expected, chosen by {VALIDATION}: {bound}")
    return "\n".join(lines)


def chosen(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each seed's draws the one that is best on held-out images."""
    drawn = [row for row in rows if row["kind"] == "drawn"]
    seeds = sorted({row["seed"] for row in drawn})
    return [max((row for row in drawn if row["seed"] == seed), key=lambda row: row["held_out"]) for seed in seeds]


def _line(kind: str, best: float, rows: list[dict[str, Any]], benchmark: Table) -> str:
    regrets = [best - benchmark.accuracy(read_nasbench201(row["architecture"]), TEST) for row in rows]
    uses = ", ".join(f"{row['use']:.1%}" for row in rows)
    return f"  {kind}: {', '.join(f'{x:.2f}' for x in regrets)}; mean {statistics.mean(regrets):.2f}; use {uses}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = Files(options.data, options.folder)
    options.folder.mkdir(parents=True, exist_ok=True)
    wanted = [(kind, seed) for seed in options.seeds for kind in PARTS]
    rows = complete(
        options.out,
        ("kind", "seed"),
        wanted,
        lambda kind, seed: PARTS[kind](files, seed),
        minutes=MINUTES_OF_A_SEED / len(PARTS),
    )
    print(report(rows, load_table(options.table)))


if __name__ == "__main__":
    main()
