"""Time and memory of one search step of the DARTS supernet, ours against the plain reference, in one run.

    python benchmarks/search_step.py --device cpu --threads 2 --batch 64 --channels 16 --cells 8 --repeats 5

First it proves in float64, for the same channels and cells and on a small batch, that both compute the same step; if
they do not, it stops there. Then each runs in a process of its own, and their steps take turns. Needs torch and numpy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs where dnas is not installed

from benchmarks import reference  # noqa: E402
from dnas.hypergradient import FiniteDifference, FirstOrder, OneStep  # noqa: E402
from dnas.search_step import search_step  # noqa: E402
from dnas.space import DartsSpace  # noqa: E402
from dnas.supernet import Supernet  # noqa: E402

VARIANTS = ("reference", "ours")
NUM_CLASSES = 10
CLIP = 5.0
# Largest difference in float64, relative to the largest entry of what is compared.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Setup:
    """What is measured; `size` is the height and width of the images in pixels."""

    device: str
    threads: int
    batch: int
    channels: int
    cells: int
    size: int
    second_order: bool


Data = tuple[Tensor, Tensor]


def random_batches(setup: Setup, batch: int, dtype: torch.dtype) -> tuple[Data, Data]:
    """A validation and a training batch of noise."""
    generator = torch.Generator().manual_seed(0)

    def one() -> Data:
        images = torch.randn(batch, 3, setup.size, setup.size, generator=generator, dtype=torch.float64)
        return images.to(setup.device, dtype), torch.randint(NUM_CLASSES, (batch,), generator=generator).to(
            setup.device
        )

    return one(), one()


def weight_sgd(model: torch.nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)


def alpha_adam(alphas: list[Tensor]) -> torch.optim.Adam:
    return torch.optim.Adam(alphas, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)


def our_supernet(setup: Setup, dtype: torch.dtype) -> Supernet:
    torch.manual_seed(0)
    model = DartsSpace().model(channels=setup.channels, cells=setup.cells, num_classes=NUM_CLASSES)
    return Supernet(model).to(setup.device, dtype)


def plain_supernet(setup: Setup) -> reference.ReferenceSupernet:
    return reference.ReferenceSupernet(channels=setup.channels, cells=setup.cells, num_classes=NUM_CLASSES)


@dataclass(frozen=True)
class Search:
    """One supernet with its optimizers.

    Args:
        step: one whole step, as a function of validation and training batch, that gives the training loss.
        weights: the model's parameters.
        alphas: the architecture parameters.
        alpha_optimizer: Adam over the alphas.
    """

    step: Callable[[Data, Data], Tensor]
    weights: list[Tensor]
    alphas: list[Tensor]
    alpha_optimizer: torch.optim.Adam

    def alpha_gradients(self) -> list[Tensor]:
        """Adam's running mean of the alphas' gradients: the weight step of the published code overwrites `.grad`."""
        return [self.alpha_optimizer.state[alpha]["exp_avg"] for alpha in self.alphas]


def our_search(supernet: Supernet, setup: Setup) -> Search:
    alphas = supernet.alpha_parameters()
    weight_optimizer, alpha_optimizer = weight_sgd(supernet.model), alpha_adam(alphas)
    hypergradient = OneStep(mixed=FiniteDifference()) if setup.second_order else FirstOrder()

    def step(val: Data, train: Data) -> Tensor:
        return search_step(
            supernet,
            weight_batch=train,
            weight_optimizer=weight_optimizer,
            alpha_batch=val,
            alpha_optimizer=alpha_optimizer,
            hypergradient=hypergradient,
            clip=CLIP,
        ).loss

    return Search(step, list(supernet.model.parameters()), alphas, alpha_optimizer)


def plain_search(model: reference.ReferenceSupernet, setup: Setup) -> Search:
    alphas = list(model.alphas)
    weight_optimizer, alpha_optimizer = weight_sgd(model), alpha_adam(alphas)
    unrolled = None
    if setup.second_order:
        unrolled = plain_supernet(setup)
        unrolled.load_from(model, model.alphas)

    def step(val: Data, train: Data) -> Tensor:
        return reference.search_step(
            model, val, train, alpha_optimizer=alpha_optimizer, weight_optimizer=weight_optimizer, unrolled=unrolled
        )

    return Search(step, list(model.parameters()), alphas, alpha_optimizer)


def differences(setup: Setup, batch: int = 4) -> dict[str, float]:
    """Relative differences in float64 after two whole steps, so that momentum takes part, on a small batch.

    The gradients of the weights are those of the second step, after clipping.
    """
    supernet, model = our_supernet(setup, torch.float64), plain_supernet(setup)
    model.load_from(supernet.model, supernet.alpha_parameters())
    ours, plain = our_search(supernet, setup), plain_search(model, setup)
    batches = random_batches(setup, batch, torch.float64)
    for search in (ours, plain):
        search.step(*batches)
    return {
        "training loss": relative([ours.step(*batches)], [plain.step(*batches)]),
        "weight gradients": relative([w.grad for w in ours.weights], [w.grad for w in plain.weights]),
        "alpha gradients": relative(ours.alpha_gradients(), plain.alpha_gradients()),
        "weights": relative(ours.weights, plain.weights),
        "alphas": relative(ours.alphas, plain.alphas),
    }


def relative(mine: Sequence[Tensor | None], theirs: Sequence[Tensor | None]) -> float:
    """Over all pairs of tensors, the largest of their largest difference over the largest entry."""
    worst = 0.0
    for a, b in zip(mine, theirs, strict=True):
        assert a is not None
        assert b is not None
        worst = max(worst, float(((a - b).abs().max() / b.abs().max()).detach()))
    return worst


def worker(variant: str, setup: Setup) -> None:
    """Answer each line of standard input: 'step' with [seconds, processor seconds], 'end' with the peak memory."""
    torch.set_num_threads(setup.threads)
    supernet = our_supernet(setup, torch.float32)
    if variant == "ours":
        step = our_search(supernet, setup).step
    else:
        plain = plain_supernet(setup)
        plain.load_from(supernet.model, supernet.alpha_parameters())
        step = plain_search(plain, setup).step
    batches = random_batches(setup, setup.batch, torch.float32)
    del supernet
    for line in sys.stdin:
        if line.strip() != "step":
            print(json.dumps(peak_memory(setup.device)), flush=True)
            return
        synchronize(setup.device)
        start = time.perf_counter(), time.process_time()
        step(*batches)
        synchronize(setup.device)
        print(json.dumps([time.perf_counter() - start[0], time.process_time() - start[1]]), flush=True)


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak_memory(device: str) -> float:
    """MiB: of the device's tensors on CUDA, of the whole process on the CPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def measure(setup: Setup, repeats: int) -> dict[str, dict[str, Any]]:
    """Seconds of each step and peak memory of each variant; one step of each warms up and is not counted.

    The processor's seconds, of all threads together, tell how much the machine's other work disturbed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(setup.threads)}
    processes = {
        variant: subprocess.Popen(
            [sys.executable, __file__, "--worker", variant, "--setup", json.dumps(asdict(setup))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for variant in VARIANTS
    }
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    processor: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for repeat in range(repeats + 1):
        for variant, process in processes.items():
            taken, computed = ask(process, "step")
            if repeat > 0:
                seconds[variant].append(taken)
                processor[variant].append(computed)
            print(f"{variant:>10} {'warm-up' if repeat == 0 else repeat}: {taken:.3f} s", file=sys.stderr, flush=True)
    found = {}
    for variant, process in processes.items():
        found[variant] = {
            "seconds": seconds[variant],
            "median": statistics.median(seconds[variant]),
            "processor_seconds": processor[variant],
            "processor_median": statistics.median(processor[variant]),
            "peak_mib": ask(process, "end"),
        }
        process.wait()
    return found


def ask(process: subprocess.Popen[str], question: str) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(question + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"A measuring process ended early (exit status {process.wait()}); see its message above.")
    return json.loads(answer)


def machine(device: str) -> dict[str, str]:
    """Hardware, versions and commit."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": processor_name(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "commit": commit(),
    }


