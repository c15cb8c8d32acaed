"""Time of depthwise convolutions and both gradients, ours against the library, in one run.

    python benchmarks/depthwise.py --threads 1 --output depthwise.json
    python benchmarks/depthwise.py --device cuda --dtype bfloat16 --output depthwise.json

The convolutions are those of the DARTS supernet (16 channels, batch 64) in its three stages. On a GPU ours is one call
of the Triton kernels for all edges that leave a state; the library's time is that of one convolution per edge. On the
CPU ours is `DepthwiseConv` and there is one edge. Every result is first compared with the library's in float64 on the
same device; where one is wrong the run stops. Times are best, median and third quartile after a warm-up, the two taking
turns; on a GPU they are replays of CUDA graphs and hold no launch from Python. Inputs are the same in all repeats and
may stay in caches. The CUDA path has not been run yet. Needs torch and numpy, and Triton on a GPU.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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
# In the images' type: results are rounded to it once.
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2, "float16": 2e-3}
CALLS_PER_GRAPH = 10

# Images and weights (of one edge, or of all edges stacked) to outputs.
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
    edges: int

    @property
    def out_size(self) -> int:
        return -(-self.size // self.stride)

    def least_bytes(self, dtype: torch.dtype) -> int:
        """What any of the three must move: images once, and the output or its gradient once."""
        pixels = self.size**2 + self.edges * self.out_size**2
        return self.batch * self.channels * pixels * dtype.itemsize


@dataclass(frozen=True)
class Row:
    case: Case
    quantity: str
    library_ms: list[float]  # best, median, third quartile
    ours_ms: list[float]
    ours_gb_per_s: float
    library_error: float
    ours_error: float


def cases(edges: list[int]) -> Iterator[Case]:
    stages = ((64, 16, 32), (64, 32, 16), (64, 64, 8))
    for stage, kernel, dilation, stride, count in itertools.product(stages, (3, 5), (1, 2), (1, 2), edges):
        yield Case(*stage, kernel, stride, dilation, count)


def library(case: Case) -> Convolution:
    """One edge as PyTorch computes it."""
    padding = case.dilation * (case.kernel // 2)
    return lambda x, weight: F.conv2d(x, weight, None, case.stride, padding, case.dilation, case.channels)


def ours(case: Case, device: torch.device) -> Convolution:
    """All edges at once on a GPU; one edge on the CPU."""
    if device.type == "cuda":
        from dnas.space.depthwise_triton import depthwise

        return lambda x, weight: depthwise(x, weight, stride=case.stride, dilation=case.dilation)
    layer = DepthwiseConv(case.channels, case.kernel, case.stride, case.dilation)

    def convolve(x: Tensor, weight: Tensor) -> Tensor:
        layer.weight = weight  # type: ignore[assignment]  # `functional_call` would take as long as small images.
        return layer(x)

    return convolve


class Work:
    """The three things to time; weights and gradients of the output are given per call of `convolve`.

    Each gradient has a graph in which only its own variable needs one, as in a search: a function written in Python
    computes the gradients of all inputs that need one, also where `autograd.grad` was asked for some.
    """

    def __init__(self, convolve: Convolution, x: Tensor, weights: tuple[Tensor, ...], gradients: tuple[Tensor, ...]):
        self.convolve = convolve
        self.x = x.contiguous(memory_format=torch.channels_last)
        self.weights = [nn.Parameter(weight.clone(), requires_grad=False) for weight in weights]
        self.gradients = [g.contiguous(memory_format=torch.channels_last) for g in gradients]
        self.moving_x = self.x.clone().requires_grad_()
        self.moving_weights = [nn.Parameter(weight.clone()) for weight in weights]
        self.outputs_of_x = [convolve(self.moving_x, weight) for weight in self.weights]
        self.outputs_of_weights = [convolve(self.x, weight) for weight in self.moving_weights]

    def forward(self) -> Sequence[Tensor]:
        return [self.convolve(self.moving_x, weight) for weight in self.weights]

    def input_gradient(self) -> Sequence[Tensor]:
        return torch.autograd.grad(self.outputs_of_x, self.moving_x, self.gradients, retain_graph=True)

    def weight_gradient(self) -> Sequence[Tensor]:
        return torch.autograd.grad(self.outputs_of_weights, self.moving_weights, self.gradients, retain_graph=True)

    def result(self, quantity: str) -> Tensor:
        """As one tensor, in float64."""
        parts = self.call(quantity)()
        return torch.cat(list(parts), dim=0 if quantity == "weight gradient" else 1).detach().double()

    def call(self, quantity: str) -> Callable[[], Sequence[Tensor]]:
        return (self.forward, self.input_gradient, self.weight_gradient)[QUANTITIES.index(quantity)]


def measure(case: Case, device: torch.device, dtype: torch.dtype, repeats: int) -> Iterator[Row]:
    """Raises:
    RuntimeError: a result of ours is not that of the library in float64.
    """
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    x = noise(case.batch, case.channels, case.size, case.size)
    weight = noise(case.edges * case.channels, 1, case.kernel, case.kernel)
    g = noise(case.batch, case.edges * case.channels, case.out_size, case.out_size)
    per_edge = weight.split(case.channels), g.split(case.channels, dim=1)
    exact = Work(library(case), x.double(), *(tuple(part.double() for part in parts) for parts in per_edge))
    plain = Work(library(case), x, *per_edge)
    fast = Work(ours(case, device), x, (weight,), (g,))
    for quantity in QUANTITIES:
        expected = exact.result(quantity)
        plain_error, fast_error = (relative_error(work.result(quantity), expected) for work in (plain, fast))
        if not fast_error <= TOLERANCE[name_of(dtype)]:  # so that NaN stops as well
            raise RuntimeError(f"{quantity} of {case} is wrong: relative error {fast_error:.1e}.")
        plain_ms, fast_ms = milliseconds([plain.call(quantity), fast.call(quantity)], device, repeats)
        rate = case.least_bytes(dtype) / fast_ms[1] / 1e6
        yield Row(case, quantity, plain_ms, fast_ms, rate, plain_error, fast_error)


def relative_error(result: Tensor, expected: Tensor) -> float:
    return float((result - expected).norm() / expected.norm())


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def milliseconds(calls: list[Callable[[], object]], device: torch.device, repeats: int) -> list[list[float]]:
    """Best, median and third quartile of each call's time; the calls take turns."""
    timers = [gpu_timer(call) if device.type == "cuda" else cpu_timer(call) for call in calls]
    times = [[timer() for timer in timers] for _ in range(repeats + 1)][1:]
    return [
        [min(taken), *statistics.quantiles(taken, n=4, method="inclusive")[1:]] for taken in zip(*times, strict=True)
    ]


