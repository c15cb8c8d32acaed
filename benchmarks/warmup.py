"""Does a warm-up of the weights, or another relaxation, help a search of few steps? On the problem of `decided.py`.

    PYTHONPATH=. python benchmarks/warmup.py benchmarks/results/decided/warmup.jsonl

Searches of 45 and 135 steps with `default`'s mixtures (Dirichlet) and with DARTS's (softmax), without a warm-up and
with one of 20, 40 and 60 % of the epochs; the alphas' rate is fitted to the steps that are left, as the plan does it
(`dnas.jobs.planning.rate`). What a search finds is trained five times anew on both halves, for 180 steps, and measured
on the 357 digits that no half has; twenty random architectures likewise.

The rule, written before a row was made: for each number of steps, the setting with the best mean on seeds 100 to 104 is
run on seeds 0 to 9 beside `default`'s (Dirichlet, no warm-up). The plan takes it up for searches of about that many
steps if the 95 % interval of the mean paired difference is above 0; otherwise the plan stays as it is: it fits the rate
alone, and a recipe's warm-up keeps its share of the epochs.
"""

from __future__ import annotations

import sys
import time
from functools import cache
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import torch
from decided import LAYERS, PER_EPOCH, RELAXATIONS, WIDTH, halves, layer
from intervals import interval_of_mean
from rows import complete
from torch import Tensor, nn

from dnas import AlphaAdam, Architecture, Cosine, SearchSettings, Supernet, WeightSGD, derive, search
from dnas.core.derive import find_decisions
from dnas.jobs.planning.rate import fitted_rate
from dnas.training.significance import deviation, mean

STEPS, SHARES = (45, 135), (0.0, 0.2, 0.4, 0.6)
TUNING, SEEDS, RANDOM = range(100, 105), range(10), 20
TRAININGS, EPOCHS = 5, 10
KEY = ("relaxation", "steps", "share", "seed")
DEFAULT = ("dirichlet", 0.0)


def network() -> nn.Sequential:
    layers = [module for index in range(LAYERS) for module in (nn.LayerNorm(WIDTH), layer(index))]
    return nn.Sequential(nn.Linear(64, WIDTH), *layers, nn.Linear(WIDTH, 10))


def rest() -> tuple[Tensor, Tensor]:
    """The digits of no half."""
    from sklearn.datasets import load_digits

    inputs, targets = load_digits(return_X_y=True)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))[2 * PER_EPOCH * 80 :]
    return torch.tensor(inputs / 16, dtype=torch.float32)[order], torch.tensor(targets)[order]


@cache
def tested(kept: tuple[str, ...]) -> float:
    """Mean accuracy of five trainings of an architecture, in percent."""
    batches, (x, y) = [batch for half in halves() for batch in half], rest()
    values = []
    for seed in range(TRAININGS):
        torch.manual_seed(seed)
        names = {f"layer{index}": name for index, name in enumerate(kept)}
        alone = derive(network(), Architecture(names))
        steps = EPOCHS * len(batches)
        optimizer = torch.optim.SGD(alone.parameters(), lr=0.1, momentum=0.9, weight_decay=3e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            inputs, targets = batches[(7 * step + seed) % len(batches)]
            optimizer.zero_grad()
            nn.functional.cross_entropy(alone(inputs), targets).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            values.append(100 * float((alone(x).argmax(1) == y).float().mean()))
    return mean(values)


def row(relaxation: str, steps: int, share: float, seed: int) -> list[dict[str, Any]]:
    """One search and what it found."""
    key = dict(zip(KEY, (relaxation, steps, share, seed), strict=True))
    if relaxation == "random":
        random = Random(seed)
        kept = tuple(random.choice(find_decisions(network())["layer0"].candidates) for _ in range(LAYERS))
        return [
            {"relaxation": relaxation, "steps": steps, "share": share, "seed": seed, "kept": kept, "test": tested(kept)}
        ]
    torch.manual_seed(seed)
    supernet = Supernet(network(), nn.functional.cross_entropy, seed=seed)
    train, val = halves()
    epochs = steps // PER_EPOCH
    warmup = round(share * epochs)
    settings = SearchSettings(
        relaxation=RELAXATIONS[relaxation],
        weights=WeightSGD(lr=Cosine(0.1, 0.001)),
        alphas=AlphaAdam(lr=fitted_rate(3e-4, (epochs - warmup) * PER_EPOCH)),
        epochs=epochs,
        warmup_epochs=warmup,
        validate_every=0,
        seed=seed,
    )
    started = time.process_time()
    found = search(supernet, train, val, settings=settings).architecture.decisions
    seconds = time.process_time() - started
    kept = tuple(str(found[f"layer{index}"]) for index in range(LAYERS))
    return [{**key, "kept": kept, "test": tested(kept), "seconds": seconds}]


def main(path: Path) -> None:
    torch.set_num_threads(1)
    wanted = [(*key, seed) for seed in TUNING for key in product(RELAXATIONS, STEPS, SHARES)]
    wanted += [("random", 0, 0.0, seed) for seed in range(RANDOM)]
    rows = complete(path, KEY, wanted, row, minutes=0.05)
    of = {tuple(one[name] for name in KEY): one["test"] for one in rows}
    chance = [of["random", 0, 0.0, seed] for seed in range(RANDOM)]
    print(f"random: {mean(chance):.2f} +- {deviation(chance):.2f}")
    for steps in STEPS:
        means = {
            (relaxation, share): mean([of[relaxation, steps, share, seed] for seed in TUNING])
            for relaxation, share in product(RELAXATIONS, SHARES)
        }
        print(steps, "steps, seeds 100 to 104:", {key: round(value, 2) for key, value in means.items()})
        best = max(means, key=lambda key: means[key])
        keys = [(relaxation, steps, share, seed) for relaxation, share in {best, DEFAULT} for seed in SEEDS]
        rows = complete(path, KEY, keys, row, minutes=0.05)
        of = {tuple(one[name] for name in KEY): one["test"] for one in rows}
        values = {key: [of[key[0], steps, key[1], seed] for seed in SEEDS] for key in (best, DEFAULT)}
        for key, own in values.items():
            print(steps, "steps, seeds 0 to 9:", key, f"{mean(own):.2f} +- {deviation(own):.2f}")
        differences = [one - other for one, other in zip(values[best], values[DEFAULT], strict=True)]
        if len(set(differences)) > 1:
            print(f"{best} - {DEFAULT}: {interval_of_mean(differences)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
