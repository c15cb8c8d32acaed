"""Images with as many channels as a trained model takes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from dnas.data import ImageSet, measure_normalization
from dnas.data.decode import to_channels
from dnas.data.sample_kind import SampleKind
from dnas.jobs.images import JobData
from dnas.system.errors import MISFITS, UserError
from dnas.system.reading import in_one_line
from dnas.training.evaluate import device_of, evaluation_mode

_OTHER = {1: 3, 3: 1}  # grey images and those in colour


def with_channels_of(model: nn.Module, data: JobData, *, name: str) -> tuple[JobData, str]:
    """The data as a trained model takes them, and a sentence on what was changed; empty where nothing was.

    Images that are all grey are read with one channel, whatever their files hold, but a model may be for three.

    Args:
        model: the trained model.
        data: as they were read.
        name: of the model in messages.

    Raises:
        UserError: the model takes such samples neither in grey nor in colour.
    """
    kind, rest, test = data.kind, data.rest, data.test
    problem = _problem_with(model, kind)
    if problem is None:
        return data, ""
    count = _OTHER.get(kind.in_channels)
    if (
        count
        and isinstance(rest, ImageSet)
        and isinstance(test, ImageSet)
        and _problem_with(model, kind.with_channels(count)) is None
    ):
        rest = replace(rest, images=_with_channels(rest.images, count))
        test = replace(test, images=_with_channels(test.images, count))
        changed = replace(data, rest=rest, test=test, normalization=measure_normalization(rest))
        return changed, (
            f"All images are grey, and {name} takes three channels: each is read with three equal ones."
            if count == 3
            else f"The images are in colour, and {name} takes one channel: they are read in grey."
        )
    raise UserError(
        f"The model {name} does not take the data, {kind}: {problem}. Give data as it was trained on; of images "
        "--image_size is another height and width."
    )


def _with_channels(images: torch.Tensor, count: int) -> torch.Tensor:
    return images.expand(-1, count, -1, -1) if count == 3 else to_channels(images, count)


def _problem_with(model: nn.Module, kind: SampleKind) -> str | None:
    """What the model raises for samples of this kind; None where it takes them."""
    try:
        with evaluation_mode(model), torch.no_grad():
            model(kind.zeros(2).to(device_of(model)))
    except MISFITS as error:
        return in_one_line(error).rstrip(".")
    return None
