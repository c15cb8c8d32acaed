"""Budgets on handwritten digits: does the found network meet its budget, how much of it is used, how good is it?

    python benchmarks/budgets.py OUT.jsonl [--seeds 0 1 2] [--ways lagrangian "no price" ...] [--limits 20 40 60]

Four choices among a 5x5, 3x3 and 1x1 convolution and a skip connection are searched on scikit-learn's digits (640 for
the weights, 640 for the alphas, 20 epochs), within shares of the costliest network's FLOPs; the found network is
trained anew three times on these 1,280 and measured on 512 others. A row is a line of JSON; rows that are there are
not made again. `ways` are how the expected cost is held: not at all, the augmented Lagrangian of dnas, the same with
odds to the power of 4 (nearer to what will be kept), and a projection of the alphas onto the budget after each step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from rows import complete
from sklearn.datasets import load_digits
from torch import Tensor, nn

from dnas import AlphaAdam, Argmax, Budget, Choice, Cosine, SearchSettings, Silent, WeightSGD, derive, search
from dnas.cost.bounds import Bounds
from dnas.cost.chances import ExpectedCosts
from dnas.cost.delivered import DerivedNetwork
from dnas.searching import execution
from dnas.searching.held_budget import HeldBudget
from dnas.searching.own_bounds import bounds_on

CHANNELS, BATCH, HALF = 16, 64, 640
EPOCHS, RETRAIN_EPOCHS, TRAININGS = 20, 30, 3


class Sharp(HeldBudget):
    """The augmented Lagrangian of odds to the power of 4."""

    def __init__(self, supernet, relaxation, bounds: Bounds, rules, *, steps_per_epoch):
        super().__init__(supernet, relaxation, bounds, rules, steps_per_epoch=steps_per_epoch)
        costs = [one.cost for one in bounds.ranges]
        self._expected = ExpectedCosts(supernet.decisions, costs, threshold=rules.threshold, sharpness=4.0)


class Projection(HeldBudget):
    """After each step the alphas are moved back to the budget, along the gradient of the expected cost.

    In the manner of HardCoRe-NAS (Nayman et al. 2021, https://arxiv.org/abs/2102.11646), whose steps stay within the
    constraint; there they are those of a Frank-Wolfe method.
    """

    def __call__(self, loss, alphas, mixtures, progress):
        self.progress = progress
        return loss

    def adapt(self) -> None:
        alphas = self.supernet.alphas
        for _ in range(10):
            expected = self.supernet.relaxed(alphas, lambda alpha: self.relaxation.expected(alpha, self.progress))
            excess = (self._expected(expected) / self._most - 1).sum()
            self._excess.copy_(excess.detach())
            if excess <= 0:
                return
            self.highest.fill_(1.0)
            slopes = torch.autograd.grad(excess, list(alphas.values()))
            square = sum(float((slope**2).sum()) for slope in slopes)
            with torch.no_grad():
                for alpha, slope in zip(alphas.values(), slopes, strict=True):
                    alpha -= float(excess) / square * slope


NO_PRICE = "no price"
WAYS = {"lagrangian": HeldBudget, "sharp": Sharp, "projection": Projection}


def conv(kernel: int) -> nn.Module:
    norm = nn.BatchNorm2d(CHANNELS, affine=False, track_running_stats=False)
    return nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=kernel // 2, bias=False), norm, nn.ReLU())


def model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    choices = [
        Choice(f"layer{index}", {"5x5": conv(5), "3x3": conv(3), "1x1": conv(1), "skip": nn.Identity()})
        for index in range(4)
    ]
    head = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * CHANNELS, 10))
    return nn.Sequential(nn.Conv2d(1, CHANNELS, 3, padding=1), nn.ReLU(), *choices, *head)


def batches(images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(images.split(BATCH), labels.split(BATCH), strict=True))


def one_row(way: str, limit: int, seed: int) -> dict:
    """One search, one training, one measurement."""
    digits: Any = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(seed))
    images = (torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16)[order]
    labels = torch.tensor(digits.target)[order]
    budget = Budget((f"flops<={limit}%",), priced=way != NO_PRICE)
    settings = SearchSettings(
        epochs=EPOCHS,
        budget=budget,
        weights=WeightSGD(lr=Cosine(0.05, 0.001)),
        alphas=AlphaAdam(lr=0.02),
        seed=seed,
        validate_every=0,
    )
    if way != NO_PRICE:
        execution.HeldBudget = WAYS[way]  # pyright: ignore[reportPrivateImportUsage]
    started = time.perf_counter()
    found = search(
        model(seed),
        batches(images[:HALF], labels[:HALF]),
        batches(images[HALF : 2 * HALF], labels[HALF : 2 * HALF]),
        settings=settings,
        display=Silent(),
    )
    seconds = time.perf_counter() - started
    bounds = bounds_on(DerivedNetwork(model(seed), torch.zeros(1, 1, 8, 8)), budget, Argmax())
    kept = found.architecture.decisions
    trained = batches(images[: 2 * HALF], labels[: 2 * HALF])
    measured = images[2 * HALF : 2 * HALF + 512], labels[2 * HALF : 2 * HALF + 512]
    accuracies = [
        train_and_measure(derive(model(100 + training), found.architecture), trained, *measured)
        for training in range(TRAININGS)
    ]
    return {
        "way": way,
        "limit": limit,
        "seed": seed,
        "flops": bounds.costs(kept)["flops"],
        "use": bounds.use(kept),
        "expected_use": found.metrics[-1].get("flops_use"),
        "kept": list(kept.values()),
        "accuracy": statistics.mean(accuracies),
        "accuracies": accuracies,
        "search_seconds": seconds,
    }


def train_and_measure(network: nn.Module, data: list[tuple[Tensor, Tensor]], images: Tensor, labels: Tensor) -> float:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, RETRAIN_EPOCHS)
    for _ in range(RETRAIN_EPOCHS):
        for inputs, targets in data:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).float().mean())


def table(rows: list[dict]) -> str:
    """Means over seeds, and what the larger of two neighbouring budgets brings."""
    lines = []
    for way in dict.fromkeys(row["way"] for row in rows):
        own = {(row["limit"], row["seed"]): row for row in rows if row["way"] == way}
        limits, seeds = (sorted({key[index] for key in own}) for index in (0, 1))
        for limit in limits:
            these = [own[limit, seed] for seed in seeds if (limit, seed) in own]
            uses = " ".join(f"{row['use']:.1%}" for row in these)
            accuracy = [row["accuracy"] for row in these]
            lines.append(f"{way:11} {limit:3d} %  use {uses:24} accuracy {statistics.mean(accuracy):.2%}")
        every: list[float] = []
        for smaller, larger in pairwise(limits):
            both = [seed for seed in seeds if (larger, seed) in own and (smaller, seed) in own]
            changes = [own[larger, seed]["accuracy"] - own[smaller, seed]["accuracy"] for seed in both]
            lines.append(f"{way:11} {smaller} to {larger} %: {change(changes)}")
            every += changes
        lines.append(f"{way:11} between neighbouring budgets: {change(every)}")
    return "\n".join(lines)


def change(differences: list[float]) -> str:
    """Mean and standard error of paired differences of accuracy."""
    error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else float("nan")
    return f"{statistics.mean(differences):+.2%}, standard error {error:.2%}, {len(differences)} pairs"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=[NO_PRICE, *WAYS], default=["lagrangian"])
    parser.add_argument("--limits", type=int, nargs="+", default=[20, 40, 60, 80, 100])
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [(w, limit, s) for s in options.seeds for w in options.ways for limit in options.limits]
    rows = complete(options.out, ("way", "limit", "seed"), wanted, lambda *key: [one_row(*key)], minutes=20 / 60)
    print(table(rows))


if __name__ == "__main__":
    main()
