"""The difference between the outputs of an exported file and PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.batch import tensors_in
from dnas.core.described import described
from dnas.data.sample_kind import SampleKind
from dnas.shipping.batch_dims import Dims, count_of, samples
from dnas.system.errors import UserError
from dnas.training.evaluate import call

# Largest allowed difference from PyTorch's outputs, in units of the largest number or of 1, whichever is larger.
TOLERANCE = 1e-4
# The program is traced with 2 images; these batch sizes include 1, which some operators treat differently.
_BATCH_SIZES = (1, 2, 5)


def deviation_from(expected: Sequence[tuple[Any, Any]], forward: Callable[[Any], Any], name: str) -> float:
    """The difference of outputs from the expected ones, `max |a - b| / max(1, max |b|)`, over all tensors and batches.

    Args:
        expected: pairs of inputs and PyTorch's outputs.
        forward: function from inputs to outputs that is checked.
        name: its name in the message.

    Raises:
        UserError: they are further apart than 1e-4.
    """
    worst = 0.0
    for inputs, outputs in expected:
        with torch.no_grad():
            got, wanted = (list(tensors_in(value)) for value in (forward(inputs), outputs))
        shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (got, wanted)]
        if shapes[0] != shapes[1]:
            (is_, should) = (", ".join(map(str, sizes)) for sizes in shapes)
            raise UserError(f"{name}: outputs have shape {is_}, PyTorch's {should}.")
        difference = max(map(_difference, got, wanted), default=0.0)
        if not difference <= TOLERANCE:
            raise UserError(
                f"{name} deviates from PyTorch by {difference:.3g}, more than {TOLERANCE:g}, on {described(inputs)}. "
                "It was not written."
            )
        worst = max(worst, difference)
    return worst


def check_rows_are_independent(network: nn.Module, expected: Sequence[tuple[Any, Any]], dims: Dims = (0,)) -> None:
    """Check that a sample gets the same outputs alone as in a batch, and in a second pass as in the first.

    The batch of an output is in the dimension whose length differs between batches.

    Args:
        network: in evaluation mode.
        expected: pairs of inputs and outputs, of batches of different sizes.
        dims: the batch's dimension of each tensor of the inputs.

    Raises:
        UserError: it does not, because of batch norm without running statistics or noise in the forward pass.
    """
    by_size = sorted(expected, key=lambda pair: count_of(pair[0], dims))
    (_, of_few), (inputs, outputs) = by_size[0], by_size[-1]
    with torch.no_grad():
        alone = [
            list(tensors_in(call(network, samples(inputs, [index], dims)))) for index in range(count_of(inputs, dims))
        ]
    difference = 0.0
    for k, (few, many) in enumerate(zip(tensors_in(of_few), tensors_in(outputs), strict=True)):
        # What has no place for each sample, such as a number for the whole batch, is left out.
        places = [dim for dim, (one, other) in enumerate(zip(few.shape, many.shape, strict=True)) if one != other]
        if places:
            difference = max(difference, _difference(torch.cat([one[k] for one in alone], places[0]), many))
    if not difference <= TOLERANCE:
        num_samples = count_of(inputs, dims)
        raise UserError(
            f"The network's outputs for a sample differ by {difference:.3g} when it comes alone and when it comes in a "
            f"batch of {num_samples}. A network for use must not depend on the batch or on chance in evaluation mode: "
            "batch norm needs running statistics (track_running_stats=True), dropout must be off, and the batch must "
            "be the first dimension, or the one that dnas.export is given, such as batch_dim=1."
        )


def _difference(got: Tensor, wanted: Tensor) -> float:
    """Difference of two tensors of one shape, in units of the largest wanted number or of 1; 0 for empty ones."""
    if not wanted.numel():
        return 0.0
    if got.shape != wanted.shape:
        return float("inf")
    got, wanted = got.double(), wanted.double()
    return float((got - wanted).abs().max()) / max(1.0, float(wanted.abs().max()))


def batches_of(example: Any, dims: Dims) -> list[Any]:
    """Batches of 1, 2 and 5 of the samples in an example."""
    return [samples(example, range(size), dims) for size in _BATCH_SIZES]


def random_batches(kind: SampleKind) -> list[Tensor]:
    """Batches of 1, 2 and 5 random samples, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    return [kind.random_inputs(size, generator) for size in _BATCH_SIZES]


def outputs_of(network: nn.Module, inputs: Tensor, kind: SampleKind) -> Any:
    """The network's outputs for these samples: logits of its classes, or what its task reads.

    Raises:
        UserError: the network gives something else than finite logits of its classes, or than finite tensors.
    """
    if kind.targets == "class":
        return _logits_of(network, inputs, kind)
    with torch.no_grad():
        outputs = network(inputs)
    if not all(bool(tensor.isfinite().all()) for tensor in tensors_in(outputs) if tensor.is_floating_point()):
        raise UserError("The network's outputs for random inputs are not finite: its weights cannot be used.")
    return outputs


def _logits_of(network: nn.Module, images: Tensor, kind: SampleKind) -> Tensor:
    with torch.no_grad():
        logits = network(images)
    wanted = (len(images), kind.num_outputs)
    if not isinstance(logits, Tensor) or logits.shape != wanted:
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise UserError(f"The network gives {got} for {len(images)} images; expected logits of shape {wanted}.")
    if not logits.isfinite().all():
        raise UserError("The network's logits of random images are not finite: its weights cannot be used.")
    return logits