def processor_name() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0]}, {len(names)} threads" if names else platform.processor()


def commit() -> str:
    """The commit, with '+' where tracked files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    if not (ROOT / ".git").exists():
        return "not a checkout"
    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def report(setup: Setup, where: dict[str, str], equal: dict[str, float], found: dict[str, dict[str, Any]]) -> str:
    """The result as text."""
    order = "second" if setup.second_order else "first"
    lines = [
        f"DARTS search step, {order} order: batch {setup.batch}, {setup.size}x{setup.size}, {setup.channels} channels, "
        f"{setup.cells} cells, float32, {setup.threads} threads",
        ", ".join(f"{name} {value}" for name, value in where.items()),
        "equal in float64 after 2 steps, relative differences: "
        + ", ".join(f"{name} {value:.0e}" for name, value in equal.items()),
        "",
        f"{'':<11}{'median s':>10}{'min s':>9}{'max s':>9}{'CPU s':>9}{'peak MiB':>10}",
    ]
    for variant, numbers in found.items():
        low, high = min(numbers["seconds"]), max(numbers["seconds"])
        lines.append(
            f"{variant:<11}{numbers['median']:>10.3f}{low:>9.3f}{high:>9.3f}"
            f"{numbers['processor_median']:>9.3f}{numbers['peak_mib']:>10.0f}"
        )
    time_ratio, memory_ratio = ratios(found)
    lines.append(f"ours is {time_ratio:.2f} times as fast and takes {memory_ratio:.2f} of the memory")
    return "\n".join(lines)


def ratios(found: dict[str, dict[str, Any]]) -> tuple[float, float]:
    """How many times faster ours is, and its share of the reference's memory."""
    plain, ours = found["reference"], found["ours"]
    return plain["median"] / ours["median"], ours["peak_mib"] / plain["peak_mib"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=8, help="3 or more")
    parser.add_argument("--size", type=int, default=32, help="height and width of the images, a multiple of 4")
    parser.add_argument("--repeats", type=int, default=5, help="measured steps of each, after one that warms up")
    parser.add_argument("--second-order", action="store_true", help="with the finite difference of DARTS, eq. 8")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--setup", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.size % 4 or given.size < 4 or given.cells < 3:
        parser.error("the reference takes image sizes that are multiples of 4, and 3 or more cells")
    return given


def main() -> None:
    given = arguments()
    if given.worker:
        worker(given.worker, Setup(**json.loads(given.setup)))
        return
    names = ("device", "threads", "batch", "channels", "cells", "size", "second_order")
    setup = Setup(**{name: getattr(given, name) for name in names})
    where = machine(setup.device)
    torch.set_num_threads(1)  # of the proof, whose float64 operations are small
    equal = differences(setup)
    if max(equal.values()) > TOLERANCE:
        sys.exit(f"Ours and the reference do not compute the same step: relative differences in float64 {equal}.")
    found = measure(setup, given.repeats)
    print(report(setup, where, equal, found))
    if given.json:
        time_ratio, memory_ratio = ratios(found)
        result = {"setup": asdict(setup), "machine": where, "differences": equal, "measured": found}
        given.json.write_text(json.dumps(result | {"time_ratio": time_ratio, "memory_ratio": memory_ratio}, indent=2))


if __name__ == "__main__":
    main()
