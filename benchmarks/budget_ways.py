"""How a budget is held during a search: four ways on problems whose best architecture is known.

    python benchmarks/budget_ways.py OUT.jsonl [--instances 4]

Eight choices have four candidates each, with random gains and costs (parameters); the loss is minus the mean gain of
the mixtures. So the gain of an architecture is a sum, as its cost is, and trying all 65,536 finds the best in a budget
of 30, 50 or 70 %. Each way takes 200 steps of Adam on the alphas (20 epochs of 10) from equal ones:

    no price      the loss alone moves the alphas
    lagrangian    the augmented Lagrangian of dnas
    projection    alphas are moved back to the budget after each step (in the manner of HardCoRe-NAS)
    edited        while over the budget, a step's part along the cost's gradient is replaced by one against it, as long
                  as the whole step (in the manner of gradients that are edited)
    price         a fixed price on the expected cost over the budget: 0.3 or 3 times the excess

A row has the expected cost at the end and in the mean of the last 5 epochs as a share of the budget, what is then
delivered (its use, and its gain where 0 is that of the cheapest architecture and 1 of the best within the budget), what
the strongest candidates alone would cost and gain, and the milliseconds that holding the budget
adds to a step: the median of the processor's time.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from budgets import Projection
from rows import complete
from torch import nn

from dnas import Argmax, Budget, Choice, Softmax, Supernet
from dnas.cost.bounds import bounds_of
from dnas.cost.decomposition import Decomposition
from dnas.cost.layout import allowed
from dnas.method.discretization.within import Rules, WithinBudget, program_of
from dnas.searching.held_budget import HeldBudget

CHOICES, CANDIDATES, EPOCHS, STEPS = 8, 4, 20, 10
LIMITS = (30, 50, 70)


class Edited(HeldBudget):
    """While the expected cost is over the budget, steps go against its gradient instead of along it."""

    def __call__(self, loss, alphas, mixtures, progress):
        self.progress = progress
        self.before = {name: alpha.detach().clone() for name, alpha in self.supernet.alphas.items()}
        return loss

    def adapt(self) -> None:
        alphas = self.supernet.alphas
        expected = self.supernet.relaxed(alphas, lambda alpha: self.relaxation.expected(alpha, self.progress))
        excess = (self._expected(expected) / self._most - 1).sum()
        self._excess.copy_(excess.detach())
        if excess <= 0:
            return
        self.highest.fill_(1.0)
        slopes = torch.autograd.grad(excess, list(alphas.values()))
        with torch.no_grad():
            steps = [alpha - self.before[name] for name, alpha in alphas.items()]
            size = sum(float((slope**2).sum()) for slope in slopes) ** 0.5
            along = sum(float((step * slope).sum()) for step, slope in zip(steps, slopes, strict=True)) / size
            length = sum(float((step**2).sum()) for step in steps) ** 0.5
            for alpha, slope in zip(alphas.values(), slopes, strict=True):
                alpha -= (max(along, 0.0) + length) * slope / size


class Price(HeldBudget):
    """A fixed price on the excess."""

    price = 0.0

    def __call__(self, loss, alphas, mixtures, progress):
        expected = self.supernet.relaxed(alphas, lambda alpha: self.relaxation.expected(alpha, progress))
        excess = self._expected(expected) / self._most - 1
        self._excess.copy_(excess.detach())
        self.highest.fill_(1.0)
        return loss + self.price * excess.clamp(min=0).sum()

    def adapt(self) -> None:
        pass


class Low(Price):
    price = 0.3


class High(Price):
    price = 3.0


class NoPrice(Price):
    """The loss alone moves the alphas."""

    def __call__(self, loss, alphas, mixtures, progress):
        super().__call__(loss, alphas, mixtures, progress)
        self.highest.zero_()
        return loss


WAYS = {
    "no price": NoPrice,
    "lagrangian": HeldBudget,
    "projection": Projection,
    "edited": Edited,
    "price 0.3": Low,
    "price 3": High,
}


class Problem:
    """One instance: gains rise with the costs, with diminishing returns, and noise on both."""

    def __init__(self, seed: int):
        random = np.random.default_rng(seed)
        self.costs = np.sort(random.integers(1, 1000, (CHOICES, CANDIDATES)), axis=1)
        self.costs[:, 0] = 1  # something like a skip connection
        scale = random.uniform(0.3, 1.0, (CHOICES, 1))
        self.gains = scale * (self.costs / 1000) ** 0.5 + random.normal(0, 0.05, (CHOICES, CANDIDATES))
        every = np.array(list(itertools.product(range(CANDIDATES), repeat=CHOICES)))
        self.all_costs, self.all_gains = (table[range(CHOICES), every].sum(1) for table in (self.costs, self.gains))

    def model(self) -> nn.Module:
        def candidate(cost: int) -> nn.Module:
            return nn.ParameterList([nn.Parameter(torch.zeros(int(cost)))])

        choices = (
            Choice(f"choice{row}", {str(k): candidate(cost) for k, cost in enumerate(costs)})
            for row, costs in enumerate(self.costs)
        )
        return nn.ModuleList(choices)

    def share(self, gain: float, most: float) -> float:
        """0 for the cheapest architecture, 1 for the best that costs no more than `most`."""
        least = self.all_gains[self.all_costs.argmin()]
        return float((gain - least) / (self.all_gains[self.all_costs <= most].max() - least))

    def of(self, table: np.ndarray, kept: list[int]) -> float:
        return float(table[range(CHOICES), kept].sum())


def one_row(way: str, limit: int, seed: int) -> dict[str, Any]:
    problem = Problem(seed)
    supernet, relaxation = Supernet(problem.model()), Softmax()
    decisions = supernet.decisions
    single = {f"choice{row}": (tuple(map(float, costs)),) for row, costs in enumerate(problem.costs)}
    program = program_of(decisions, allowed(decisions), Rules())
    cost = Decomposition(0.0, single, {})
    bounds = bounds_of(Budget((f"parameters<={limit}%",)), {"parameters": cost}, program)
    held = WAYS[way](supernet, relaxation, bounds, Rules(), steps_per_epoch=STEPS)
    gains, progress = torch.tensor(problem.gains, dtype=torch.float32), torch.zeros(())
    optimizer = torch.optim.Adam(supernet.alphas.values(), lr=0.05)
    uses, seconds = [], []
    for step in range(EPOCHS * STEPS):
        mixtures = supernet.relaxed(supernet.alphas, lambda alpha: relaxation.expected(alpha, progress))
        loss = -sum((mixtures[f"choice{row}"].values * gains[row]).sum() for row in range(CHOICES))
        started = time.thread_time()
        loss = held(loss, supernet.alphas, mixtures, progress)
        seconds.append(time.thread_time() - started)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        started = time.thread_time()
        held.adapt()
        seconds[-1] += time.thread_time() - started
        if (step + 1) % STEPS == 0:
            held.end_epoch()
            uses.append(held.scalars(mixtures)["parameters_use"])
    mixtures = supernet.relaxed(supernet.alphas, lambda alpha: relaxation.expected(alpha, progress))
    within = WithinBudget(Argmax(), bounds, is_pushed=held.has_pushed)
    found = within(decisions, mixtures, evaluate=never, train=never)
    kept = [int(str(one)) for one in found.values()]
    strongest = [int(supernet.alphas[f"choice{row}"].argmax()) for row in range(CHOICES)]
    most = bounds.ranges[0].most
    return {
        "way": way,
        "limit": limit,
        "seed": seed,
        "expected_use": uses[-1],
        "expected_use_last": statistics.mean(uses[-5:]),
        "use": problem.of(problem.costs, kept) / most,
        "gain": problem.share(problem.of(problem.gains, kept), most),
        "strongest_use": problem.of(problem.costs, strongest) / most,
        "strongest_gain": problem.share(problem.of(problem.gains, strongest), most),
        "added_ms": 1000 * statistics.median(seconds),
    }


def never(*arguments: object) -> Any:
    raise AssertionError("Argmax neither evaluates nor trains")


def table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for way in WAYS:
        own = [row for row in rows if row["way"] == way]
        if not own:
            continue
        met = sum(row["use"] <= 1 for row in own)
        over = sum(row["strongest_use"] > 1 for row in own)
        off = statistics.mean(abs(row["expected_use_last"] - 1) for row in own)

        def mean(name: str, rows: list[dict[str, Any]] = own) -> float:
            return statistics.mean(row[name] for row in rows)

        lines.append(
            f"{way:11} {len(own)} searches: expected cost {mean('expected_use_last'):.1%} of the budget, "
            f"{off:.1%} off; strongest candidates over it in {over}; delivered within it in {met}, "
            f"use {mean('use'):.1%}, gain {mean('gain'):.1%} (least {min(row['gain'] for row in own):.1%}); adds "
            f"{statistics.median(row['added_ms'] for row in own):.1f} ms"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--instances", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [(way, limit, seed) for seed in range(options.instances) for limit in LIMITS for way in WAYS]
    rows = complete(options.out, ("way", "limit", "seed"), wanted, lambda *key: [one_row(*key)], minutes=2 / 60)
    print(table(rows))


if __name__ == "__main__":
    main()
