"""The contents of a data source: training images, perhaps its own test images, and how they were made from files."""

from __future__ import annotations

from dataclasses import dataclass

from dnas.data.resize import ResizeRule
from dnas.data.sample_set import SampleSet


@dataclass(frozen=True)
class Source:
    """The images of a data set.

    Args:
        train: images, or other samples, to search and train on.
        test: the data set's own test part, or None if it has none (then `set_aside_test` makes one).
        rule: makes an input of an image file of any size; prediction applies the same rule. None for arrays that keep
            their shape.
        notes: information for a person, such as files that were ignored; one sentence each.
        unreadable: paths of the images that were left out because they cannot be read.
    """

    train: SampleSet
    test: SampleSet | None
    rule: ResizeRule | None
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
