"""Digits in the DARTS space under a parameter budget: ways to search at equal compute, paired over seeds.

    python benchmarks/digits.py OUT.jsonl --folder RUNS [--seeds 0 1 2 ...] [--ways default guided:epochs=10 ...]

The setting is one in which architecture matters (docs/results.md says how that was found): cells of four nodes, 4
channels, 2 cells, at most 14 % of the parameters of the costliest network, half of the 1,797 digits for the test. For
each seed, which also chooses the test part and the halves of the rest:

- `default`: the recipe, whose alphas' rate is fitted to its steps as `dnas search --time` does it;
- `no price`: the same, where the price of the budget has no part in the search;
- `finalists`, `finalists, no price`: half of the epochs of these two, then 16 finalists;
- every other way is an opponent by its name for `dnas compare`: it spends the CPU seconds of that search, one thread.

What each finds is trained anew in the same way, twice, on all but the test part; the test part is read once for each
training, after every choice.

The rule, written before seeds 0 to 9 were run: seeds are run in order, as many as the time allows, and all that are
whole are reported. A way is ahead of another if the 95 % interval of the mean paired difference is above 0. If `guided`
is ahead of `default`, docs/choose.md names finalists without a supernet for tight parameter budgets; if the halving is
ahead of `default`, or its interval holds 0, the goal that `default` beats it is missed and said to be.

Added on 2026-11-29, when seeds 0 to 4 were read (`default` behind on each of them) and none of 5 to 9: all three are
run on seeds 5 to 9 too. What `default` does under a budget is changed to what is better on seeds 100 to 103, if
anything is, by at least 1 point in the mean and on no seed worse; its row on seeds 0 to 9 is added beside the old one.
If the new `default` is not behind the halving there (the interval of the paired difference is not wholly below 0), it
stays what `dnas search --budget` does with nothing else said; otherwise docs/budgets.md and docs/choose.md say plainly
what to use instead, and that it is not the default.

Added later that day, before any row of a new way on seeds 0 to 9 was made (there was time for seeds 100 to 102 only,
see `digits_ways.jsonl`). Two go on to seeds 0 to 9: `default` without a price on the expected cost during the search,
the budget being met by the integer program at its end; and `finalists`, the same with half of the epochs and then 16
finalists by successive halving, of which the search's result is one and 15 are random, for no more compute than
`default`. The rows with the price, until then called `default`, are called `price`. The price is dropped if `default`
is ahead of `price` (its interval is above 0). `finalists` becomes what `dnas search --budget` does if it is ahead of
`default`, whatever the halving has; whether it is behind the halving is judged and said as above.

With `--free` there is no budget, and two ways: `default`, and random search with halving at its CPU seconds. Written
before any such row was made: seeds are run in order, as many as the time allows, and all that are whole are reported;
the opponent keeps the settings that were chosen for it within the budget. The goal is a mean paired difference above 0.

`few steps` was added when those rows were read (`default`, 140 steps, behind on ten of ten) and before any of its
own: no supernet, but 14 finalists in the demo's settings, whose 168 epochs cost about what halving takes. `dnas
search` does so below 300 steps where nothing is said of the search or of finalists, if the way is ahead of `default`
(the interval of the paired difference above 0) and not behind the halving (its interval not wholly below 0). 300 lies
between these 140 steps and the 632 of the DARTS space on CIFAR-10 at 8x8, where `default` is ahead of the halving.

The rows with a budget were named anew afterwards: `price` is `default` again, the two new ways are `no price` and
`finalists, no price`. What came of it is in docs/results.md.

A row is a line of JSON; rows that are there are not made again, and what is finished in
RUNS is taken as it is. The estimate of the time is printed first; the paired differences at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from intervals import interval_of_mean
from rows import append_rows, read_rows

from dnas import Budget, Cosine, DartsSpace, Dirichlet, RetrainSettings, Run, SearchSettings, Silent, WeightSGD
from dnas.core.architecture import Architecture
from dnas.cost import count_flops
from dnas.finalists.opponents.named import named_opponents
from dnas.finalists.same_function import first_samples
from dnas.finalists.settings import FEW_STEPS, WITHIN_BUDGET
from dnas.jobs.images import JobData, load_data
from dnas.jobs.job import Job
from dnas.jobs.job_data import open_data
from dnas.jobs.judge import comparable_training
from dnas.jobs.opponents import OPPONENTS, opponents_of
from dnas.jobs.planning.rate import with_fitted_rate
from dnas.jobs.run_folder import begin
from dnas.jobs.search import search_command
from dnas.training.evaluate import evaluation_mode
from dnas.training.significance import deviation, mean

CHANNELS, CELLS, BATCH = 4, 2, 32
LIMITS = ("parameters<=14%",)
TRAININGS = 2  # of what was found
MINUTES = 1.3  # CPU minutes of a row
# The second is what finalists without a supernet do. The third is the best setting of three of random search on seeds
# 100 and 101 (digits_tuning.jsonl): 94.05 in the mean, with epochs=5,rungs=2 93.55, with one rung of ten epochs 93.83.
WAYS = ("default", "guided:epochs=10", "random_halving:epochs=3,rungs=3", "no price", "finalists, no price")
FREE_WAYS = ("default", "random_halving:epochs=3,rungs=3", "few steps")
SEARCHES = ("default", "no price", "finalists", "finalists, no price", "few steps")  # the other ways are opponents


def job_of(seed: int, way: str = "default", *, is_free: bool = False) -> Job:
    settle = WeightSGD(lr=Cosine(0.1, 0.0), weight_decay=5e-4, nesterov=True)  # as that of finalists
    job = Job(
        data="digits",
        space=DartsSpace(),
        test_fraction=0.5,
        image_size=8,
        channels=CHANNELS,
        cells=CELLS,
        batch_size=BATCH,
        threads=1,
        device="cpu",
        seed=seed,
        search=SearchSettings(epochs=10, relaxation=Dirichlet(), budget=None if is_free else Budget(LIMITS)),
        retrain=RetrainSettings(
            epochs=10,
            weights=settle,
            lr_changes="step",
            batch_size=BATCH,
            channels=CHANNELS,
            cells=CELLS,
            auxiliary=False,
            drop_path=0.0,
            cutout=0,
        ),
    )
    if "no price" in way:
        job = replace(job, search=replace(job.search, budget=Budget(LIMITS, priced=False)))
    if "finalists" in way:
        job = replace(job, search=replace(job.search, epochs=5), finalists=WITHIN_BUDGET)
    if way == "few steps":
        job = replace(job, finalists=replace(FEW_STEPS, num=14))
    return with_fitted_rate(job, open_data(job))


def searched(folder: Path, seed: int, way: str, *, is_free: bool) -> tuple[Run, Job, JobData]:
    """The search of a way with a seed, that of `default` for an opponent, made if it is not there."""
    own = way if way in SEARCHES else "default"
    name = "" if own == "default" else own.replace(", ", "-").replace(" ", "-") + "-"
    job, run = job_of(seed, own, is_free=is_free), Run(folder / f"{name}seed-{seed}")
    data = load_data(job)
    if not run.config_path.exists():
        begin(run, job)
    if not run.architecture_path.exists():
        search_command(run, job, data, Silent())
    return run, job, data


def measured(run: Run, way: str, architecture: Architecture, job: Job, data: JobData) -> dict[str, Any]:
    """What an architecture reaches, and what its network costs."""
    training = comparable_training(run, job, data)
    rows = []
    for number in range(TRAININGS):
        settings = replace(training.settings, seed=training.settings.seed + 1000 * (number + 1))
        trained = run.child("measured").child(way.replace(":", "-")).child(str(number))
        rows.append(replace(training, settings=settings).row(way, architecture, run=trained))
    network = training.build(architecture)
    with evaluation_mode(network):
        flops = count_flops(network, first_samples(next(iter(training.test.epoch(0))), 1))
    tests = [row.test for row in rows]
    return {"test": mean(tests), "tests": tests, "parameters": rows[0].parameters, "flops": flops}


def row_of(folder: Path, way: str, seed: int, *, is_free: bool = False) -> dict[str, Any]:
    run, job, data = searched(folder, seed, way, is_free=is_free)
    if way in SEARCHES:
        found, own, networks = run.load_architecture(), run, len(list(run.path.glob("finalists/[0-9]*")))
    else:
        opponents = named_opponents([way])
        name = next(iter(opponents))
        found = opponents_of(run, job, data, opponents, Silent())[name]
        own = run.child(OPPONENTS).child(name)
        networks = int(own.load_json("search")["trainings"])
    compute = {"compute": float(own.load_json("compute")["seconds"]), "networks": networks}
    return {"way": way, "seed": seed, **compute, **measured(run, way, found, job, data)}


def paired(rows: Sequence[dict[str, Any]], ahead: str, behind: str) -> str:
    """The mean difference of two ways over the seeds that both have."""
    values = {name: {row["seed"]: 100 * row["test"] for row in rows if row["way"] == name} for name in (ahead, behind)}
    seeds = sorted(values[ahead].keys() & values[behind].keys())
    differences = [values[ahead][seed] - values[behind][seed] for seed in seeds]
    if len(set(differences)) < 2:
        return f"{ahead} - {behind}: {len(seeds)} seeds, too few"
    wins = sum(one > 0 for one in differences)
    return f"{ahead} - {behind}: {interval_of_mean(differences)}, ahead on {wins} of {len(seeds)} seeds"


def summary(rows: Sequence[dict[str, Any]]) -> str:
    lines, ways = [], list(dict.fromkeys(row["way"] for row in rows))
    for way in ways:
        own = [row for row in rows if row["way"] == way]
        tests = [100 * row["test"] for row in own]
        means = {name: mean([row[name] for row in own]) for name in ("compute", "networks", "parameters", "flops")}
        costs = ", ".join(f"{name} {value:,.0f}" for name, value in means.items())
        lines.append(f"{way}: n {len(own)}, test {mean(tests):.2f} +- {deviation(tests) or 0:.2f}, {costs}")
    lines += [paired(rows, ways[first], way) for first in range(len(ways)) for way in ways[first + 1 :]]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--ways", nargs="+")
    parser.add_argument("--free", action="store_true", help="without a budget")
    given = parser.parse_args()
    given.ways = given.ways or list(FREE_WAYS if given.free else WAYS)
    torch.set_num_threads(1)
    there = {(row["way"], row["seed"]) for row in read_rows(given.out)}
    missing = [(way, seed) for seed in given.seeds for way in given.ways if (way, seed) not in there]
    print(f"{len(missing)} rows to make, about {MINUTES * len(missing):.0f} CPU minutes", flush=True)
    for way, seed in missing:
        row = row_of(given.folder, way, seed, is_free=given.free)
        append_rows(given.out, [row])
        print(f"{way}, seed {seed}: {100 * row['test']:.2f}, {row['compute']:.0f} CPU s", flush=True)
    rows = [row for row in read_rows(given.out) if row["seed"] in given.seeds and row["way"] in given.ways]
    print(summary(sorted(rows, key=lambda row: given.ways.index(row["way"]))))


if __name__ == "__main__":
    main()
