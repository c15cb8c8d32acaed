"""The sizes of a supernet that may be tried for a job, from large to small, and those that the data suggest."""

from __future__ import annotations

import math
from dataclasses import replace

from dnas.data import Catalog
from dnas.jobs.job import Job
from dnas.jobs.planning.fit import Sizes

# Supernets from large to small: (image size, channels, cells), each step smaller in one of them. The first has the
# channels and cells of DARTS. A ladder is tried from the top; a size that the user gives replaces an entry everywhere.
LADDER = (
    *((64, 16, 8), (64, 16, 5), (48, 16, 5), (48, 12, 5), (32, 12, 5), (32, 8, 5)),
    *((32, 8, 3), (24, 8, 3), (24, 4, 3), (16, 4, 3)),
)

# That of DARTS.
USUAL_BATCH = 64


def ladder(job: Job, catalog: Catalog) -> list[Sizes]:
    """Sizes for a job, from large to small; a single one if the job leaves no choice.

    Sizes that the job gives are the same in all of them, and no image is made larger than it is. A module of the user's
    own has a single one.
    """
    full = with_sizes_of_data(job, catalog)
    assert full.batch_size is not None
    if job.model is not None:
        return [Sizes.of(full)]
    found = {
        Sizes(
            job.image_size or min(image_size, catalog.default_size or image_size),
            full.batch_size,
            job.channels or channels,
            job.cells or cells,
        ): None
        for image_size, channels, cells in LADDER
    }
    return list(found) if leaves_a_choice(job) else list(found)[:1]


def leaves_a_choice(job: Job) -> bool:
    """Whether sizes of the job are chosen by the time that they take."""
    return job.time is not None or (job.model is None and None in (job.channels, job.cells))


def with_sizes_of_data(job: Job, catalog: Catalog) -> Job:
    """The job with a batch size and an image size; those that it leaves out are chosen from the data."""
    half = images_in_half(job, catalog)
    # Small data get at least eight steps per epoch, but no fewer than 8 images in a step.
    batch_size = job.batch_size or min(USUAL_BATCH, max(8, half // 8))
    return replace(job, batch_size=min(batch_size, half), image_size=job.image_size or catalog.default_size)


def images_in_half(job: Job, catalog: Catalog) -> int:
    """Number of images in an epoch of the weights: half of those left after the test part is set aside.

    In a one-level search it is all of them.
    """
    return max(images_to_search_with(job, catalog) // (1 if job.search.one_level else 2), 1)


def images_to_search_with(job: Job, catalog: Catalog) -> int:
    """Number of images left after the test part is set aside, both halves together."""
    return catalog.num_train - (0 if catalog.num_test else math.ceil(job.test_fraction * catalog.num_train))
