"""The samples of a job: the test part that every command of a run sets aside, and the batches made of the rest."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from dnas.core.run import Run
from dnas.data import (
    Augmentation,
    ImageBatches,
    ImageSet,
    Normalization,
    ResizeRule,
    SampleKind,
    SampleSet,
    halves,
    measure_normalization,
    set_aside_test,
    standard_augmentation,
    stratified_split,
    to_device_if_it_fits,
)
from dnas.data.keyed_random import stream_key
from dnas.distributed.ranks import ranks
from dnas.jobs.job import Job
from dnas.jobs.job_data import open_data
from dnas.jobs.repeat import remember_data
from dnas.system.display import Display
from dnas.system.errors import UserError

# Numbers that keep the random streams of one seed apart.
_TRAIN, _VAL, _VALIDATION, _RETRAIN, _RETRAIN_VALIDATION, _TEST, _HOLD_OUT, _SOME, _FINALISTS, _JUDGING = range(10)


@dataclass(frozen=True)
class JobData:
    """The samples of a job, images or others, divided into a test part and the rest.

    Args:
        test: the test part, which only `dnas evaluate` and the test accuracies of comparisons look at.
        rest: all other samples, which search and retraining may use.
        normalization: mean and standard deviation of the channels, measured on `rest`; None for tokens.
        rule: how an image of any size becomes an input of the network; None for samples that keep their shape.
        notes: what a user should know about the data, in sentences.
        unreadable: images that were left out because they cannot be read.
    """

    test: SampleSet
    rest: SampleSet
    normalization: Normalization | None
    rule: ResizeRule | None
    notes: tuple[str, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def kind(self) -> SampleKind:
        """What the samples are like."""
        return self.rest.kind

    @property
    def samples(self) -> str:
        """What messages call the samples."""
        return "images" if self.rule is not None else "samples"


def load_data(job: Job, progress: Callable[[int, int], None] | None = None) -> JobData:
    """Read the samples of a job that has all sizes, and set the test part aside.

    Raises:
        FileNotFoundError, UserError: as `dnas.data.load_source`, or a class has too few images for both parts.
    """
    source = open_data(job).load(size=job.image_size, progress=progress, skip_unreadable=job.skip_unreadable)
    rest, test = set_aside_test(source, fraction=job.test_fraction, seed=job.seed)
    normalization = None if rest.kind.inputs == "tokens" else measure_normalization(rest)
    return JobData(test, rest, normalization, source.rule, source.notes, source.unreadable)


def read_data(run: Run, job: Job, display: Display) -> JobData:
    """Read the images of a run's job and set the same test part aside every time.

    Raises:
        UserError: the images have changed since the run began, or cannot be read.
    """
    data = show_reading(job, display)
    remember_parts(run, data)
    return data


def remember_parts(run: Run, data: JobData) -> None:
    """Keep in the run folder which images it has; if that is there, check that they are still the same.

    Raises:
        UserError: they have changed since the run began.
    """
    remember_test_part(run, data)
    remember_data(run, {"test": data.test, "rest": data.rest})


def show_reading(job: Job, display: Display) -> JobData:
    """Read the images of a job, with the progress and what a user should know about them on the display.

    Raises:
        UserError: they cannot be read.
    """

    def progress(done: int, total: int) -> None:
        display.update("images", done, total, {})

    started = time.monotonic()
    data = load_data(job, progress)
    for note in data.notes:
        display.say(f"Note: {note}")
    if time.monotonic() - started > 10:
        display.say(f"Read {len(data.rest) + len(data.test)} {data.samples} in {time.monotonic() - started:.0f} s.")
    return data


def remember_test_part(run: Run, data: JobData) -> None:
    """List the test images in the run folder; if a list is there, check that all images are still the same.

    Names, labels and order of the images in both parts must be the same. Pixels are not compared, since another version
    of a library may decode them differently.

    Raises:
        UserError: the data have changed since the run began.
    """
    listed = {
        "num_images": len(data.test),
        "num_rest": len(data.rest),
        "digest": _digest([data.test, data.rest]),
        "images": list(data.test.paths),
    }
    if data.unreadable:
        listed |= {"num_unreadable": len(data.unreadable), "unreadable": list(data.unreadable)}
    if not (run.path / "test_part.json").exists():
        run.save_json("test_part", listed)
        return
    before = run.load_json("test_part")
    if before != listed:
        counts = [before.get(name) for name in ("num_images", "num_rest")] if isinstance(before, Mapping) else [0, 0]
        raise UserError(
            f"The data have changed since {run.path} began, so its results could not be trusted: by test_part.json "
            f"there were {counts[0]} test {data.samples} and {counts[1]} others, now there are {len(data.test)} and "
            f"{len(data.rest)}, or names or classes differ. Bring the data back as they were, or start a new run."
        )


def _digest(parts: Sequence[SampleSet]) -> str:
    """A text that changes with any name, target or class of the samples."""
    content = [(part.kind.names, part.paths, _targets(part)) for part in parts]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _targets(part: SampleSet) -> list[int] | str:
    """Classes as they are, since that text is in old runs; other targets, of which there may be many, by a digest."""
    if isinstance(part, ImageSet):
        return part.labels.tolist()
    return hashlib.sha256(part.targets.cpu().contiguous().numpy().tobytes()).hexdigest()


def search_streams(job: Job, data: JobData, device: torch.device) -> tuple[ImageBatches, ImageBatches, ImageBatches]:
    """Batches for the weights, for the alphas, and for measuring the supernet after each epoch.

    In a one-level search the weights are trained on all images, so the supernet is measured on images that it has seen.
    """
    everything = to_device_if_it_fits(data.rest, device)
    weights_half, alphas_half = halves(everything, seed=job.seed)
    if job.search.one_level:
        weights_half = everything
    augmentation = _augmentation(job, data)
    assert job.batch_size is not None
    train = _stream(weights_half, job, data, job.batch_size, _TRAIN, device, augmentation)
    val = _stream(alphas_half, job, data, job.batch_size, _VAL, device, augmentation)
    measured = some_of(alphas_half, job.supernet_images, seed=job.seed)
    return train, val, evaluation_stream(measured, job, data, job.batch_size, _VALIDATION, device)


def finalist_streams(job: Job, data: JobData, device: torch.device) -> tuple[ImageBatches, ImageBatches]:
    """Batches of the weights' half, which train finalists, and of the alphas' half, which judge them."""
    weights_half, alphas_half = halves(to_device_if_it_fits(data.rest, device), seed=job.seed)
    assert job.batch_size is not None
    augmentation = _augmentation(job, data)
    train = _stream(weights_half, job, data, job.batch_size, _FINALISTS, device, augmentation)
    return train, evaluation_stream(alphas_half, job, data, job.batch_size, _JUDGING, device)


def some_of(images: SampleSet, count: int | None, *, seed: int) -> SampleSet:
    """`count` of the images, each class in proportion; all images if `count` is None or larger than their number."""
    if count is None or count >= len(images):
        return images
    share = count / len(images)
    chosen, _ = stratified_split(
        images.strata,
        [share, 1 - share],
        seed=stream_key(seed, _SOME),
        minimum=[1, 0],
        class_names=images.strata_names,
    )
    return images.subset(chosen, name=images.name)


def retrain_streams(job: Job, data: JobData, device: torch.device) -> tuple[ImageBatches, ImageBatches | None]:
    """Batches for retraining and batches held out from it, which are None if `validation_fraction` is 0."""
    settings = job.retrain
    rest = to_device_if_it_fits(data.rest, device)
    train, held_out = rest, None
    if job.validation_fraction > 0:
        held, kept = stratified_split(
            rest.strata,
            [job.validation_fraction, 1 - job.validation_fraction],
            seed=stream_key(job.seed, _HOLD_OUT),
            class_names=rest.strata_names,
        )
        train = rest.subset(kept, name=f"{rest.name} (retraining)")
        images = rest.subset(held, name=f"{rest.name} (held out)")
        held_out = evaluation_stream(images, job, data, settings.batch_size, _RETRAIN_VALIDATION, device)
    augmentation = _augmentation(job, data)
    if augmentation is not None:
        augmentation = replace(augmentation, cutout=settings.cutout_pixels(min(data.kind.shape[1:])))
    return _stream(train, job, data, settings.batch_size, _RETRAIN, device, augmentation), held_out


def test_batches(job: Job, data: JobData, batch_size: int, device: torch.device) -> ImageBatches:
    """The test part, without augmentation."""
    return evaluation_stream(to_device_if_it_fits(data.test, device), job, data, batch_size, _TEST, device)


def evaluation_stream(
    images: SampleSet, job: Job, data: JobData, batch_size: int, stream: int, device: torch.device
) -> ImageBatches:
    """Each image once, always in the same shuffled order; a short last batch is merged into the one before it."""
    return ImageBatches(
        images,
        batch_size=batch_size,
        augmentation=None,
        normalization=data.normalization,
        seed=stream_key(job.seed, stream),
        shuffle=True,
        merge_last=True,
        device=device,
    )


def _augmentation(job: Job, data: JobData) -> Augmentation | None:
    """That of images in training; None if it is off, for other inputs, and for targets that would have to follow."""
    kind = data.kind
    if kind.inputs != "pixels" or kind.targets == "map" or not job.augment:
        return None
    return standard_augmentation(data.rest)


def _stream(
    images: SampleSet,
    job: Job,
    data: JobData,
    batch_size: int,
    stream: int,
    device: torch.device,
    augmentation: Augmentation | None,
) -> ImageBatches:
    """Augmented training batches in an order of each epoch's own."""
    # As in DARTS the short last batch takes part. A single image has no batch statistics, so it is merged; so are fewer
    # images than there are ranks.
    return ImageBatches(
        images,
        batch_size=batch_size,
        augmentation=augmentation,
        normalization=data.normalization,
        seed=stream_key(job.seed, stream),
        shuffle=True,
        merge_last=len(images) % batch_size < max(2, ranks().size),
        device=device,
    )
