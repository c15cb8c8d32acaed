"""The difference between the logits of an exported file and PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dnas.shipping.interface import Interface
from dnas.system.errors import UserError

# Largest allowed difference from PyTorch's logits, in units of the largest logit or of 1, whichever is larger.
TOLERANCE = 1e-4
# The program is traced with 2 images; these batch sizes include 1, which some operators treat differently.
_BATCH_SIZES = (1, 2, 5)


def deviation_from(expected: Sequence[tuple[Tensor, Tensor]], forward: Callable[[Tensor], Tensor], name: str) -> float:
    """The difference of the logits from the expected ones, `max |a - b| / max(1, max |b|)`, over all batches.

    Args:
        expected: pairs of images and PyTorch's logits.
        forward: function from images to logits that is checked.
        name: its name in the message.

    Raises:
        UserError: they are further apart than 1e-4.
    """
    worst = 0.0
    for images, logits in expected:
        with torch.no_grad():
            got = forward(images)
        if got.shape != logits.shape:
            raise UserError(f"{name}: logits have shape {tuple(got.shape)}, PyTorch's {tuple(logits.shape)}.")
        deviation = float((got - logits).abs().max()) / max(1.0, float(logits.abs().max()))
        if not deviation <= TOLERANCE:
            raise UserError(
                f"{name} deviates from PyTorch by {deviation:.3g} on {len(images)} random images, more than "
                f"{TOLERANCE:g}. It was not written."
            )
        worst = max(worst, deviation)
    return worst


def check_rows_are_independent(network: nn.Module, expected: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Check that an image gets the same logits alone as in a batch, and in a second pass as in the first.

    Raises:
        UserError: it does not, because of batch norm without running statistics or noise in the forward pass.
    """
    images, logits = max(expected, key=lambda pair: len(pair[0]))
    with torch.no_grad():
        alone = torch.cat([network(image[None]) for image in images])
    difference = float((alone - logits).abs().max()) / max(1.0, float(logits.abs().max()))
    if not difference <= TOLERANCE:
        raise UserError(
            f"The network's logits of an image differ by {difference:.3g} when it comes alone and when it comes in a "
            f"batch of {len(images)}. A network for use must not depend on the batch or on chance in evaluation mode: "
            "batch norm needs running statistics (track_running_stats=True), and dropout must be off."
        )


def random_batches(interface: Interface) -> list[Tensor]:
    """Batches of 1, 2 and 5 random images, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, *interface.shape, generator=generator) for size in _BATCH_SIZES]


def logits_of(network: nn.Module, images: Tensor, interface: Interface) -> Tensor:
    """The network's logits of these images.

    Raises:
        UserError: the network gives something else than finite logits of its classes.
    """
    with torch.no_grad():
        logits = network(images)
    wanted = (len(images), interface.num_classes)
    if not isinstance(logits, Tensor) or logits.shape != wanted:
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise UserError(f"The network gives {got} for {len(images)} images; expected logits of shape {wanted}.")
    if not logits.isfinite().all():
        raise UserError("The network's logits of random images are not finite: its weights cannot be used.")
    return logits
