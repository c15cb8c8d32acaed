"""Several forms of one step, each in a process of its own, measured in turns; and the machine they ran on.

A script calls `measure`, which starts it again once for each variant with `--worker VARIANT --setup JSON`; that process
takes its steps from `requests`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from dnas.system import memory
from dnas.system.processor import processor_name

T = TypeVar("T")

ROOT = Path(__file__).parents[1]


def measure(
    script: str, setup: Mapping[str, Any], variants: Sequence[str], *, threads: int, warmup: int, repeats: int
) -> dict[str, dict[str, Any]]:
    """Seconds of each step and peak memory of each variant; the first steps of each warm up and are not counted.

    The processor's seconds, of all threads together, tell how much the machine's other work disturbed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    processes = {
        variant: subprocess.Popen(
            [sys.executable, script, "--worker", variant, "--setup", json.dumps(setup)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for variant in variants
    }
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    processor: dict[str, list[float]] = {variant: [] for variant in variants}
    for repeat in range(1 - warmup, repeats + 1):
        for variant, process in processes.items():
            taken, computed = _ask(process, "step")
            if repeat > 0:
                seconds[variant].append(taken)
                processor[variant].append(computed)
            print(f"{variant:>10} {repeat if repeat > 0 else 'warm-up'}: {taken:.3f} s", file=sys.stderr, flush=True)
    found = {}
    for variant, process in processes.items():
        found[variant] = {
            "seconds": seconds[variant],
            "median": statistics.median(seconds[variant]),
            "min": min(seconds[variant]),
            "max": max(seconds[variant]),
            "processor_seconds": processor[variant],
            "processor_median": statistics.median(processor[variant]),
            "peak_mib": _ask(process, "end"),
        }
        process.wait()
    return found


def requests(device: str, items: Iterator[T]) -> Iterator[T]:
    """The next item at each request of `measure`; what its taker does with it is timed, its making is not."""
    for line in sys.stdin:
        if line.strip() != "step":
            print(json.dumps(peak_memory(device)), flush=True)
            return
        item = next(items)
        synchronize(device)
        started = time.perf_counter(), time.process_time()
        yield item
        synchronize(device)
        print(json.dumps([time.perf_counter() - started[0], time.process_time() - started[1]]), flush=True)


def table(found: Mapping[str, Mapping[str, Any]], ratios: Mapping[str, float]) -> list[str]:
    """The lines that show what was measured."""
    lines = [f"{'':<11}{'median s':>10}{'min s':>9}{'max s':>9}{'CPU s':>9}{'peak MiB':>10}"]
    for variant, numbers in found.items():
        lines.append(
            f"{variant:<11}{numbers['median']:>10.3f}{numbers['min']:>9.3f}{numbers['max']:>9.3f}"
            f"{numbers['processor_median']:>9.3f}{numbers['peak_mib']:>10.0f}"
        )
    return [*lines, *(f"{name}: {value:.2f}" for name, value in ratios.items())]


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak_memory(device: str) -> float:
    """MiB: of the device's tensors on CUDA, of the whole process on the CPU."""
    return memory.peak_memory(torch.device(device)) / 2**20


def machine(device: str) -> dict[str, str]:
    """Hardware, versions and commit."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": f"{processor_name()}, {os.cpu_count()} threads",
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "commit": commit(),
    }


def commit() -> str:
    """The commit, with '+' where tracked files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    if not (ROOT / ".git").exists():
        return "not a checkout"
    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def _ask(process: subprocess.Popen[str], question: str) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(question + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"A measuring process ended early (exit status {process.wait()}); see its message above.")
    return json.loads(answer)
