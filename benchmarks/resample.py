"""Guided finalists and random search at equal compute on small NAS-Bench-201 at 8x8, from one bank of trained networks.

    python benchmarks/resample.py OUT.jsonl --bank BANK.jsonl --data cifar8.npz --weights FOLDER --table nb201.npz
        [--seeds 0 1 2] [--networks 22] [--estimate]

A training is the bank's first two rungs, 1 and 2 epochs (benchmarks/bank.py). For each seed, in this order:

- `guided`: NETWORKS finalists, no supernet; the first half random, then one after another by a model of the results;
- `random search`: random networks, until the CPU seconds of `guided` are spent;
- `random, halving`: the same CPU seconds in two rungs, of which the second has the better half of the first.

All that is drawn at random comes from the bank's first networks in an order by the seed, and rows of different seeds
share trainings: an interval of their means has to allow for that. CPU seconds are those of trainings and judgements.
Found networks are looked up in the table: nothing else looks at it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, cast

from bank import Bank, Functions, Trainer, name_of, pool
from rows import append_rows, read_rows

from dnas import FinalistSettings, NasBench201Space
from dnas.core.architecture import Architecture
from dnas.core.decision import Decision
from dnas.finalists.contest import Conditions, Contest, Finalist
from dnas.finalists.halving import halved
from dnas.finalists.judgement import Judgement
from dnas.finalists.opponents.compute import Compute
from dnas.finalists.opponents.random_halving import RandomHalving
from dnas.finalists.opponents.random_search import RandomSearch
from dnas.finalists.proposals import Possible, Proposal, Proposals
from dnas.finalists.same_function import SeenFunctions
from dnas.finalists.settings import Rung
from dnas.formats import read_nasbench201
from dnas.table import Table, load_table
from dnas.training.baseline import draw_random
from dnas.training.significance import deviation, mean

POOL = 32  # random networks that may be drawn
LIKE = FinalistSettings(num=2, epochs=1)


class Seen:
    """The functions that have been seen, by their names in the bank."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._seen: set[str] = set()

    def is_new(self, architecture: Architecture) -> bool:
        name = self._functions.name(name_of(architecture))
        is_new = name not in self._seen
        self._seen.add(name)
        return is_new


class BankContest:
    """Finalists whose trainings come from a bank.

    Args:
        bank: the bank.
        functions: names of functions in it.
        settings: of the contest.
        rungs: rungs of the bank that rung 0 of the contest stands for.
    """

    def __init__(self, bank: Bank, functions: Functions, settings: FinalistSettings, rungs: Sequence[int]) -> None:
        nothing: Any = None  # nothing is built here
        self.conditions = Conditions(nothing, nothing, nothing, nothing, nothing, settings)
        self.finalists: list[Finalist] = []
        self.compute, self.compute_now = 0.0, 0.0
        self._bank, self._functions, self._rungs = bank, functions, rungs

    def enter(self, proposals: Sequence[Proposal]) -> list[Finalist]:
        entered = [Finalist(0, one.architecture, one.source, 0, 0) for one in proposals]
        self.finalists += entered
        return entered

    def train_ahead(self, finalists: Sequence[Finalist], rungs: Sequence[Rung]) -> None: ...

    def train(self, finalist: Finalist, rung: Rung) -> None:
        name = self._functions.name(name_of(finalist.architecture))
        row: Mapping[str, Any] = {}
        for number in self._rungs if rung.number == 0 else [rung.number]:
            row = self._bank.row(name, number)
            self.compute += row["compute"]
        finalist.judgements.append(Judgement("top1", "higher", row["accuracy"], row["loss"], None, None))


def contest_of(bank: Bank, functions: Functions, settings: FinalistSettings, rungs: Sequence[int]) -> Contest:
    return cast(Contest, BankContest(bank, functions, settings, rungs))


def proposals_of(functions: Functions, drawn: Sequence[str], seed: int) -> Proposals:
    """Random proposals from the pool in an order by the seed, and afterwards from the space, for the guide's choice."""
    space, order = NasBench201Space(), list(drawn)
    Random(seed).shuffle(order)

    def random(index: int) -> Architecture:
        if index < len(order):
            return read_nasbench201(order[index])
        return draw_random(space, 10_000 + seed, index)

    possible = Possible(
        cast(Mapping[str, Decision], space.decisions()),
        space.architecture,
        lambda kept: True,
        random,
        cast(SeenFunctions, Seen(functions)),
    )
    return Proposals(possible, None, seed)


def find(
    name: str, seed: int, networks: int, limit: float, bank: Bank, functions: Functions, drawn: Sequence[str]
) -> Any:
    """What a row finds: the architecture, its compute in CPU seconds, and the number of its networks."""
    proposals = proposals_of(functions, drawn, seed)
    if name == "guided":
        settings = replace(LIKE, num=networks, rungs=1, guided_share=0.5, random_share=1.0, changes=0, seed=seed)
        contest = contest_of(bank, functions, settings, (0, 1))
        return halved(contest, proposals)[1][0].architecture, contest.compute, len(contest.finalists)
    opponent = RandomSearch(1) if name == "random search" else RandomHalving(1, 2)
    contest = contest_of(bank, functions, opponent.training(LIKE), (0, 1) if name == "random search" else (0,))
    found = opponent.find(contest, proposals, Compute(limit, contest, lambda: 0.0))
    return found, contest.compute, len(contest.finalists)


def row_of(name: str, seed: int, table: Table, found: Any) -> dict[str, Any]:
    architecture, compute, networks = found
    figures = {column: table.accuracy(architecture, column) for column in ("valid200_c10", "test200_c10")}
    return {
        "row": name,
        "seed": seed,
        "string": name_of(architecture),
        "compute": compute,
        "networks": networks,
    } | figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--networks", type=int, default=22)
    given = parser.parse_args()
    trainer = Trainer(given.data, given.weights, 0, 8)
    bank, functions, table = Bank(given.bank, trainer), Functions(trainer), load_table(given.table)
    drawn = pool(functions, POOL)
    print(
        f"At most {len(given.seeds) * given.networks * 16 / 60:.0f} core minutes, less what the bank has.", flush=True
    )
    for seed in given.seeds:
        for name in ("guided", "random search", "random, halving"):
            rows = {(row["row"], row["seed"]): row for row in read_rows(given.out)}
            if (name, seed) not in rows:
                limit = rows["guided", seed]["compute"] if name != "guided" else 0.0
                row = row_of(name, seed, table, find(name, seed, given.networks, limit, bank, functions, drawn))
                append_rows(given.out, [row])
                print(json.dumps(row), flush=True)
    for name in ("guided", "random search", "random, halving"):
        own = [row for row in read_rows(given.out) if row["row"] == name]
        values = [row["test200_c10"] for row in own]
        spread, compute = deviation(values) or 0.0, mean([row["compute"] for row in own])
        print(f"{name}: n {len(own)}, {mean(values):.2f} +- {spread:.2f}, {compute:.0f} CPU s")


if __name__ == "__main__":
    main()
