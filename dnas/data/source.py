"""The contents of a data source: training images, perhaps its own test images, and how they were made from files."""

from __future__ import annotations

from dataclasses import dataclass

from dnas.data.image_set import ImageSet
from dnas.data.resize import ResizeRule


@dataclass(frozen=True)
class Source:
    """The images of a data set.

    Args:
        train: images to search and train on.
        test: the data set's own test part, or None if it has none (then `set_aside_test` makes one).
        rule: makes an input of an image file of any size; prediction applies the same rule.
        notes: information for a person, such as files that were ignored; one sentence each.
        unreadable: paths of the images that were left out because they cannot be read.
    """

    train: ImageSet
    test: ImageSet | None
    rule: ResizeRule
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
