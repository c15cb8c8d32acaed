"""Time of depthwise convolutions and both gradients, ours against the library, in one run.

    python benchmarks/depthwise.py --threads 1 --output depthwise.json

The convolutions are those of the DARTS supernet (16 channels, batch 64) in its three stages, on the CPU: on a GPU ours
are the library's. Every result is first compared with the library's in float64; where one is wrong the run stops. Times
are best, median and third quartile after a warm-up, the two taking turns. Inputs are the same in all repeats and may
stay in caches. Needs torch and numpy.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs where dnas is not installed

from benchmarks.in_turns import machine  # noqa: E402
from dnas.space.depthwise import DepthwiseConv  # noqa: E402

QUANTITIES = ("forward", "input gradient", "weight gradient")
TOLERANCE = 1e-5

# Images and weights to outputs.
Convolution = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """One convolution; images are (batch, channels, size, size)."""

    batch: int
    channels: int
    size: int
    kernel: int
    stride: int
    dilation: int

    @property
    def out_size(self) -> int:
        return -(-self.size // self.stride)

    def least_bytes(self) -> int:
        """What any of the three must move in float32: images once, and the output or its gradient once."""
        return self.batch * self.channels * (self.size**2 + self.out_size**2) * 4


@dataclass(frozen=True)
class Row:
    case: Case
    quantity: str
    library_ms: list[float]  # best, median, third quartile
    ours_ms: list[float]
    ours_gb_per_s: float
    library_error: float
    ours_error: float


def cases() -> Iterator[Case]:
    stages = ((64, 16, 32), (64, 32, 16), (64, 64, 8))
    for stage, kernel, dilation, stride in itertools.product(stages, (3, 5), (1, 2), (1, 2)):
        yield Case(*stage, kernel, stride, dilation)


def library(case: Case) -> Convolution:
    """As PyTorch computes it."""
    padding = case.dilation * (case.kernel // 2)
    return lambda x, weight: F.conv2d(x, weight, None, case.stride, padding, case.dilation, case.channels)


def ours(case: Case) -> Convolution:
    """`DepthwiseConv`."""
    layer = DepthwiseConv(case.channels, case.kernel, case.stride, case.dilation)

    def convolve(x: Tensor, weight: Tensor) -> Tensor:
        layer.weight = weight  # type: ignore[assignment]  # `functional_call` would take as long as small images.
        return layer(x)

    return convolve


class Work:
    """The three things to time.

    Each gradient has a graph in which only its own variable needs one, as in a search: a function written in Python
    computes the gradients of all inputs that need one, also where `autograd.grad` was asked for some.
    """

    def __init__(self, convolve: Convolution, x: Tensor, weight: Tensor, gradient: Tensor):
        self.convolve = convolve
        self.x = x.contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(weight.clone(), requires_grad=False)
        self.gradient = gradient.contiguous(memory_format=torch.channels_last)
        self.moving_x = self.x.clone().requires_grad_()
        self.moving_weight = nn.Parameter(weight.clone())
        self.output_of_x = convolve(self.moving_x, self.weight)
        self.output_of_weight = convolve(self.x, self.moving_weight)

    def forward(self) -> Tensor:
        return self.convolve(self.moving_x, self.weight)

    def input_gradient(self) -> Tensor:
        return torch.autograd.grad(self.output_of_x, self.moving_x, self.gradient, retain_graph=True)[0]

    def weight_gradient(self) -> Tensor:
        return torch.autograd.grad(self.output_of_weight, self.moving_weight, self.gradient, retain_graph=True)[0]

    def call(self, quantity: str) -> Callable[[], Tensor]:
        return (self.forward, self.input_gradient, self.weight_gradient)[QUANTITIES.index(quantity)]


def measure(case: Case, repeats: int) -> Iterator[Row]:
    """Raises:
    RuntimeError: a result of ours is not that of the library in float64.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(case.batch, case.channels, case.size, case.size, generator=generator)
    weight = torch.randn(case.channels, 1, case.kernel, case.kernel, generator=generator)
    g = torch.randn(case.batch, case.channels, case.out_size, case.out_size, generator=generator)
    exact = Work(library(case), x.double(), weight.double(), g.double())
    plain, fast = Work(library(case), x, weight, g), Work(ours(case), x, weight, g)
    for quantity in QUANTITIES:
        expected = exact.call(quantity)()
        plain_error, fast_error = (relative_error(work.call(quantity)(), expected) for work in (plain, fast))
        if not fast_error <= TOLERANCE:  # so that NaN stops as well
            raise RuntimeError(f"{quantity} of {case} is wrong: relative error {fast_error:.1e}.")
        plain_ms, fast_ms = milliseconds([plain.call(quantity), fast.call(quantity)], repeats)
        yield Row(case, quantity, plain_ms, fast_ms, case.least_bytes() / fast_ms[1] / 1e6, plain_error, fast_error)


def relative_error(result: Tensor, expected: Tensor) -> float:
    return float((result.detach() - expected.detach()).norm() / expected.detach().norm())


def milliseconds(calls: list[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Best, median and third quartile of each call's time; the calls take turns."""
    times = [[taken(call) for call in calls] for _ in range(repeats + 1)][1:]
    return [
        [min(taken), *statistics.quantiles(taken, n=4, method="inclusive")[1:]] for taken in zip(*times, strict=True)
    ]


def taken(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def table_line(row: Row) -> str:
    case = row.case
    name = (
        f"{case.batch}x{case.channels}x{case.size}x{case.size} {case.kernel}x{case.kernel} stride {case.stride} "
        f"dilation {case.dilation}"
    )
    times = "".join(
        f"{best:>9.4f}{median:>9.4f}{third:>9.4f}  " for best, median, third in (row.library_ms, row.ours_ms)
    )
    return (
        f"{name:<51}{row.quantity:<15}{times}{row.library_ms[1] / row.ours_ms[1]:>8.2f}{row.ours_gb_per_s:>8.1f}"
        f"{row.ours_error:>9.0e}"
    )


COLUMNS = f"{'best':>9}{'median':>9}{'75%':>9}  "
HEADER = (
    f"{'':<66}{'library, ms':>27}  {'ours, ms':>27}  {'median':>8}{'':>8}{'relative':>9}\n"
    f"{'':<66}{COLUMNS}{COLUMNS}{'faster':>8}{'GB/s':>8}{'error':>9}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    where = machine("cpu") | {"threads": str(arguments.threads)}
    print(", ".join(f"{name} {value}" for name, value in where.items()), HEADER, sep="\n\n")
    rows = []
    for case in cases():
        for row in measure(case, arguments.repeats):
            rows.append(row)
            print(table_line(row), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps({"machine": where, "rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
