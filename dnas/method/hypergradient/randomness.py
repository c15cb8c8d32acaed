"""The same random numbers in every pass over one batch, while the generators stay as they were.

A hypergradient compares several passes over the same batch: with new dropout masks a finite difference would be noise,
and the gradient at w would belong to another function than the gradient at w'.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

from dnas.method.hypergradient.base import BilevelProblem, Tensors
from dnas.system.errors import UserError


def generators_of(*tensors: Tensors) -> list[torch.Generator]:
    """Default generators of the CPU and of the devices that hold `tensors`."""
    devices = {tensor.device for group in tensors for tensor in group.values() if tensor.device.type != "cpu"}
    generators = [torch.default_generator]
    for device in sorted(devices, key=str):
        if device.type == "mps":
            generators.append(torch.mps._get_default_mps_generator())
        elif device.type in ("cuda", "xpu"):
            generators.append(torch.get_device_module(device).default_generators[device.index])
        else:
            raise UserError(f"Weights and outer variables are on {device}; known are cpu, cuda, xpu and mps.")
    return generators


@dataclass(frozen=True)
class _Repeatable:
    """A problem whose losses start from the same generator state whenever they see the same batch."""

    problem: BilevelProblem
    generators: Sequence[torch.Generator]
    seed: int

    def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
        self._start_stream(index + 1)
        return self.problem.train(weights, outer, index)

    def val(self, weights: Tensors, outer: Tensors) -> Tensor:
        self._start_stream(0)
        return self.problem.val(weights, outer)

    def _start_stream(self, stream: int) -> None:
        for generator in self.generators:
            generator.manual_seed(self.seed + stream)


_NOTHING_IS_DRAWN = ContextVar("_NOTHING_IS_DRAWN", default=False)


@contextmanager
def nothing_is_drawn() -> Iterator[None]:
    """Within the block, losses are known to draw no random numbers (see `draws_random_numbers`)."""
    token = _NOTHING_IS_DRAWN.set(True)
    try:
        yield
    finally:
        _NOTHING_IS_DRAWN.reset(token)


def draws_random_numbers(loss: Callable[[], object], *tensors: Tensors) -> bool:
    """Whether a pass draws from a default generator of the CPU or of the tensors' devices; they stay as they were."""
    generators = generators_of(*tensors)
    states = [generator.get_state() for generator in generators]
    with torch.no_grad():
        loss()
    drawn = any(
        not torch.equal(generator.get_state(), state) for generator, state in zip(generators, states, strict=True)
    )
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
    return drawn


@contextmanager
def repeatable(problem: BilevelProblem, *tensors: Tensors) -> Iterator[BilevelProblem]:
    """`problem` with one stream of random numbers per batch, seeded by the generators' state, which is then restored.

    Streams differ between batches, and between search steps whenever something was drawn in between. Generators are
    read and seeded on the host, without synchronising with a device. A CUDA graph cannot capture that, so within
    `nothing_is_drawn` it is left out.
    """
    if _NOTHING_IS_DRAWN.get():
        yield problem
        return
    generators = generators_of(*tensors)
    states = [generator.get_state() for generator in generators]
    digest = blake2b(b"".join(state.numpy().tobytes() for state in states), digest_size=6).digest()
    try:
        yield _Repeatable(problem, generators, int.from_bytes(digest, "little"))
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
