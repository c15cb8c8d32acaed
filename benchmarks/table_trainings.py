"""Ways to choose networks by short trainings, on the trainings of NAS-Bench-201 itself: no network is trained here.

    python benchmarks/table_trainings.py OUT.jsonl NB201.npz [--rows NAME ...] [--seeds 0 1 ...] [--trainings 60]
        [--banks 1 2 ...]

NB201.npz has, for every architecture, `valid12_c10` (12 epochs on half of CIFAR-10, one training), `valid200_c10` (200
epochs) and `iso_class` (networks of one function). A training of 12 epochs shows `valid12_c10`; one of 204, which goes
on from it, `valid200_c10`. Compute is epochs times multi-adds; every row may spend that of TRAININGS trainings of 12
epochs of an average network; opponents finish a training that has begun. Supernets cannot be measured so: rows with
"supernet's" begin with the architectures of epochs 1 to 12 of the recorded searches by `drnas` in
benchmarks/results/nasbench201_small/trajectory.csv (its three seeds in turn), and their compute is not counted.
`test200_c10` is read once per row, after every choice. A line of JSON is a row; rows that are there are not made again.

All seeds look up the same trainings, so their spread does not hold the luck of these. `--banks` draws the trainings
anew: to each column noise is added, one draw for each function, with the deviation of trainings of one function. That
is known, since many architectures of the table are the same function and were trained apart. Bank 0 is the table
itself. The last lines are the mean differences over banks; all have the same seeds, so it is the luck of trainings.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch
from intervals import deviation_of_trainings, interval_of_mean
from rows import append_rows, read_rows

from dnas import FinalistSettings, NasBench201Space
from dnas.core.architecture import Architecture
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.finalists.contest import Conditions, Contest, Finalist
from dnas.finalists.halving import halved
from dnas.finalists.judgement import Judgement
from dnas.finalists.opponents.compute import Compute
from dnas.finalists.opponents.evolution import RegularizedEvolution
from dnas.finalists.opponents.guided import Guided
from dnas.finalists.opponents.random_halving import RandomHalving
from dnas.finalists.opponents.random_search import RandomSearch
from dnas.finalists.proposals import Known, Possible, Proposal, Proposals
from dnas.finalists.same_function import SeenFunctions
from dnas.finalists.settings import Rung
from dnas.formats import read_nasbench201, write_nasbench201
from dnas.training.baseline import draw_random
from dnas.training.significance import deviation, mean, welch_p

SHORT = 12  # epochs
# Above these accuracies in percent a network has learned; trainings of those that have not differ by other rules.
LEARNED = {"valid12_c10": 70.0, "valid200_c10": 85.0, "test200_c10": 85.0}
EPOCHS = 12  # of the supernet
TRAJECTORY = Path(__file__).parent / "results" / "nasbench201_small" / "trajectory.csv"


class TableTrainings:
    """Trainings that were made: those of the table, by architecture.

    Args:
        path: the file.
        bank: 0 for the table itself; any other number for trainings that are drawn anew.
    """

    def __init__(self, path: Path, bank: int = 0) -> None:
        with np.load(path) as arrays:
            self._columns = {
                name: arrays[name] for name in ("valid12_c10", "valid200_c10", "test200_c10", "mflops_c10")
            }
            self._function = arrays["iso_class"]
            self._index = {str(name): index for index, name in enumerate(arrays["arch"])}
        if bank:
            random = np.random.default_rng(bank)
            for name, learned in LEARNED.items():
                noise = random.normal(0.0, deviation_of_trainings(self._columns[name], self._function, learned), 6466)
                self._columns[name] = self._columns[name] + noise[self._function]
        self.mean_multiadds = float(self._columns["mflops_c10"].mean())

    def value(self, architecture: Architecture, column: str) -> float:
        return float(self._columns[column][self._of(architecture)])

    def function(self, architecture: Architecture) -> int:
        return int(self._function[self._of(architecture)])

    def _of(self, architecture: Architecture) -> int:
        return self._index[write_nasbench201(architecture)]


class Seen:
    """The functions that have been seen, by the table's classes."""

    def __init__(self, trainings: TableTrainings) -> None:
        self._trainings = trainings
        self._seen: set[int] = set()

    def is_new(self, architecture: Architecture) -> bool:
        function = self._trainings.function(architecture)
        is_new = function not in self._seen
        self._seen.add(function)
        return is_new


