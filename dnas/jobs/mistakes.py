"""Images of the test part that the retrained network misclassifies, to be looked at."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.run import Run
from dnas.data import ImageBatches, Normalization
from dnas.picture.png import png
from dnas.task.base import logits_of

FILE = "mistakes"  # name of the JSON file in RUN/evaluation
_MOST = 24  # images that are kept
_LARGEST = 96  # pixels of their longer side; larger ones are shrunk by whole numbers


def keep_mistakes(
    run: Run, network: nn.Module, batches: ImageBatches, class_names: Sequence[str], normalization: Normalization
) -> None:
    """Write some misclassified images, as the network sees them, with both classes into RUN/evaluation.

    Args:
        run: the run.
        network: gives logits (batch, classes).
        batches: of the test part.
        class_names: in the order of the labels.
        normalization: with which the batches were made.
    """
    found: list[dict[str, Any]] = []
    with torch.no_grad():
        for batch in batches.epoch(0):
            assert isinstance(batch.inputs, Tensor) and isinstance(batch.targets, Tensor)
            predicted = logits_of(network(batch.inputs)).argmax(dim=1)
            for index in (predicted != batch.targets).nonzero().flatten().tolist():
                true, taken = int(batch.targets[index]), int(predicted[index])
                picture = base64.b64encode(_png(batch.inputs[index], normalization)).decode()
                found.append({"true": class_names[true], "predicted": class_names[taken], "png": picture})
            if len(found) >= _MOST:
                break
    run.child("evaluation").save_json(FILE, {"mistakes": found[:_MOST]})


def _png(image: Tensor, normalization: Normalization) -> bytes:
    """A normalised image (channels, height, width) as PNG; of other than 1 or 3 channels the first is shown in grey."""
    scale = (normalization.mean, normalization.std)
    mean, std = (torch.tensor(values, device=image.device).reshape(-1, 1, 1) for values in scale)
    pixels = (image.float() * std + mean).mul(255).round().clamp(0, 255).to(torch.uint8)
    pixels = pixels if len(pixels) in (1, 3) else pixels[:1]
    step = -(-max(pixels.shape[1:]) // _LARGEST)
    pixels = pixels[:, ::step, ::step].permute(1, 2, 0).contiguous().cpu()
    height, width, channels = pixels.shape
    return png(bytes(pixels.flatten().tolist()), width=width, height=height, channels=channels)
