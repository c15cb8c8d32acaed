"""The main job on scikit-learn's digits within a time, on any machine: what `make demo` carries out.

    python -m dnas.cli.demo runs/demo --time 5min

The task is one in which architecture matters: a network of at most 14 % of the parameters of the costliest one, half of
the images for the test. Guided finalists search it, which do with any number of trainings, and random search with
successive halving, the strongest opponent, is given the same compute (docs/results.md has both over twenty seeds).

Every step is a command of `dnas`, and is shown. How much each does is planned from what is measured on this machine:
the number of finalists by the search's own `--time`, the number of random networks by the time that what comes before
took. Where not even two finalists and one random network fit, it is refused, with the time that would do.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path

from dnas.system.errors import UserError
from dnas.system.words import readable_time, seconds_in

DATA = ("--data", "digits", "--image_size", "8", "--test_fraction", "0.5")
NETWORK = ("--channels", "4", "--cells", "2", "--batch_size", "32", "--budget", "parameters<=14%")
FINALISTS = (
    *("--finalists", "32", "--finalists.alone", "true", "--finalists.guided_share", "0.5"),
    *("--finalists.epochs", "3", "--finalists.rungs", "3"),
)
# The found network and those beside it are trained with the optimizer of finalists.
RETRAINING = (
    *("--retrain.channels", "4", "--retrain.cells", "2", "--retrain.batch_size", "32", "--retrain.epochs", "10"),
    *("--retrain.weights.lr.start", "0.1", "--retrain.weights.weight_decay", "5e-4"),
    *("--retrain.weights.nesterov", "true", "--retrain.lr_changes", "step"),
    *("--retrain.auxiliary", "false", "--retrain.drop_path", "0", "--retrain.cutout", "0"),
)
# The best of three settings on seeds 100 and 101 (benchmarks/digits.py).
OPPONENT = "random_halving:epochs=3,rungs=3"

# Shares of the time: for the search, as much as for its opponent, and for what comes after the random networks.
SEARCH, TAIL = 0.35, 0.1
MOST_RANDOM = 8
# A random network takes this many times what the retraining took, and a second: it is measured, and may be larger.
MARGIN = 1.5


def main() -> None:
    """Carry out the demo."""
    from dnas.cli.main import carry_out

    parser = ArgumentParser(description="The main job on scikit-learn's digits, within a time.")
    parser.add_argument("run", type=Path, help="folder for the results; what is in it is removed")
    parser.add_argument("--time", default="5min", help="how long all of it may take, such as 5min")
    given = parser.parse_args()
    shutil.rmtree(given.run, ignore_errors=True)
    try:
        demo(given.run, seconds_in(given.time), carry_out, time.monotonic, begun=time.monotonic() - time.process_time())
    except UserError as error:
        print(f"dnas: {error}", file=sys.stderr)
        sys.exit(2)


def demo(
    run: Path,
    seconds: float,
    carry_out: Callable[[Sequence[str]], object],
    clock: Callable[[], float],
    *,
    begun: float,
) -> None:
    """The whole job within some time.

    Args:
        run: folder for the results.
        seconds: seconds for all of it.
        carry_out: carries out a command of `dnas`, given as words.
        clock: the time now, in seconds.
        begun: the time at which it began.

    Raises:
        UserError: the time is too short for the smallest plan; the message says what would do.
    """
    from dnas.core.run import RETRAIN
    from dnas.jobs.planning.time_budget import TooShort
    from dnas.training.loop import SUMMARY

    def step(*words: object) -> None:
        said = [str(word) for word in words]
        print(f"\n$ dnas {shlex.join(said)}", flush=True)
        carry_out(said)

    limit = max(int(SEARCH * seconds - (clock() - begun)), 1)
    try:
        step("search", *DATA, *NETWORK, *FINALISTS, *RETRAINING, "--run", run, "--time", f"{limit}s")
    except TooShort as error:
        least = int(seconds_in(error.enough) / SEARCH) + 1
        raise UserError(f"{readable_time(seconds)} are too short on this machine: give --time {least}s.") from error
    step("retrain", run)
    training = _number(run / RETRAIN, SUMMARY, "seconds")
    num = num_random(seconds - (clock() - begun) - opponent_seconds(run) - TAIL * seconds, training)
    if num == 0:
        raise UserError(
            f"{readable_time(seconds)} are too short for a comparison on this machine, which needs one random network: "
            f"give twice as much, --time {2 * int(seconds)}s."
        )
    if num < MOST_RANDOM:
        print(f"\nThere is time for {num} of {MOST_RANDOM} random networks.", flush=True)
    step("baseline", run, "--num", num, "--opponents", OPPONENT)
    step("evaluate", run)
    step("export", run)
    print(f"\nAll of it took {readable_time(clock() - begun)} of {readable_time(seconds)}.", flush=True)


def opponent_seconds(run: Path) -> float:
    """How long the opponent will take, in seconds by the clock.

    It spends all compute of the search, its planning and proposals too, as fast as the finalists spent theirs.
    """
    from dnas.finalists.contest import FOLDER
    from dnas.finalists.halving import RESULT
    from dnas.jobs.compute import FILE

    took, compute = (_number(run / FOLDER, RESULT, entry) for entry in ("seconds", "compute"))
    return _number(run, FILE, "seconds") * (took / compute if compute else 1.0)


def num_random(left: float, training: float) -> int:
    """The number of random networks for which there is time, beside two trainings of the opponent.

    One is of the network that it finds, the other one may have begun when its compute is spent.

    Args:
        left: seconds that are left for them.
        training: seconds that one training took.

    Example:
        >>> num_random(120, 7), num_random(50, 7), num_random(30, 7)
        (8, 2, 0)
    """
    return max(0, min(MOST_RANDOM, int(left / (MARGIN * training + 1)) - 2))


def _number(run: Path, file: str, entry: str) -> float:
    from dnas.core.run import Run

    return float(Run(run).load_json(file)[entry])


if __name__ == "__main__":
    main()
