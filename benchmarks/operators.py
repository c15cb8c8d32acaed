"""How many operators one search step of the DARTS supernet calls: what a GPU pays for in launches. No clock, no GPU.

    python benchmarks/operators.py --channels 16 --cells 8

Views, which launch nothing, are not counted. Depthwise convolutions are `nn.Conv2d` here, as one kernel forward and one
call backward: on a CPU ours put their gradients together from several. Needs torch and numpy.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs where dnas is not installed

from benchmarks import search_step as benchmark  # noqa: E402
from benchmarks.retrain import plain_convolutions  # noqa: E402


class Calls(TorchDispatchMode):
    """Counts operators by name, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not is_view(func):
            self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def is_view(func: Any) -> bool:
    """Whether an operator gives out memory of its input and writes nothing."""
    aliases = [result.alias_info for result in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def counted(step: Callable[[], Any]) -> Counter[str]:
    """The operators of one step, after one that sets the optimizers up."""
    step()
    with Calls() as calls:
        step()
    return calls.counts


def steps(setup: benchmark.Setup) -> dict[str, Callable[[], Any]]:
    """A step of the reference, and of ours."""
    supernet = benchmark.our_supernet(setup, torch.float32)
    plain = benchmark.plain_supernet(setup)
    plain.load_from(supernet.model, supernet.alpha_parameters())
    plain_convolutions(supernet.model)
    batches = benchmark.random_batches(setup, setup.batch, torch.float32)
    reference, ours = benchmark.plain_search(plain, setup), benchmark.our_search(supernet, setup)
    return {"reference": lambda: reference.step(*batches), "ours": lambda: ours.step(*batches)}


def table(found: dict[str, Counter[str]], rows: int) -> Sequence[str]:
    """The totals, and the most frequent operators of both."""
    names = [name for name, _ in sum(found.values(), Counter()).most_common(rows)]
    lines = [f"{'':<32}" + "".join(f"{variant:>11}" for variant in found)]
    lines += [f"{name:<32}" + "".join(f"{counts[name]:>11}" for counts in found.values()) for name in names]
    return [*lines, f"{'all':<32}" + "".join(f"{counts.total():>11}" for counts in found.values())]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=8, help="3 or more")
    parser.add_argument("--second-order", action="store_true")
    parser.add_argument("--relaxation", choices=("softmax", "hard"), default="softmax")
    given = parser.parse_args()
    setup = benchmark.Setup(
        "cpu", 1, 2, given.channels, given.cells, 8, given.second_order, relaxation=given.relaxation
    )
    print("\n".join(table({name: counted(step) for name, step in steps(setup).items()}, rows=12)))


if __name__ == "__main__":
    main()
