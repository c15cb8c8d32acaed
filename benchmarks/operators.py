"""How many operators one search step of the DARTS supernet calls, and how many bytes they read and write. No clock.

    python benchmarks/operators.py --channels 16 --cells 8
    python benchmarks/operators.py --channels 16 --cells 8 --batch 64 --image 32

Operators are what a GPU pays for in launches; bytes over the memory's bandwidth bound the time of a step from below
where nothing stays in a cache: each operator counts its inputs and outputs once. Views and new tensors without values,
which launch nothing, are not counted. Depthwise convolutions are `nn.Conv2d` here, as one kernel forward and one call
backward: on a CPU ours put their gradients together from several. With `--kernels auto` the bytes of compiled kernels
count too, though they are no operators. Needs torch and numpy.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs where dnas is not installed

from benchmarks import search_step as benchmark  # noqa: E402
from benchmarks.retrain import plain_convolutions  # noqa: E402
from dnas.cost.traffic import TrafficCounter, moves_values  # noqa: E402


class Calls(TrafficCounter):
    """Counts operators by name, and the bytes that they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if moves_values(func):
            self.counts[func.overloadpacket.__name__] += 1
        return super().__torch_dispatch__(func, types, args, kwargs)


def counted(step: Callable[[], Any]) -> Calls:
    """The operators of one step, after one that sets the optimizers up."""
    step()
    with Calls() as calls:
        step()
    return calls


def steps(setup: benchmark.Setup) -> dict[str, Callable[[], Any]]:
    """A step of the reference, and of ours."""
    supernet = benchmark.our_supernet(setup, torch.float32)
    plain = benchmark.plain_supernet(setup)
    plain.load_from(supernet.model, supernet.alpha_parameters())
    plain_convolutions(supernet.model)
    batches = benchmark.random_batches(setup, setup.batch, torch.float32)
    reference, ours = benchmark.plain_search(plain, setup), benchmark.our_search(supernet, setup)
    return {"reference": lambda: reference.step(*batches), "ours": lambda: ours.step(*batches)}


def table(found: dict[str, Calls], rows: int) -> Sequence[str]:
    """The most frequent operators of both, and the totals."""
    names = [name for name, _ in sum((calls.counts for calls in found.values()), Counter()).most_common(rows)]
    lines = [f"{'':<32}" + "".join(f"{variant:>11}" for variant in found)]
    lines += [f"{name:<32}" + "".join(f"{calls.counts[name]:>11}" for calls in found.values()) for name in names]
    return [
        *lines,
        f"{'all':<32}" + "".join(f"{calls.counts.total():>11}" for calls in found.values()),
        f"{'GB read and written':<32}" + "".join(f"{calls.num_bytes / 1e9:>11.2f}" for calls in found.values()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=8, help="3 or more")
    parser.add_argument("--batch", type=int, default=2, help="2 or more; bytes grow with it, operators do not")
    parser.add_argument("--image", type=int, default=8, help="height and width in pixels, 8 or more")
    parser.add_argument("--second-order", action="store_true")
    parser.add_argument("--relaxation", choices=("softmax", "hard"), default="softmax")
    parser.add_argument("--kernels", choices=("auto", "plain"), default="plain", help="auto: ours by compiled kernels")
    given = parser.parse_args()
    sizes = (given.batch, given.channels, given.cells, given.image)
    ways = {"relaxation": given.relaxation, "kernels": given.kernels}
    setup = benchmark.Setup("cpu", 1, *sizes, given.second_order, **ways)
    print("\n".join(table({name: counted(step) for name, step in steps(setup).items()}, rows=12)))


if __name__ == "__main__":
    main()
