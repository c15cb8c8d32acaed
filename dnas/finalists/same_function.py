"""Which architectures are networks of the same function, found without a rule for any space.

Two networks count as the same if, with every weight filled by its shape alone, they give the same outputs and, weight
by weight in any order, the same gradients. Weights that no output depends on are left out. So renamed states, edges
into nothing and chains of skip connections make no difference, and where weights are used in another way the gradients
do: 2 a(x) + c(b(x)) and a(x) + b(x) + c(a(x)) have equal outputs when a and b are equal, and other gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from dnas.core.architecture import Architecture
from dnas.core.batch import Batch, map_tensors, tensors_in
from dnas.data.keyed_random import stream_key
from dnas.system.random_state import seeded
from dnas.training.evaluate import call, evaluation_mode

# Sums in another order differ by about 1e-6 of their largest term in float32.
_TOLERANCE = 1e-4
# A gradient this small, as a share of the largest, is that of a weight that no output depends on.
_NO_GRADIENT = 1e-9
_EXAMPLES = 4  # images


class Fingerprint(NamedTuple):
    """What the same functions have in common.

    Args:
        shapes: shapes of the weights that the outputs depend on, sorted.
        numbers: `(numbers,)` float64: norms and products of outputs and gradients.
    """

    shapes: tuple[tuple[int, ...], ...]
    numbers: Tensor

    def is_same(self, other: Fingerprint) -> bool:
        """Whether the two networks count as the same function."""
        if self.shapes != other.shapes:
            return False
        scale = float(self.numbers.abs().max())
        return torch.allclose(self.numbers, other.numbers, rtol=_TOLERANCE, atol=_TOLERANCE**2 * scale)


def fingerprint(network: nn.Module, inputs: Any) -> Fingerprint:
    """The fingerprint of a network, whose weights are overwritten.

    Args:
        network: on the CPU.
        inputs: of a small batch, on the CPU.
    """
    weights = [weight for weight in network.parameters() if weight.is_floating_point()]
    with torch.no_grad():
        for weight in weights:
            weight.copy_(_filling(tuple(weight.shape)))
            weight.requires_grad_()
    with evaluation_mode(network), torch.enable_grad(), seeded(0):
        outputs = [tensor for tensor in tensors_in(call(network, inputs)) if tensor.is_floating_point()]
        total = torch.stack([_along(tensor) for tensor in outputs]).sum()
        gradients: list[Tensor | None] = [None] * len(weights)
        if total.requires_grad:
            gradients = list(torch.autograd.grad(total, weights, allow_unused=True))
    norms = [0.0 if gradient is None else float(gradient.double().norm()) for gradient in gradients]
    least = _NO_GRADIENT * max(norms, default=0.0)
    by_shape: dict[tuple[int, ...], list[Tensor]] = {}
    for gradient, norm in zip(gradients, norms, strict=True):
        if gradient is not None and norm > least:
            by_shape.setdefault(tuple(gradient.shape), []).append(gradient.double())
    numbers = [
        float(value) for tensor in outputs for value in (tensor.detach().double().norm(), _along(tensor.detach()))
    ]
    for shape in sorted(by_shape):
        numbers += sorted(float(gradient.norm()) for gradient in by_shape[shape])
        numbers += sorted(float(_along(gradient)) for gradient in by_shape[shape])
    shapes = tuple(shape for shape in sorted(by_shape) for _ in by_shape[shape])
    return Fingerprint(shapes, torch.tensor(numbers, dtype=torch.float64))


def _along(tensor: Tensor) -> Tensor:
    """The product of a tensor with random numbers that depend on its shape alone, a scalar."""
    return (tensor * _random(tuple(tensor.shape)).to(tensor)).sum()


def _filling(shape: tuple[int, ...]) -> Tensor:
    """Weights of a usual size: N(0, 2 / inputs) for matrices and kernels, 1 +- 0.1 for scales and biases."""
    random = _random(shape)
    if len(shape) < 2:
        return 1 + 0.1 * random
    return random * (2 / max(random[0].numel(), 1)) ** 0.5


def _random(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(stream_key(len(shape), *shape)))


class SeenFunctions:
    """The functions that have been seen.

    Args:
        build: makes the network of an architecture.
        batch: any; its first samples are used.
    """

    def __init__(self, build: Callable[[Architecture], nn.Module], batch: Batch) -> None:
        self._build = build
        self._inputs = first_samples(batch, _EXAMPLES)
        self._written: set[str] = set()
        self._seen: list[Fingerprint] = []

    def is_new(self, architecture: Architecture) -> bool:
        """Whether no architecture before had this function; it counts as seen from now on."""
        written = architecture.to_json()
        if written in self._written:
            return False
        self._written.add(written)
        with seeded(0):
            network = self._build(architecture).cpu()
        own = fingerprint(network, self._inputs)
        if any(own.is_same(other) for other in self._seen):
            return False
        self._seen.append(own)
        return True


def first_samples(batch: Batch, count: int) -> Any:
    """The inputs of the first samples of a batch, on the CPU; of all of them where they are packed sequences."""
    if isinstance(batch.inputs, PackedSequence):
        return batch.inputs.to(device="cpu")  # pyright: ignore[reportCallIssue] (the stub lacks it)
    return map_tensors(
        lambda tensor: (tensor[:count] if len(tensor) == batch.num_samples else tensor).cpu(), batch.inputs
    )