class TableContest:
    """Finalists whose trainings are looked up; compute is in epochs times mega multi-adds."""

    def __init__(self, trainings: TableTrainings, settings: FinalistSettings) -> None:
        nothing: Any = None  # nothing is built
        self.conditions = Conditions(nothing, nothing, nothing, nothing, nothing, settings)
        self.finalists: list[Finalist] = []
        self.compute, self.compute_now = 0.0, 0.0
        self._trainings = trainings

    def enter(self, proposals: Sequence[Proposal]) -> list[Finalist]:
        entered = []
        for proposal in proposals:
            cost = int(self._trainings.value(proposal.architecture, "mflops_c10") * 1e6)
            entered.append(Finalist(len(self.finalists), proposal.architecture, proposal.source, cost, cost))
            self.finalists += entered[-1:]
        return entered

    def train_ahead(self, finalists: Sequence[Finalist], rungs: Sequence[Rung]) -> None: ...

    def train(self, finalist: Finalist, rung: Rung) -> None:
        value = self._trainings.value(finalist.architecture, "valid12_c10" if rung.number == 0 else "valid200_c10")
        finalist.judgements.append(Judgement("top1", "higher", value / 100, 1 - value / 100, None, None))
        self.compute += rung.epochs * finalist.flops / 1e6


def contest_of(trainings: TableTrainings, settings: FinalistSettings) -> Contest:
    return cast(Contest, TableContest(trainings, settings))


def supernet_of(seed: int) -> Known:
    """What the recorded searches knew after twelve epochs; mixtures were not recorded and count as equal."""
    space = NasBench201Space()
    with TRAJECTORY.open() as file:
        rows = [row for row in csv.DictReader(file) if row["recipe"] == "drnas" and row["seed"] == str(seed % 3)]
    of_epochs = {int(row["epoch"]): read_nasbench201(row["string"]) for row in rows if int(row["epoch"]) <= EPOCHS}
    equal = {name: Mixture(torch.ones(decision.shape)) for name, decision in space.decisions().items()}
    return Known(of_epochs[EPOCHS], equal, of_epochs)


def proposals_of(trainings: TableTrainings, seed: int, known: Known | None = None) -> Proposals:
    space = NasBench201Space()
    possible = Possible(
        cast(Mapping[str, Decision], space.decisions()),
        space.architecture,
        lambda kept: True,
        partial(draw_random, space, seed),
        cast(SeenFunctions, Seen(trainings)),
    )
    return Proposals(possible, known, seed)


# A way to find an architecture: from trainings, a seed and what it may spend.
Way = Callable[[TableTrainings, int, float], tuple[Architecture, float, int]]
LIKE = FinalistSettings(num=2, epochs=SHORT)


def opponent_way(opponent: Any) -> Way:
    """A row of random search, with halving or without, or of evolution."""

    def way(trainings: TableTrainings, seed: int, limit: float) -> tuple[Architecture, float, int]:
        contest = contest_of(trainings, replace(opponent.training(LIKE), seed=seed))
        found = opponent.find(contest, proposals_of(trainings, seed), Compute(limit, contest, lambda: 0.0))
        return found, contest.compute, len(contest.finalists)

    return way


def guided_way(guided_share: float, rungs: int = 1, factor: int = 2, *, knows: bool = False) -> Way:
    """Finalists: random ones (or what a supernet knows) and guided ones; as many as can be trained within the limit."""

    def way(trainings: TableTrainings, seed: int, limit: float) -> tuple[Architecture, float, int]:
        num = int(1.2 * limit / SHORT / trainings.mean_multiadds)
        while num > 3:
            settings = FinalistSettings(
                num=num, rungs=rungs, epochs=SHORT, factor=factor, guided_share=guided_share, changes=0, seed=seed
            )
            contest = contest_of(trainings, settings)
            _, left = halved(contest, proposals_of(trainings, seed, supernet_of(seed) if knows else None))
            if contest.compute <= limit:
                return left[0].architecture, contest.compute, len(contest.finalists)
            num = min(num - 1, int(num * limit / contest.compute))
        raise ValueError(f"{limit} does not suffice for four trainings.")

    return way


