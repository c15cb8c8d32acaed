"""What a user asks for with `dnas search`, and the data that every later command of the same run sees."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import nn

from dnas.core.run import Run
from dnas.data import (
    Augmentation,
    ImageBatches,
    ImageSet,
    Normalization,
    ResizeRule,
    halves,
    measure_normalization,
    open_source,
    set_aside_test,
    standard_augmentation,
    stratified_split,
    to_device_if_it_fits,
)
from dnas.data.keyed_random import stream_key
from dnas.searching.handover import check_num_candidates
from dnas.searching.settings import SearchSettings
from dnas.searching.stage import Stage, sizes_in_job
from dnas.space import DartsSpace, Space
from dnas.space.base import Stem
from dnas.space.fused import FusedCell, FusedEdgeCell, fuse
from dnas.system.errors import UserError
from dnas.system.random_state import seeded
from dnas.system.words import seconds_in
from dnas.training.retrain import RetrainSettings

# Numbers that keep the random streams of one seed apart.
_TRAIN, _VAL, _VALIDATION, _RETRAIN, _RETRAIN_VALIDATION, _TEST, _HOLD_OUT, _SOME = range(8)


@dataclass(frozen=True)
class Job:
    """A search and what follows it.

    Sizes that are left out are chosen from the data, the device and `time`.

    Args:
        data: 'digits' (scikit-learn's handwritten digits), a folder with one subfolder of images per class, a folder
            with CIFAR's python or binary files, a parquet file or folder, an .npz file with x_train and y_train, or
            hf:NAME on the Hugging Face hub.
        image_size: height and width to which images are brought, in pixels; larger ones are resized and cropped.
        image_column: name of the column with the images, for hub and parquet data that have several.
        label_column: name of the column with the labels, likewise.
        test_fraction: share of the images, over 0 and below 1, that is set aside for `dnas evaluate` before anything
            else, where the data brings no test part of its own.
        validation_fraction: share of the remaining images, from 0 to below 1, that retraining does not train on, to
            choose among architectures; 0 trains on all of them, as the paper does.
        supernet_images: number of images, of those that the weights do not see, on which the supernet is measured after
            an epoch and by a discretization that evaluates; all where nothing is said.
        space: what is searched.
        channels: number of channels in the first cells of the supernet.
        cells: number of cells of the supernet.
        stem: first layers: 'cifar' keeps the resolution, 'imagenet' divides it by 8.
        fused: whether cells keep only their states in memory: about a third of the memory, but more time on a CPU.
        batch_size: images per step of the search.
        time: how long the search may take, and then the retraining, such as 90s, 30min or 2h; what is left out is
            chosen by it: image size, channels and cells of the search; epochs of both are lowered to fit.
        device: 'auto' (a GPU where there is one), 'cpu', 'cuda' or 'cuda:1'.
        threads: number of CPU threads that PyTorch works with in the search; where nothing is said the fewest that are
            as fast as all, by measuring. `dnas retrain` has its own.
        seed: whole number of which all that is random is a function: splits, order of the data, initial weights and
            samples; search.seed and retrain.seed are added to it.
        search: the method.
        retrain: how found networks are trained.
    """

    data: str = "digits"
    image_size: int | None = None
    image_column: str = ""
    label_column: str = ""
    test_fraction: float = 0.15
    validation_fraction: float = 0.1
    supernet_images: int | None = None
    space: Space = DartsSpace()
    channels: int | None = None
    cells: int | None = None
    stem: Stem = "cifar"
    fused: bool = False
    batch_size: int | None = None
    time: str | None = None
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    search: SearchSettings = SearchSettings()
    retrain: RetrainSettings = RetrainSettings()

    def __post_init__(self) -> None:
        for name in (*SIZES, "threads", "supernet_images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1; got {value}.")
        if not 0 < self.test_fraction < 1:
            raise UserError(f"test_fraction must be over 0 and below 1; got {self.test_fraction}.")
        if not 0 <= self.validation_fraction < 1:
            raise UserError(f"validation_fraction must be from 0 up to below 1; got {self.validation_fraction}.")
        if abs(self.seed) > _LARGEST_SEED:
            raise UserError(f"seed must be from -{_LARGEST_SEED} to {_LARGEST_SEED}; got {self.seed}.")
        if self.time is not None:
            seconds_in(self.time)
        self.search.check_length()
        if self.search.stages:
            _check_stages(self)
        decisions = self.space.decisions()
        self.search.discretization.check(decisions)
        for observer in self.search.observers:
            observer.check(decisions)

    @property
    def missing_sizes(self) -> tuple[str, ...]:
        """Names of the sizes that are still to be chosen."""
        return tuple(name for name in SIZES if getattr(self, name) is None)


# What is chosen where nothing is said.
SIZES = ("image_size", "channels", "cells", "batch_size")
# The sum of two of them still is a seed for torch.
_LARGEST_SEED = 2**62


def seeded_search(job: Job) -> SearchSettings:
    """The settings of the search, with the seed of the job in them."""
    return replace(job.search, seed=job.seed + job.search.seed)


def seeded_retrain(job: Job) -> RetrainSettings:
    """The settings of retraining, with the seed of the job in them."""
    return replace(job.retrain, seed=job.seed + job.retrain.seed)


def job_of_stage(job: Job, stage: Stage) -> Job:
    """A stage of the job's search as a job of its own; sizes that the job leaves out are left out.

    Raises:
        UserError: the space has no setting of that kind, or not with this value.
    """
    cells, channels = sizes_in_job(job.search.stages, stage, cells=job.cells or 1, channels=job.channels or 1)
    names = ("partial_channels", "skip_dropout")
    changes = {name: value for name in names if (value := getattr(stage, name)) is not None}
    return replace(
        job,
        space=_with_arguments(job.space, changes),
        cells=job.cells and cells,
        channels=job.channels and channels,
        search=replace(job.search, epochs=stage.epochs, warmup_epochs=stage.warmup_epochs, stages=()),
    )


def _with_arguments(space: Space, changes: Mapping[str, Any]) -> Space:
    if not changes:
        return space
    known = [field.name for field in fields(space)]  # pyright: ignore[reportArgumentType], spaces are dataclasses
    missing = [name for name in changes if name not in known]
    if missing:
        raise UserError(f"A stage sets {missing[0]}, which {type(space).__name__} does not have; leave it out.")
    return replace(space, **changes)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _check_stages(job: Job) -> None:
    """See that the space can be searched in these stages."""
    for number, stage in enumerate(job.search.stages, start=1):
        own = job_of_stage(job, stage)
        parts = getattr(own.space, "partial_channels", 1)
        if own.channels is not None and own.channels % parts:
            raise UserError(
                f"partial_channels={parts} of stage {number} cuts the channels of a cell into {parts} equal parts, but "
                f"there are {own.channels}: choose channels that are a multiple of {parts}."
            )
        if stage.num_candidates is not None:
            check_num_candidates(own.space.decisions(), stage.num_candidates)


def device_of(name: str) -> torch.device:
    """The device that a setting names.

    Raises:
        UserError: unknown, or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UserError(f"Unknown device {name!r}; expected auto, cpu, cuda or cuda:INDEX.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"There is no device {name!r}: {torch.cuda.device_count()} GPUs were found. Use --device cpu.")
    return device


@dataclass(frozen=True)
class JobData:
    """The images of a job, divided.

    Args:
        test: set aside; only `dnas evaluate` and the final column of the baseline's table look at it.
        rest: everything else, which search and retraining may use.
        normalization: measured on `rest`.
        rule: how an image of any size becomes an input.
        notes: what a person should know about the data.
    """

    test: ImageSet
    rest: ImageSet
    normalization: Normalization
    rule: ResizeRule
    notes: tuple[str, ...]


def load_data(job: Job, progress: Callable[[int, int], None] | None = None) -> JobData:
    """Read the data of a job whose image size is resolved, and set the test part aside.

    Raises:
        FileNotFoundError, UserError: as `dnas.data.load_source`, or a class has too few images to be divided.
    """
    catalog = open_source(job.data, image_column=job.image_column, label_column=job.label_column)
    source = catalog.load(size=job.image_size, progress=progress)
    rest, test = set_aside_test(source, fraction=job.test_fraction, seed=job.seed)
    return JobData(test, rest, measure_normalization(rest), source.rule, source.notes)


def remember_test_part(run: Run, data: JobData) -> None:
    """List the test images in the run folder; where they are listed, see that all images still are the same.

    The same are names and labels of test part and rest, in order; pixels are not compared, since another version of a
    library may decode them differently.

    Raises:
        UserError: the data have changed since the run began.
    """
    listed = {
        "num_images": len(data.test),
        "num_rest": len(data.rest),
        "digest": _digest([data.test, data.rest]),
        "images": list(data.test.paths),
    }
    if not (run.path / "test_part.json").exists():
        run.save_json("test_part", listed)
        return
    before = run.load_json("test_part")
    if before != listed:
        counts = [before.get(name) for name in ("num_images", "num_rest")] if isinstance(before, Mapping) else [0, 0]
        raise UserError(
            f"The data have changed since {run.path} began, so its results could not be trusted: by test_part.json "
            f"there were {counts[0]} test images and {counts[1]} others, now there are {len(data.test)} and "
            f"{len(data.rest)}, or names or classes differ. Bring the data back as they were, or start a new run."
        )


def _digest(parts: Sequence[ImageSet]) -> str:
    """A number that changes with any name, label or class of the images."""
    content = [(part.class_names, part.paths, part.labels.tolist()) for part in parts]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def search_streams(job: Job, data: JobData, device: torch.device) -> tuple[ImageBatches, ImageBatches, ImageBatches]:
    """Batches for the weights, for the alphas, and for measuring the supernet after each epoch.

    With one level the first takes all images, and the supernet is measured on images that it has seen.
    """
    everything = to_device_if_it_fits(data.rest, device)
    weights_half, alphas_half = halves(everything, seed=job.seed)
    if job.search.one_level:
        weights_half = everything
    augmentation = standard_augmentation(data.rest)
    assert job.batch_size is not None
    train = _stream(weights_half, job, data, job.batch_size, _TRAIN, device, augmentation)
    val = _stream(alphas_half, job, data, job.batch_size, _VAL, device, augmentation)
    measured = some_of(alphas_half, job.supernet_images, seed=job.seed)
    return train, val, evaluation_stream(measured, job, data, job.batch_size, _VALIDATION, device)


def some_of(images: ImageSet, count: int | None, *, seed: int) -> ImageSet:
    """`count` of the images, every class in proportion; all where that is None or there are no more."""
    if count is None or count >= len(images):
        return images
    share = count / len(images)
    chosen, _ = stratified_split(
        images.labels, [share, 1 - share], seed=stream_key(seed, _SOME), minimum=[1, 0], class_names=images.class_names
    )
    return images.subset(chosen, name=images.name)


def retrain_streams(job: Job, data: JobData, device: torch.device) -> tuple[ImageBatches, ImageBatches | None]:
    """Batches for retraining, and those held out from it; None where `validation_fraction` is 0."""
    settings = job.retrain
    rest = to_device_if_it_fits(data.rest, device)
    train, held_out = rest, None
    if job.validation_fraction > 0:
        held, kept = stratified_split(
            rest.labels,
            [job.validation_fraction, 1 - job.validation_fraction],
            seed=stream_key(job.seed, _HOLD_OUT),
            class_names=rest.class_names,
        )
        train = rest.subset(kept, name=f"{rest.name} (retraining)")
        images = rest.subset(held, name=f"{rest.name} (held out)")
        held_out = evaluation_stream(images, job, data, settings.batch_size, _RETRAIN_VALIDATION, device)
    augmentation = replace(standard_augmentation(data.rest), cutout=settings.cutout_pixels(min(data.rest.size)))
    return _stream(train, job, data, settings.batch_size, _RETRAIN, device, augmentation), held_out


def test_batches(job: Job, data: JobData, batch_size: int, device: torch.device) -> ImageBatches:
    """The test part, without augmentation."""
    return evaluation_stream(to_device_if_it_fits(data.test, device), job, data, batch_size, _TEST, device)


def evaluation_stream(
    images: ImageSet, job: Job, data: JobData, batch_size: int, stream: int, device: torch.device
) -> ImageBatches:
    """All images once, shuffled once and for all, the short last batch merged into the one before it."""
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


def _stream(
    images: ImageSet,
    job: Job,
    data: JobData,
    batch_size: int,
    stream: int,
    device: torch.device,
    augmentation: Augmentation,
) -> ImageBatches:
    # As in DARTS the short last batch takes part, but one of a single image has no batch statistics: merged.
    return ImageBatches(
        images,
        batch_size=batch_size,
        augmentation=augmentation,
        normalization=data.normalization,
        seed=stream_key(job.seed, stream),
        shuffle=True,
        merge_last=len(images) % batch_size == 1,
        device=device,
    )


def build_supernet_model(job: Job, *, num_classes: int, in_channels: int) -> nn.Module:
    """The searchable model of a job whose sizes are resolved, with weights seeded by the job.

    Raises:
        UserError: `fused` has no effect.
    """
    assert job.channels is not None and job.cells is not None
    with seeded(job.seed):
        model = job.space.model(
            channels=job.channels, cells=job.cells, num_classes=num_classes, in_channels=in_channels, stem=job.stem
        )
    if not job.fused:
        return model
    model = fuse(model)
    if not any(isinstance(module, FusedCell | FusedEdgeCell) for module in model.modules()):
        raise UserError(
            f"fused has no effect: no cell of {type(job.space).__name__} with these settings has a fused form. "
            "Leave it out."
        )
    return model
