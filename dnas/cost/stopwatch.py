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

WARM_UP_SECONDS = 0.02
SECONDS = 0.1  # of measuring
LEAST_RUNS = 9
_LARGEST = 2 * 2**30  # bytes of an ONNX file; protobuf's own limit
# On a GPU so many runs are queued between two looks at the clock.
_QUEUED = 10


@dataclass(frozen=True)
class Stopwatch:
    """Measures modules: a median, after a warm-up; on one CPU thread the time that it works, not what others take.

    Args:
        runtime: PyTorch, or the module as ONNX in onnxruntime; that is on the CPU.
        threads: CPU threads of one run.

    Raises:
        MissingPackage: onnxruntime or the ONNX exporter is not installed.
    """

    runtime: Runtime = "torch"
    threads: int = 1

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> float:
        """Milliseconds of one call in evaluation mode."""
        with num_threads(self.threads), torch.inference_mode():
            if self.runtime == "torch":
                return _median(lambda: module(*inputs), _device(inputs), self.threads)
            # What a session takes for nothing is no part of a module within a network.
            return max(self._in_session(module, inputs) - self._in_session(nn.Identity(), inputs[:1]), 0.0)

    def whole(self, network: nn.Module, inputs: tuple[Any, ...]) -> float:
        """Milliseconds of one call of a whole network."""
        with num_threads(self.threads), torch.inference_mode():
            if self.runtime == "torch":
                return _median(lambda: network(*inputs), _device(inputs), self.threads)
            return self._in_session(network, inputs)

    def of_file(self, path: Path, inputs: tuple[Tensor, ...]) -> float:
        """Milliseconds of one run of an ONNX file in onnxruntime."""
        return self._of_session(open_session(read_onnx(path), self.threads), inputs)

    def _in_session(self, module: nn.Module, inputs: tuple[Any, ...]) -> float:
        return self._of_session(open_session(_onnx(module, inputs), self.threads), inputs)

    def _of_session(self, session: Any, inputs: tuple[Any, ...]) -> float:
        names = [entry.name for entry in session.get_inputs()]
        feed = {name: x.numpy() for name, x in zip(names, inputs, strict=False)}  # a network may use no input
        return _median(lambda: session.run(None, feed), torch.device("cpu"), self.threads)


def _median(work: Callable[[], Any], device: torch.device, threads: int) -> float:
    """Milliseconds of one run."""
    # The processor's time of a single thread leaves out what other programs take of its core.
    clock = time.thread_time if threads == 1 and device.type == "cpu" else time.perf_counter

    def seconds() -> float:
        started = clock()
        if device.type != "cuda":
            work()
            return clock() - started
        for _ in range(_QUEUED):
            work()
        torch.cuda.synchronize(device)
        return (clock() - started) / _QUEUED

    end = time.perf_counter() + WARM_UP_SECONDS
    seconds()
    while time.perf_counter() < end:
        seconds()
    end, found = time.perf_counter() + SECONDS, list[float]()
    while len(found) < LEAST_RUNS or time.perf_counter() < end:
        found.append(seconds())
    return 1000 * statistics.median(found)


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
        raise MissingPackage('Running ONNX files needs onnxruntime: pip install "dnas[export]"') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def read_onnx(path: Path) -> bytes:
    """The content of an ONNX file."""
    return read_bytes(path, most=_LARGEST)


def _device(inputs: tuple[Any, ...]) -> torch.device:
    return next((x.device for x in inputs if isinstance(x, Tensor)), torch.device("cpu"))
