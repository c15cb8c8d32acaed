"""How many milliseconds a module takes for its inputs, here."""

from __future__ import annotations

import io
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dnas.system.errors import MissingPackage
from dnas.system.reading.files import read_bytes
from dnas.system.threads import num_threads

Runtime = Literal["torch", "onnxruntime"]

# What is measured takes turns, so that what disturbs the machine for a while disturbs all alike. The figure is the
# least of the medians of its turns. On a busy machine predictions of mobile networks were off by 17 % with the median
# of these medians, and by 9 % with the least (docs/budgets.md).
TURNS = 5
SECONDS = 0.02  # of a turn
LEAST_RUNS = 3  # in a turn
_LARGEST = 2 * 2**30  # bytes of an ONNX file; protobuf's own limit
# On a GPU so many runs are queued between two looks at the clock.
_QUEUED = 10


class Work:
    """Something that is measured in turns.

    Args:
        run: does it once.
        device: where.
        threads: CPU threads; a single one is measured by the time that it works, not by what others take of its core.
        less: what `run` does besides, and is no part of it.
    """

    def __init__(self, run: Callable[[], Any], device: torch.device, threads: int, *, less: Work | None = None):
        self._run = run
        self._device = device
        self._threads = threads
        self._clock = time.thread_time if threads == 1 and device.type == "cpu" else time.perf_counter
        self._less = less
        self._least = float("inf")

    def turn(self) -> None:
        """Run it several times, after a first time that warms up."""
        if self._less is not None:
            self._less.turn()
        with num_threads(self._threads), torch.inference_mode():
            self._seconds()
            started, found = self._clock(), list[float]()
            while len(found) < LEAST_RUNS or self._clock() - started < SECONDS:
                found.append(self._seconds())
        self._least = min(self._least, 1000 * statistics.median(found))

    @property
    def milliseconds(self) -> float:
        """Of one run: the least median of a turn."""
        return self._least if self._less is None else max(self._least - self._less.milliseconds, 0.0)

    def _seconds(self) -> float:
        started = self._clock()
        if self._device.type != "cuda":
            self._run()
            return self._clock() - started
        for _ in range(_QUEUED):
            self._run()
        torch.cuda.synchronize(self._device)
        return (self._clock() - started) / _QUEUED


def measured(work: Work) -> float:
    """Milliseconds of one run of a single thing."""
    for _ in range(TURNS):
        work.turn()
    return work.milliseconds


@dataclass(frozen=True)
class Stopwatch:
    """Measures modules in evaluation mode.

    Args:
        runtime: PyTorch, or the module as ONNX in onnxruntime; that is on the CPU.
        threads: CPU threads of one run.

    Raises:
        MissingPackage: onnxruntime or the ONNX exporter is not installed.
    """

    runtime: Runtime = "torch"
    threads: int = 1

    def network(self, network: nn.Module, inputs: tuple[Any, ...]) -> Work:
        """One call of a whole network."""
        return self._work(network, inputs)

    def part(self, module: nn.Module, inputs: tuple[Any, ...]) -> Work:
        """One call of a module within a network: without what a session of onnxruntime takes for nothing."""
        empty = self._work(nn.Identity(), inputs[:1]) if self.runtime == "onnxruntime" else None
        return self._work(module, inputs, less=empty)

    def of_file(self, path: Path, inputs: tuple[Tensor, ...]) -> float:
        """Milliseconds of one run of an ONNX file in onnxruntime."""
        return measured(self._session(open_session(read_onnx(path), self.threads), inputs))

    def _work(self, module: nn.Module, inputs: tuple[Any, ...], *, less: Work | None = None) -> Work:
        if self.runtime == "torch":
            return Work(lambda: module(*inputs), _device(inputs), self.threads, less=less)
        with num_threads(self.threads), torch.inference_mode():
            return self._session(open_session(_onnx(module, inputs), self.threads), inputs, less=less)

    def _session(self, session: Any, inputs: tuple[Any, ...], *, less: Work | None = None) -> Work:
        names = [entry.name for entry in session.get_inputs()]
        feed = {name: x.numpy() for name, x in zip(names, inputs, strict=False)}  # a network may use no input
        return Work(lambda: session.run(None, feed), torch.device("cpu"), self.threads, less=less)


def _onnx(module: nn.Module, inputs: tuple[Any, ...]) -> bytes:
    """A module as ONNX."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # torch's older exporter, which it deprecates, is fifteen times as fast (0.6 and 9.7 s for a DARTS network of 8
        # cells), and onnxruntime runs its graph as fast as the other's (1.54 and 1.66 ms).
        warnings.simplefilter("ignore")
        torch.onnx.export(module, inputs, file, dynamo=False)  # type: ignore[call-overload]
    return file.getvalue()


def open_session(content: bytes, threads: int) -> Any:
    """An onnxruntime session of an ONNX file on so many CPU threads.

    Raises:
        MissingPackage: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackage(
            'Running ONNX files needs onnxruntime: pip install ".[export]" in a clone of dnas'
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def read_onnx(path: Path) -> bytes:
    """The content of an ONNX file."""
    return read_bytes(path, most=_LARGEST)


def _device(inputs: tuple[Any, ...]) -> torch.device:
    return next((x.device for x in inputs if isinstance(x, Tensor)), torch.device("cpu"))
