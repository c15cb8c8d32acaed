"""A bank of short trainings on small NAS-Bench-201, from which searches over trained networks are resampled.

    python benchmarks/cifar16.py cifar16.npz cifar8.npz
    python benchmarks/bank.py BANK.jsonl --data cifar8.npz --image_size 8 --weights FOLDER [--first NUM] [--rungs R]

A row is one training of one network in one rung: held-out accuracy and loss after it (on the alphas' half, 25,000
images), and the CPU seconds of training and judging, one thread. The setting is that of docs/results.md: 8 channels, 1
cell per stage, batch 128, 25,000 images for the weights, with images of 16x16 or 8x8. Rung r trains 2^r epochs (1, 2,
4, 8) and goes on from the weights of rung r - 1, as finalists do; the weights are kept in FOLDER, and trained anew
where that lacks them. Networks that compute the same function count as one, whose name is the first one's. `seed` is of
weights and batches; the split into halves is that of seed 0 for all.

As a command it trains the first NUM random architectures through R rungs. Rows that are there are not made again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rows import append_rows, read_rows

from dnas import FinalistSettings, NasBench201Space, Run, Silent
from dnas.core.architecture import Architecture
from dnas.cost import count_flops, count_parameters
from dnas.finalists.contest import Conditions
from dnas.finalists.judgement import judge
from dnas.finalists.later_epochs import LaterEpochs
from dnas.finalists.same_function import Fingerprint, fingerprint, first_samples
from dnas.formats import read_nasbench201, write_nasbench201
from dnas.jobs.finalists import conditions_of
from dnas.jobs.images import finalist_streams, load_data
from dnas.jobs.job import Job
from dnas.system.random_state import seeded
from dnas.training.baseline import draw_random
from dnas.training.evaluate import evaluation_mode
from dnas.training.retrain import retrain

SETTINGS = FinalistSettings(num=2, rungs=4, epochs=1)


def name_of(architecture: Architecture) -> str:
    return write_nasbench201(architecture)


def random_name(seed: int, index: int) -> str:
    return name_of(draw_random(NasBench201Space(), seed, index))


class Trainer:
    """Trains networks in the setting of docs/results.md.

    Args:
        data: images, as for `dnas search`.
        weights: folder for the weights after each rung.
        seed: of initial weights and batches.
        image_size: side of the images in pixels.
    """

    def __init__(self, data: str, weights: Path, seed: int, image_size: int) -> None:
        torch.set_num_threads(1)
        job = Job(
            data=data,
            space=NasBench201Space(),
            threads=1,
            device="cpu",
            channels=8,
            cells=1,
            image_size=image_size,
            batch_size=128,
            finalists=SETTINGS,
        )
        self._images = load_data(job)
        run = Run(weights / "conditions")
        self.conditions: Conditions = conditions_of(run, job, self._images, Silent())
        self._train, _ = finalist_streams(job, self._images, torch.device("cpu"))
        self._weights = weights
        self._seed = seed
        # Batches of another seed, from the same half: epochs that seed 0 does not reach.
        self._first_epoch = 1000 * seed

    def fingerprint(self, name: str) -> Fingerprint:
        with seeded(0):
            network = self.conditions.fresh(read_nasbench201(name))
        return fingerprint(network, first_samples(self.conditions.batch, 4))

    def train(self, name: str, number: int) -> list[dict[str, Any]]:
        """Train a network in rung `number`, and before in those whose weights are missing; their rows."""
        path = self._path(name, number - 1)
        before = self.train(name, number - 1) if number and not path.exists() else []
        started, rung = time.process_time(), SETTINGS.rung(number)
        with seeded(self._seed):
            network = self.conditions.fresh(read_nasbench201(name))
        with evaluation_mode(network):
            flops = count_flops(network, first_samples(self.conditions.batch, 1))
        if number:
            network.load_state_dict(torch.load(path, weights_only=True))
        retrain(
            network,
            LaterEpochs(self._train, self._first_epoch + rung.first_epoch),
            task=self.conditions.task,
            settings=replace(SETTINGS.training(rung), seed=self._seed),
            display=Silent(),
        )
        trained = time.process_time()
        judged = judge(network, self.conditions.judging, self.conditions.task)
        self._path(name, number).parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), self._path(name, number))
        seconds = {"compute": time.process_time() - started, "judging": time.process_time() - trained}
        row = {"name": name, "seed": self._seed, "rung": number, "accuracy": judged.value, "loss": judged.loss}
        return [*before, {**row, **seconds, "parameters": count_parameters(network), "flops": flops}]

    def _path(self, name: str, number: int) -> Path:
        plain = name.strip("|").replace("|", "-").replace("~", "")
        return self._weights / f"seed_{self._seed}" / f"{plain}.rung_{number}.pt"


class Bank:
    """Rows of trainings, made as they are asked for.

    Args:
        path: the file.
        trainer: makes what is missing; None where nothing may be missing.
        seed: of the trainings.
    """

    def __init__(self, path: Path, trainer: Trainer | None, seed: int = 0) -> None:
        self.path = path
        self.trainer = trainer
        self.seed = seed
        self.rows = {(row["name"], row["rung"]): row for row in read_rows(path) if row["seed"] == seed}

    def has(self, name: str, rung: int) -> bool:
        return (name, rung) in self.rows

    def row(self, name: str, rung: int) -> dict[str, Any]:
        if not self.has(name, rung):
            if self.trainer is None:
                raise KeyError(f"The bank lacks {name} in rung {rung}, seed {self.seed}.")
            new = [row for row in self.trainer.train(name, rung) if not self.has(row["name"], row["rung"])]
            append_rows(self.path, new)
            self.rows |= {(row["name"], row["rung"]): row for row in new}
        return self.rows[name, rung]


class Functions:
    """The name under which the bank holds an architecture: that of the first one with its function.

    Args:
        trainer: makes fingerprints.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._names: dict[str, str] = {}
        self._known: dict[tuple[tuple[int, ...], ...], list[tuple[Fingerprint, str]]] = {}

    def name(self, written: str) -> str:
        if written not in self._names:
            own = self._trainer.fingerprint(written)
            alike = self._known.setdefault(own.shapes, [])
            found = next((name for other, name in alike if own.is_same(other)), written)
            if found == written:
                alike.append((own, written))
            self._names[written] = found
        return self._names[written]


