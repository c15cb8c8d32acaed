"""What a data source gives: training images, perhaps its own test images, and how they were made from files."""

from __future__ import annotations

from dataclasses import dataclass

from dnas.data.image_set import ImageSet
from dnas.data.resize import ResizeRule


@dataclass(frozen=True)
class Source:
    """The images of a data set.

    Args:
        train: images to search and train on.
        test: the data set's own test part, or None where it has none (then `set_aside_test` makes one).
        rule: how an image file of any size becomes an input; prediction applies the same.
        notes: what a person should know, such as files that were ignored; one sentence each.
    """

    train: ImageSet
    test: ImageSet | None
    rule: ResizeRule
    notes: tuple[str, ...] = ()
