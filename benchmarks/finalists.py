"""Finalists and random search with successive halving at equal compute, on small NAS-Bench-201.

    python benchmarks/cifar16.py CIFAR10 cifar16.npz
    dnas table NB201 nb201.npz
    python benchmarks/finalists.py OUT.jsonl --data cifar16.npz --table nb201.npz --folder RUNS [--seeds 0 1 2 ...]

The setting is that of docs/results.md: 8 channels, 1 cell per stage, 16x16 images, batch 128, 25,000 images for the
weights and 25,000 for the alphas, one thread. Rows of searches are whole runs of `dnas search`:

- `default`: the recipe with 30 epochs, whose compute (compute.json, CPU seconds) all others may spend;
- `finalists`: 12 epochs of the same, then finalists.

Rows of random search with successive halving are made for three settings (epochs of the first rung, rungs). They draw
from one bank of trained networks: NUM random architectures, each trained once for a setting and a rung, as soon as a
row needs it; a row's compute is that of the trainings it uses, as if they were its own. All share one split of the
data and one bank, so rows of different seeds are not independent, and an interval of their mean has to allow for that.

Found networks are looked up in the table: `valid200_c10` and `test200_c10`. Nothing else looks at the table. A row is a
line of JSON; rows that are there are not made again, and finished runs and trainings in RUNS are taken as they are. The
estimate of the time is printed first; `--estimate` stops there. `--smoke` does all of it in small, on scikit-learn's
digits, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from rows import append_rows, read_rows

from dnas import FinalistSettings, NasBench201Space, Run, Silent
from dnas.core.architecture import Architecture
from dnas.finalists.contest import Conditions, Contest, Finalist
from dnas.finalists.opponents.compute import Compute
from dnas.finalists.opponents.random_halving import RandomHalving
from dnas.finalists.proposals import Possible, Proposals
from dnas.finalists.same_function import SeenFunctions
from dnas.formats import write_nasbench201
from dnas.jobs.compute import compute_to_spend
from dnas.jobs.finalists import conditions_of
from dnas.jobs.images import load_data
from dnas.jobs.job import Job
from dnas.system.compute import compute_clock
from dnas.system.interrupt import StopRequest
from dnas.table import Table, load_table
from dnas.training.baseline import draw_random
from dnas.training.significance import deviation, mean, welch_p

TEST, VALIDATION = "test200_c10", "valid200_c10"
HALVINGS = (RandomHalving(1, 4), RandomHalving(2, 3), RandomHalving(4, 2))
# Core minutes of one search of `default`, and of an epoch of one random network: docs/results.md.
SEARCH_MINUTES, EPOCH_MINUTES = 10.0, 0.1


@dataclass(frozen=True)
class Setup:
    """Sizes of everything.

    Args:
        data: images, as for `dnas search`.
        sizes: options of the search.
        epochs: of `default`, and of the supernet before finalists.
        finalists: how they are trained.
        bank: number of random architectures in the bank.
    """

    data: str
    sizes: dict[str, int]
    epochs: tuple[int, int]
    finalists: FinalistSettings
    bank: int


def whole(data: str) -> Setup:
    sizes = {"channels": 8, "cells": 1, "image_size": 16, "batch_size": 128, "supernet_images": 5000}
    return Setup(data, sizes, (30, 12), FinalistSettings(num=8, rungs=3, epochs=1, changes=2), bank=96)


def smoke() -> Setup:
    sizes = {"channels": 2, "cells": 1, "image_size": 8, "batch_size": 256}
    return Setup("digits", sizes, (3, 1), FinalistSettings(num=3, rungs=1, epochs=1, changes=0), bank=6)


class BankContest(Contest):
    """Trainings that rows of several seeds share: their folders are named by the architecture."""

    def _folder(self, finalist: Finalist) -> Run:
        return self.run.child(write_nasbench201(finalist.architecture).strip("|").replace("|", "-").replace("~", ""))


def job_of(setup: Setup) -> Job:
    sizes = setup.sizes
    return Job(
        data=setup.data,
        space=NasBench201Space(),
        threads=1,
        device="cpu",
        channels=sizes["channels"],
        cells=sizes["cells"],
        image_size=sizes["image_size"],
        batch_size=sizes["batch_size"],
    )


def searched(setup: Setup, name: str, seed: int, folder: Path) -> Run:
    """A finished run of `dnas search`; one that was stopped goes on."""
    run = Run(folder / f"{name}-{seed}")
    if run.architecture_path.exists():
        return run
    words = ["search", "--resume", run.path]
    if not run.config_path.exists():
        settings = setup.finalists
        epochs = setup.epochs[0 if name == "default" else 1]
        own = {"num": settings.num, "rungs": settings.rungs, "epochs": settings.epochs, "changes": settings.changes}
        words = ["search", "--data", setup.data, "--space", "dnas.NasBench201Space", "--run", run.path]
        words += ["--seed", seed, "--threads", 1, "--search.epochs", epochs]
        words += [word for key, value in setup.sizes.items() for word in (f"--{key}", value)]
        words += [word for key, value in own.items() for word in (f"--finalists.{key}", value) if name == "finalists"]
    subprocess.run([sys.executable, "-m", "dnas", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return run


def halved(conditions: Conditions, opponent: RandomHalving, seed: int, bank: Run, num: int, limit: float) -> Any:
    """What random search with halving finds in the bank: the architecture, its compute, and number of networks."""
    pool = [draw_random(NasBench201Space(), 0, index) for index in range(num)]
    Random(seed).shuffle(pool)
    contest = BankContest(conditions, bank, Silent(), StopRequest())
    possible = Possible(
        NasBench201Space().decisions(),
        NasBench201Space().architecture,
        lambda kept: True,
        lambda index: pool[index % num],
        SeenFunctions(conditions.fresh, conditions.batch),
    )
    compute = Compute(limit, contest, compute_clock(torch.device("cpu")))
    found = opponent.find(contest, Proposals(possible, None, seed), compute)
    return found, compute.spent, len(contest.finalists)


def estimate(setup: Setup, seeds: Sequence[int], done: set[tuple[str, int]]) -> str:
    """What is missing, and the core hours that it takes at most."""
    missing = sum((name, seed) not in done for name in ("default", "finalists") for seed in seeds)
    trained = sum(setup.bank * o.epochs * o.rungs for o in HALVINGS)
    hours = (missing * SEARCH_MINUTES + trained * EPOCH_MINUTES) / 60
    return f"{missing} searches and at most {trained} epochs of the bank: about {hours:.1f} core hours at most."


def make_rows(setup: Setup, seeds: Sequence[int], out: Path, folder: Path, table: Table | None) -> None:
    """Make the rows that are missing, each written when it is finished."""
    rows = read_rows(out)
    done = {(row["row"], row["seed"]) for row in rows}

    def add(name: str, seed: int, architecture: Architecture, **more: Any) -> None:
        found = {} if table is None else {name: table.accuracy(architecture, name) for name in (VALIDATION, TEST)}
        row = {"row": name, "seed": seed, "string": write_nasbench201(architecture), **found, **more}
        append_rows(out, [row])
        print(json.dumps(row), flush=True)

    for seed in seeds:
        for name in ("default", "finalists"):
            if (name, seed) not in done:
                run = searched(setup, name, seed, folder)
                source = {}
                if name == "finalists":
                    source = {"source": run.child("finalists").load_json("result")["source"]}
                    source["searched"] = write_nasbench201(Architecture.load(run.path / "searched.json"))
                add(name, seed, run.load_architecture(), compute=compute_to_spend(run, torch.device("cpu")), **source)
    data, job = load_data(job_of(setup)), job_of(setup)
    torch.set_num_threads(1)
    for opponent in HALVINGS:
        name = f"random_halving-epochs{opponent.epochs}-rungs{opponent.rungs}"
        bank = Run(folder / "bank" / name)
        own = replace(job, finalists=opponent.training(setup.finalists))
        conditions = conditions_of(bank, own, data, Silent())
        for seed in seeds:
            if (name, seed) not in done:
                limit = compute_to_spend(Run(folder / f"default-{seed}"), torch.device("cpu"))
                found, spent, num = halved(conditions, opponent, seed, bank, setup.bank, limit)
                add(name, seed, found, compute=spent, networks=num)


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Mean and deviation of each row by `test200_c10`, its compute, and Welch's test against `finalists`."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["row"], []).append(row[TEST])
    lines = []
    for name, own in values.items():
        spread, theirs = deviation(own) or 0.0, values.get("finalists", [])
        compute = mean([row["compute"] for row in rows if row["row"] == name])
        test = ""
        if name != "finalists" and min(len(own), len(theirs)) > 1:
            p = welch_p(theirs, own)
            said = "undefined" if p is None else f"{p:.4f}"
            test = f"; finalists are ahead by {mean(theirs) - mean(own):.2f}, Welch's p {said}"
        lines.append(f"{name}: n {len(own)}, {mean(own):.2f} +- {spread:.2f}, {compute:.0f} CPU s{test}")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=str)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="where runs and the bank are written")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--estimate", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args(words)
    if not given.smoke and (given.data is None or given.table is None):
        parser.error("--data and --table are needed, or --smoke")
    setup = smoke() if given.smoke else whole(given.data)
    print(estimate(setup, given.seeds, {(row["row"], row["seed"]) for row in read_rows(given.out)}), flush=True)
    if given.estimate:
        return
    table = None if given.table is None else load_table(given.table)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    make_rows(setup, given.seeds, given.out, given.folder, table)
    if table is not None:
        print(summary(read_rows(given.out)))


if __name__ == "__main__":
    main()
