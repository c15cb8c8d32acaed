"""The main job on scikit-learn's digits within a time, on any machine: what `make demo` carries out.

    python -m dnas.cli.demo runs/demo --time 5min

Every step is a command of `dnas`, and is shown. How much each does is planned from what is measured on this machine:
the search and the retraining by their own `--time`, the number of random networks by the time that the retraining took.
A machine that is too slow for cells of four nodes searches cells of two, then two such cells for four epochs of larger
batches; where not even that fits, it is refused, with the time that would do.
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

# Shares of the time: for the search, for one retraining, and for what comes after the random networks.
SEARCH, RETRAIN, TAIL = 0.5, 0.15, 0.15
# From large to small: options of the search beside those of the recipe.
_SMALL = ("--space.nodes", "2")
_SMALLEST = ("--cells", "2", "--batch_size", "192", "--supernet_images", "192")
_SHORTEST = ("--search.epochs", "4", "--search.warmup_epochs", "1")
PLANS = ((), _SMALL, (*_SMALL, *_SMALLEST, *_SHORTEST))
# Where a plan takes more than this many times the time, the next one would not do either.
MUCH = 3.0
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

    def step(*words: object) -> None:
        said = [str(word) for word in words]
        print(f"\n$ dnas {shlex.join(said)}", flush=True)
        carry_out(said)

    _search(run, lambda: max(int(SEARCH * seconds - (clock() - begun)), 1), step)
    step("retrain", run, "--time", f"{int(RETRAIN * seconds)}s")
    num = num_random(seconds - (clock() - begun) - TAIL * seconds, _training_seconds(run))
    if num == 0:
        raise UserError(
            f"{readable_time(seconds)} are too short for a comparison on this machine, which needs one random network: "
            f"give twice as much, --time {2 * int(seconds)}s."
        )
    if num < MOST_RANDOM:
        print(f"\nThere is time for {num} of {MOST_RANDOM} random networks.", flush=True)
    step("baseline", run, "--num", num)
    step("evaluate", run)
    step("export", run)
    print(f"\nAll of it took {readable_time(clock() - begun)} of {readable_time(seconds)}.", flush=True)


def _search(run: Path, left: Callable[[], int], step: Callable[..., None]) -> None:
    """The search of the largest plan that fits; what is tried before is a part of its time."""
    from dnas.jobs.planning.time_budget import TooShort

    plan = 0
    while True:
        limit = left()
        try:
            step("search", "--recipe", "digits", "--run", run, "--time", f"{limit}s", *PLANS[plan])
            return
        except TooShort as error:
            last = len(PLANS) - 1
            if plan == last:
                raise UserError(f"The smallest plan of the demo does not fit this machine: {error}") from error
            plan = last if seconds_in(error.enough) > MUCH * limit else plan + 1
            print("This machine is too slow for that in the time: something smaller.", flush=True)


def num_random(left: float, training: float) -> int:
    """The number of random networks for which there is time.

    Args:
        left: seconds that are left for them.
        training: seconds that one training took.

    Example:
        >>> num_random(100, 7), num_random(30, 7), num_random(5, 7)
        (8, 2, 0)
    """
    return max(0, min(MOST_RANDOM, int(left / (MARGIN * training + 1))))


def _training_seconds(run: Path) -> float:
    from dnas.core.run import RETRAIN as FOLDER
    from dnas.core.run import Run
    from dnas.training.loop import SUMMARY

    return float(Run(run).child(FOLDER).load_json(SUMMARY)["seconds"])


if __name__ == "__main__":
    main()