def cpu_timer(call: Callable[[], object]) -> Callable[[], float]:
    def timer() -> float:
        start = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - start)

    return timer


def gpu_timer(call: Callable[[], object]) -> Callable[[], float]:
    """Time of one of `CALLS_PER_GRAPH` calls that were captured in a CUDA graph on the current stream."""
    call()  # Compiles kernels and lets libraries allocate before the capture.
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        for _ in range(CALLS_PER_GRAPH):
            call()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def timer() -> float:
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / CALLS_PER_GRAPH

    return timer


def table_line(row: Row) -> str:
    case = row.case
    name = (
        f"{case.batch}x{case.channels}x{case.size}x{case.size} {case.kernel}x{case.kernel} stride {case.stride} "
        f"dilation {case.dilation} edges {case.edges}"
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
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=list(TOLERANCE))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.device == "cpu" and arguments.dtype != "float32":
        parser.error("on the CPU only float32 is measured")
    torch.set_num_threads(arguments.threads)
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    where = machine(arguments.device) | {"threads": str(arguments.threads), "dtype": arguments.dtype}
    if device.type == "cuda":
        where["triton"] = importlib.metadata.version("triton")
        torch.cuda.set_stream(torch.cuda.Stream())  # type: ignore[arg-type]  # Graphs are not captured on the default.
    print(", ".join(f"{name} {value}" for name, value in where.items()), HEADER, sep="\n\n")
    rows = []
    for case in cases([1, 4] if device.type == "cuda" else [1]):
        for row in measure(case, device, dtype, arguments.repeats):
            rows.append(row)
            print(table_line(row), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps({"machine": where, "rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
