"""How far alphas move in N steps at rate r, and when a search is decided: the constants of `dnas.searching.decidedness`
and of `dnas.jobs.planning.rate`.

A tiny space on scikit-learn's digits: 64 numbers, four layers with normed inputs, each a choice of five. The reach N r
is the sum of the rates of all steps that move alphas. Every (relaxation, N, reach, seed) is a row; those that are there
are kept.

    python benchmarks/decided.py benchmarks/results/decided/rows.jsonl
"""

from __future__ import annotations

import sys
import time
from itertools import combinations, product
from pathlib import Path
from statistics import fmean

import torch
from rows import complete
from torch import Tensor, nn

from dnas import AlphaAdam, Choice, Cosine, Dirichlet, SearchSettings, Softmax, Supernet, WeightSGD, search
from dnas.searching.supernet_measures import mean_entropy

STEPS, SEEDS, PER_EPOCH, LAYERS, WIDTH = (45, 135), (0, 1, 2), 9, 4, 32
REACHES = (0.04, 1.0, 3.0, 6.0, 12.0)
RELAXATIONS = {"softmax": Softmax(), "dirichlet": Dirichlet()}


def layer(index: int) -> Choice:
    """One layer: nothing, linear maps with three activations, or a bottleneck of four."""
    kinds = {
        "skip": nn.Identity(),
        "relu": nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()),
        "tanh": nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()),
        "linear": nn.Linear(WIDTH, WIDTH),
        "narrow": nn.Sequential(nn.Linear(WIDTH, 4), nn.ReLU(), nn.Linear(4, WIDTH)),
    }
    return Choice(f"layer{index}", kinds)


def halves() -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
    """Batches of 80 for the weights and for the alphas."""
    from sklearn.datasets import load_digits

    inputs, targets = load_digits(return_X_y=True)
    x, y = torch.tensor(inputs / 16, dtype=torch.float32), torch.tensor(targets)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    parts = [order[80 * index : 80 * (index + 1)] for index in range(2 * PER_EPOCH)]
    batches = [(x[part], y[part]) for part in parts]
    return batches[:PER_EPOCH], batches[PER_EPOCH:]


def row(relaxation: str, steps: int, reach: float, seed: int) -> dict[str, object]:
    """One search."""
    torch.manual_seed(seed)
    layers = [module for index in range(LAYERS) for module in (nn.LayerNorm(WIDTH), layer(index))]
    model = nn.Sequential(nn.Linear(64, WIDTH), *layers, nn.Linear(WIDTH, 10))
    supernet = Supernet(model, nn.functional.cross_entropy, seed=seed)
    before = {name: alpha.detach().clone() for name, alpha in supernet.alphas.items()}
    train, val = halves()
    settings = SearchSettings(
        relaxation=RELAXATIONS[relaxation],
        weights=WeightSGD(lr=Cosine(0.1, 0.001)),
        alphas=AlphaAdam(lr=reach / steps),
        epochs=steps // PER_EPOCH,
        validate_every=steps // PER_EPOCH,
        seed=seed,
    )
    started = time.process_time()
    result = search(supernet, train, val, settings=settings)
    seconds = time.process_time() - started
    moved = torch.cat([(alpha.detach() - before[name]).abs() for name, alpha in supernet.alphas.items()])
    mixtures = supernet.expected(settings.relaxation, torch.tensor(1.0))
    found = result.decidedness
    assert found is not None
    return {
        "relaxation": relaxation,
        "steps": steps,
        "reach": reach,
        "seed": seed,
        "moved": float(moved.mean()),
        "most_moved": float(moved.max()),
        "stability": found.stability,
        "lead": found.lead,
        "entropy": mean_entropy(supernet.decisions, mixtures, gates=False),
        "accuracy": result.metrics[-1]["validation_accuracy"],
        "kept": dict(result.architecture.decisions),
        "seconds": seconds,
    }


def main(path: Path) -> None:
    torch.set_num_threads(1)
    wanted = product(RELAXATIONS, STEPS, REACHES, SEEDS)
    rows = complete(path, ("relaxation", "steps", "reach", "seed"), wanted, lambda *key: [row(*key)], minutes=0.02)
    print("relaxation steps reach  moved/reach  most/reach  stability  lead  entropy  other seeds")
    for key in product(RELAXATIONS, STEPS, REACHES):
        own = [each for each in rows if (each["relaxation"], each["steps"], each["reach"]) == key]
        moved, most, *others = (
            fmean(each[name] for each in own) for name in ("moved", "most_moved", "stability", "lead", "entropy")
        )
        same = fmean(
            one["kept"][name] == other["kept"][name] for one, other in combinations(own, 2) for name in one["kept"]
        )
        shares = " ".join(f"{value:10.3f}" for value in (moved / key[2], most / key[2], *others, same))
        print(f"{key[0]:10s} {key[1]:5d} {key[2]:5.2f} {shares}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
