"""The interface of an image classifier: class names, input size, resize rule, normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dnas.data.normalization import Normalization
from dnas.data.resize import ResizeRule
from dnas.data.sample_kind import SampleKind
from dnas.shipping.entries import count, entry, name_list, normalization_in, refuse_others
from dnas.system.errors import UserError


@dataclass(frozen=True)
class Interface:
    """The interface of an image classifier: everything needed to get from an image file to a class name.

    Args:
        class_names: names of the classes, in the order of the logits.
        resize: rule by which an image of any size becomes one of `height` x `width` pixels.
        normalization: mean and deviation of each input channel; the network takes as many channels.

    Raises:
        UserError: there is no class.
    """

    class_names: tuple[str, ...]
    resize: ResizeRule
    normalization: Normalization

    def __post_init__(self) -> None:
        if not self.class_names:
            raise UserError("A network needs the names of its classes; got none.")

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an input; height and width in pixels."""
        return len(self.normalization.mean), self.resize.size, self.resize.size

    @property
    def kind(self) -> SampleKind:
        """What the images are like."""
        return SampleKind(self.class_names, self.shape)

    def to_data(self) -> dict[str, Any]:
        """Plain data, with the input's shape spelled out for readers that do not know the resize rule."""
        channels, height, width = self.shape
        return {
            "class_names": list(self.class_names),
            "input": {"channels": channels, "height": height, "width": width},
            "resize": {"rule": self.resize.name, "size": self.resize.size},
            "mean": list(self.normalization.mean),
            "std": list(self.normalization.std),
        }

    @staticmethod
    def from_data(data: Mapping[str, Any], source: str) -> Interface:
        """The interface from the entries that `to_data` gives, validated.

        Args:
            data: these entries; others are ignored.
            source: name of the file for messages.

        Raises:
            UserError: an entry is missing, has a wrong type, or contradicts another.
        """
        interface = Interface(
            name_list(data, "class_names", source), _resize(data, source), normalization_in(data, source)
        )
        stated = entry(data, "input", dict, source)
        for name, expected in zip(("channels", "height", "width"), interface.shape, strict=True):
            if count(stated, name, source, place="input") != expected:
                raise UserError(
                    f"{source}: input.{name} is {stated[name]}, but mean, std and resize are for {expected}."
                )
        return interface


def _resize(data: Mapping[str, Any], source: str) -> ResizeRule:
    resize = entry(data, "resize", dict, source)
    refuse_others(resize, {"rule", "size"}, source, place="resize")
    size, rule = count(resize, "size", source, place="resize"), entry(resize, "rule", str, source, place="resize")
    try:
        return ResizeRule(size, rule)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