def by_size(trainings: TableTrainings, seed: int, limit: float) -> tuple[Architecture, float, int]:
    """The costliest of 1,000 random networks; nothing is trained."""
    space = NasBench201Space()
    drawn = [draw_random(space, seed, index) for index in range(1000)]
    return max(drawn, key=lambda one: trainings.value(one, "mflops_c10")), 0.0, len(drawn)


# As many epochs as the second rung of RandomHalving(SHORT, 2, 16): 12 and then 192 more.
WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "random search": opponent_way(RandomSearch(SHORT)),
        "random, halving by 16": opponent_way(RandomHalving(SHORT, 2, 16)),
        "evolution, population 10": opponent_way(RegularizedEvolution(SHORT, 10, 3)),
        "evolution, population 20": opponent_way(RegularizedEvolution(SHORT, 20, 5)),
        "multi-adds": by_size,
        "guided 0.5": guided_way(0.5),
        "guided as an opponent": opponent_way(Guided(SHORT)),
        "guided 0.7": guided_way(0.7),
        "guided 0.3": guided_way(0.3),
        "guided 0.5, halving by 16": guided_way(0.5, 2, 16),
        "supernet's, guided 0.5": guided_way(0.5, knows=True),
        "supernet's and random": guided_way(0.0, knows=True),
    }
)


def rows_of(name: str, seed: int, trainings: TableTrainings, num: int, bank: int) -> dict[str, Any]:
    limit = num * SHORT * trainings.mean_multiadds
    found, compute, networks = WAYS[name](trainings, seed, limit)
    figures = {column: trainings.value(found, column) for column in ("valid200_c10", "test200_c10")}
    row = {"row": name, "seed": seed, "bank": bank, "trainings": num, "string": write_nasbench201(found), **figures}
    return {**row, "compute": compute / (SHORT * trainings.mean_multiadds), "networks": networks}


def summary(rows: Sequence[dict[str, Any]], against: str) -> str:
    """Means of the rows, and Welch's test of each against one of them."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["row"], []).append(row["test200_c10"])
    lines = []
    for name, own in sorted(values.items(), key=lambda item: -mean(item[1])):
        p = welch_p(own, values[against]) if name != against and min(len(own), len(values[against])) > 1 else None
        compute = mean([row["compute"] for row in rows if row["row"] == name])
        selected = mean([row["valid200_c10"] for row in rows if row["row"] == name])
        lines.append(
            f"{name}: n {len(own)}, test {mean(own):.2f} +- {deviation(own) or 0:.2f}, valid200 {selected:.2f}, "
            f"compute {compute:.1f}" + ("" if p is None else f", Welch's p against {against!r} {p:.4f}")
        )
    return "\n".join(lines)


def over_banks(rows: Sequence[dict[str, Any]], against: str) -> str:
    """How far a row is behind each other one: mean over banks of the difference of their means, with its interval."""
    values: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        values.setdefault((row["row"], row["bank"]), []).append(row["test200_c10"])
    banks, lines = sorted({bank for _, bank in values}), []
    for name in sorted({name for name, _ in values} - {against}):
        differences = [mean(values[name, bank]) - mean(values[against, bank]) for bank in banks]
        lines.append(f"{name} - {against}, {len(banks)} banks: {interval_of_mean(differences)}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--rows", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--trainings", type=int, default=60)
    parser.add_argument("--banks", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    there = {(row["row"], row["seed"], row.get("bank", 0), row["trainings"]) for row in read_rows(given.out)}
    for bank in given.banks:
        trainings = TableTrainings(given.table, bank)
        for name in given.rows:
            for seed in given.seeds:
                if (name, seed, bank, given.trainings) not in there:
                    append_rows(given.out, [rows_of(name, seed, trainings, given.trainings, bank)])
    rows = [row for row in read_rows(given.out) if row["trainings"] == given.trainings and row["seed"] in given.seeds]
    rows = [row for row in rows if row.get("bank", 0) in given.banks and row["row"] in given.rows]
    print(summary(rows, "random search"))
    if len(given.banks) > 1:
        print(over_banks(rows, "random search"))


if __name__ == "__main__":
    main()
