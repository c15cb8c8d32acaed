"""The demo's search and its opponent at equal compute, over seeds: how often `make demo` wins.

    PYTHONPATH=. python benchmarks/demo.py OUT.jsonl --folder RUNS [--seeds 100 101 ...]

For each seed, which also chooses the test part, the commands of dnas/cli/demo.py are carried out, with all finalists
and without a time: search, retraining, and a baseline with the opponent and one random network. The seeds were fixed
before any was run: 100 to 119. Rows are lines of JSON; rows that are there are not made again.

The rule, written when the demo's first search (36 finalists, half guided, one rung of 10 epochs) had lost 8 of the
seeds 100 to 109 and none of 110 to 119 was run: the demo takes the same with the three rungs of its opponent (32
finalists from 3 epochs) if that is better on seeds 100 to 109 in the mean; then it and the opponent are run on seeds
110 to 119, which neither has been chosen on, and that is the demo's win rate, whatever it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from intervals import interval_of_mean
from rows import complete

from dnas import Run
from dnas.cli.demo import DATA, FINALISTS, NETWORK, OPPONENT, RETRAINING
from dnas.cli.main import carry_out
from dnas.jobs.opponents import OPPONENTS
from dnas.training.significance import deviation, mean

MINUTES = 1.5  # CPU minutes of a seed


def rows_of(folder: Path, seed: int) -> list[dict[str, Any]]:
    run = Run(folder / f"seed-{seed}")
    if not run.architecture_path.exists():
        begin = ("search", *DATA, *NETWORK, *FINALISTS, *RETRAINING, "--seed", seed, "--threads", 1, "--run", run.path)
        carry_out([str(word) for word in (begin if not run.config_path.exists() else ("search", "--resume", run.path))])
    carry_out(["retrain", str(run.path)])
    carry_out(["baseline", str(run.path), "--num", "1", "--opponents", OPPONENT])
    comparison = run.child("baseline").load_json("comparison")
    opponent = next(iter((run.path / OPPONENTS).iterdir())).name
    rows = {"found": comparison["found"], "opponent": comparison["beside"][0]}
    assert rows["opponent"]["name"] == opponent
    spent = {"found": run, "opponent": run.child(OPPONENTS).child(opponent)}
    return [
        {
            "way": way,
            "seed": seed,
            "test": row["test"],
            "validation": row["validation"],
            "parameters": row["parameters"],
            "compute": spent[way].load_json("compute")["seconds"],
        }
        for way, row in rows.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(100, 120)))
    given = parser.parse_args()
    wanted = [(seed,) for seed in given.seeds]
    rows = complete(given.out, ("seed",), wanted, lambda seed: rows_of(given.folder, seed), minutes=MINUTES)
    tests = {
        way: {row["seed"]: 100 * row["test"] for row in rows if row["way"] == way} for way in ("found", "opponent")
    }
    for way, values in tests.items():
        compute = mean([row["compute"] for row in rows if row["way"] == way])
        of_all = list(values.values())
        print(f"{way}: n {len(of_all)}, {mean(of_all):.2f} +- {deviation(of_all) or 0:.2f}, {compute:.0f} CPU s")
    differences = [tests["found"][seed] - tests["opponent"][seed] for seed in tests["found"]]
    wins, ties = sum(one > 0 for one in differences), sum(one == 0 for one in differences)
    if len(set(differences)) > 1:
        print(
            f"found - opponent: {interval_of_mean(differences)}; ahead on {wins}, equal on {ties} of {len(differences)}"
        )


if __name__ == "__main__":
    main()
