"""What it costs to take the cheapest of finalists that cannot be told apart, from finished runs with finalists.

    PYTHONPATH=. python benchmarks/cheapest.py OUT.jsonl RUN [RUN ...]

For each run the finalists of its last rung are read: the best by the task's metric on held-out samples, and the
cheapest of those that cannot be told apart from it, which is what a search takes. Where these are two networks, both
are trained twice anew, as the run says for its retraining, with the same two seeds. A row is a line of JSON; rows that
are there are not made again. The test part decides nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from intervals import interval_of_mean
from rows import complete

from dnas import Run, Silent
from dnas.cli.run_settings import job_of
from dnas.core.architecture import Architecture
from dnas.cost import count_flops, count_parameters
from dnas.finalists.judgement import Judgement
from dnas.finalists.same_function import first_samples
from dnas.finalists.telling_apart import can_tell_apart
from dnas.jobs.images import read_data
from dnas.jobs.judge import comparable_training
from dnas.training.baseline import Training
from dnas.training.evaluate import evaluation_mode
from dnas.training.significance import mean

TRAININGS = 2
MINUTES = 0.3  # CPU minutes of a run


class Candidate(NamedTuple):
    """A finalist of the last rung."""

    architecture: Architecture
    judgement: Judgement
    flops: int
    parameters: int


def rows_of(folder: str) -> list[dict[str, Any]]:
    run = Run(folder)
    job = replace(job_of(run, trust=False), threads=1)
    data = read_data(run, job, Silent())
    training = comparable_training(run, job, data)
    batch = next(iter(training.test.epoch(0)))
    last = max(path.name for path in run.path.glob("finalists/*/rung_*"))
    found = []
    for path in sorted(run.path.glob(f"finalists/*/{last}/judgement.json")):
        rung = Run(path.parent)
        judgement = Judgement.from_data(rung.load_json("judgement"), source=str(path))
        architecture = Run(path.parents[1]).load_architecture()
        network = training.build(architecture)
        with evaluation_mode(network):
            flops = count_flops(network, first_samples(batch, 1))
        found.append(Candidate(architecture, judgement, flops, count_parameters(network)))
    found.sort(key=lambda one: one.judgement.order)
    best = found[0]
    equals = [one for one in found if one is best or not can_tell_apart(best.judgement, one.judgement)]
    taken = min(equals, key=lambda one: (one.flops, one.parameters, one.judgement.order))
    row = {"run": folder, "finalists": len(found), "equals": len(equals), "is_best": taken is best}
    for name, one in (("best", best), ("taken", taken)):
        row |= {f"{name}_held_out": one.judgement.value, f"{name}_flops": one.flops}
        if taken is not best:
            row[f"{name}_tests"] = tests_of(training, run, name, one.architecture)
    return [row]


def tests_of(training: Training, run: Run, name: str, architecture: Architecture) -> list[float]:
    """Test values of new trainings of an architecture."""
    tests = []
    for number in range(TRAININGS):
        settings = replace(training.settings, seed=training.settings.seed + 1000 * (number + 1))
        own = run.child("cheapest").child(name).child(str(number))
        tests.append(replace(training, settings=settings).row(name, architecture, run=own).test)
    return tests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", type=str, nargs="+")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = complete(given.out, ("run",), [(run,) for run in given.runs], rows_of, minutes=MINUTES)
    others = [row for row in rows if not row["is_best"]]
    print(f"{len(rows)} runs, in {len(others)} of them the cheapest was not the best")
    if len(others) < 2:
        return
    for name, value in (
        ("held out", lambda row: row["taken_held_out"] - row["best_held_out"]),
        ("test", lambda row: mean(row["taken_tests"]) - mean(row["best_tests"])),
        ("FLOPs in %", lambda row: row["taken_flops"] / row["best_flops"] - 1),
    ):
        differences = [100 * value(row) for row in others]
        print(f"taken - best, {name}: {interval_of_mean(differences)}")


if __name__ == "__main__":
    main()