def pool(functions: Functions, num: int, seed: int = 0) -> list[str]:
    """The first `num` random architectures of different functions."""
    found: dict[str, None] = {}
    index = 0
    while len(found) < num:
        found[functions.name(random_name(seed, index))] = None
        index += 1
    return list(found)


def fill(bank: Bank, names: Iterable[str], rungs: int) -> None:
    """Train all of these through so many rungs, and say how long each took."""
    for name in names:
        for rung in range(rungs):
            if not bank.has(name, rung):
                row = bank.row(name, rung)
                print(f"{name} {rung}: {row['accuracy']:.4f}, {row['compute']:.1f} CPU s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--first", type=int, default=100, help="number of random architectures")
    parser.add_argument("--rungs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--image_size", type=int, default=16)
    parser.add_argument("--names", nargs="+", default=[], help="train these instead of random ones")
    given = parser.parse_args()
    trainer = Trainer(given.data, given.weights, given.seed, given.image_size)
    bank = Bank(given.out, trainer, given.seed)
    names = given.names or pool(Functions(trainer), given.first)
    missing = sum(not bank.has(name, rung) for name in names for rung in range(given.rungs))
    print(
        f"{missing} trainings to make, about {missing * 5 * 2 ** (given.rungs - 1) / 60:.0f} core minutes", flush=True
    )
    fill(bank, names, given.rungs)


if __name__ == "__main__":
    main()
