"""What a user asks for with `dnas search`: the settings of a search and of the commands that follow it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from dnas.finalists.settings import FinalistSettings
from dnas.searching.handover import check_num_candidates
from dnas.searching.settings import SearchSettings
from dnas.searching.stage import Stage, sizes_in_job
from dnas.space import DartsSpace, Space
from dnas.space.base import Stem
from dnas.system.errors import UserError
from dnas.system.words import seconds_in
from dnas.task.base import Task
from dnas.training.settings import RetrainSettings

# Sizes that are chosen if the user gives none.
SIZES = ("image_size", "channels", "cells", "batch_size")
# The largest value of any size; spaces and images have lower bounds of their own.
_LARGEST = 1_000_000
# The sum of two seeds of this size is still a seed that torch accepts.
_LARGEST_SEED = 2**62


@dataclass(frozen=True)
class Job:
    """Settings of a search and of the commands that follow it.

    Sizes that are left out are chosen from the data, the device and `time`.

    Args:
        data: 'digits' (scikit-learn's handwritten digits), a folder with one subfolder of images per class, a folder
            with CIFAR's python or binary files, a parquet file or folder, an .npz file with x_train and y_train (images
            with classes, or samples and targets of any kind), or hf:NAME on the Hugging Face hub.
        image_size: height and width of the network's input in pixels; larger images are resized and cropped.
        image_column: name of the column with the images; needed for hub and parquet data with several image columns.
        label_column: name of the column with the labels; needed for hub and parquet data with several label columns.
        skip_unreadable: leave out images that cannot be read; the run keeps their number and names.
        test_fraction: share of the images, over 0 and below 1, that is set aside as test part for `dnas evaluate`; it
            has no effect on data that come with a test part.
        augment: whether training images are shifted at random, flipped and cut; it has no effect on other samples, nor
            on images with a target for each pixel, which are never changed.
        validation_fraction: share of the remaining images, from 0 to below 1, that `dnas retrain` does not train on, so
            that networks can be compared on them; 0 trains on all images, as the DARTS paper does.
        supernet_images: number of validation images that measure the supernet after an epoch, and by which some
            discretizations judge candidates; by default all of them.
        model: instead of a space, 'package.module:name' of a module of your own with choices in it, or of a class or
            function that makes it; found from the current folder. It maps inputs to outputs (images to logits); if it
            takes num_classes (or num_outputs), in_channels, image_size, input_shape or num_tokens, it is given them.
        task: what is minimised and what decides which network is best; 'dnas.Classification' with 'balanced' for
            classes of very different sizes. By default top-1 accuracy for images with classes; the targets of an .npz
            file decide it.
        space: search space.
        channels: output channels of the first cells of the supernet.
        cells: number of cells of the supernet.
        stem: layers before the cells: 'cifar' keeps the resolution of the images, 'imagenet' divides it by 8.
        fused: whether cells keep only their states in memory and compute everything else again; a search then takes
            about a third of the memory, but more time on a CPU.
        kernels: 'auto' computes the separable convolutions of the supernet or the cells of NAS-Bench-201, and trains
            the separable convolutions of the networks that are found, by compiled kernels where numba is installed (the
            extra `cpu`) and the channels are a multiple of 4: the same results up to rounding, in less time on a CPU.
            'always' takes them on a GPU too, where those of the supernet are in Triton and not yet measured. 'plain'
            takes PyTorch's operations.
        batch_size: images per step of the search.
        time: how long the search may take, such as 90s, 30min or 2h, and how long the retraining after it. Image size,
            channels and cells of the search are chosen to fit if they are left out; the epochs of both are lowered to
            fit. Of a model of your own only the epochs are lowered.
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:1'.
        threads: number of CPU threads that PyTorch uses in the search; by default the fewest that are as fast as all of
            them, found by measuring. `dnas retrain` has an option of its own.
        seed: whole number that determines everything random: splits, order of the data, initial weights and samples. It
            is added to search.seed, finalists.seed and retrain.seed.
        search: method and length of the search.
        finalists: whether candidates for the result are trained briefly after the search, and the best one taken.
        retrain: how `dnas retrain` trains the network that was found.
    """

    data: str = "digits"
    image_size: int | None = None
    image_column: str = ""
    label_column: str = ""
    skip_unreadable: bool = False
    test_fraction: float = 0.15
    augment: bool = True
    validation_fraction: float = 0.1
    supernet_images: int | None = None
    model: str | None = None
    task: Task | None = None
    space: Space = DartsSpace()
    channels: int | None = None
    cells: int | None = None
    stem: Stem = "cifar"
    fused: bool = False
    kernels: Literal["auto", "always", "plain"] = "plain"
    batch_size: int | None = None
    time: str | None = None
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    search: SearchSettings = SearchSettings()
    finalists: FinalistSettings = FinalistSettings()
    retrain: RetrainSettings = RetrainSettings()

    def __post_init__(self) -> None:
        for name in (*SIZES, "threads", "supernet_images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1; got {value}.")
            if value is not None and value > _LARGEST:
                raise UserError(f"{name} must be at most {_LARGEST:,}; got {value:,}.")
        if not 0 < self.test_fraction < 1:
            raise UserError(f"test_fraction must be over 0 and below 1; got {self.test_fraction}.")
        if not 0 <= self.validation_fraction < 1:
            raise UserError(f"validation_fraction must be from 0 up to below 1; got {self.validation_fraction}.")
        if abs(self.seed) > _LARGEST_SEED:
            raise UserError(f"seed must be from -{_LARGEST_SEED} to {_LARGEST_SEED}; got {self.seed}.")
        if self.time is not None:
            seconds_in(self.time)
        self.search.check_length()
        if self.model is not None:  # its decisions are known when it is imported
            _check_own_model(self)
            return
        if self.search.stages:
            _check_stages(self)
        decisions = self.space.decisions()
        self.search.discretization.check(decisions)
        for observer in self.search.observers:
            observer.check(decisions)

    @property
    def missing_sizes(self) -> tuple[str, ...]:
        """Names of the sizes that have no value yet."""
        # A module of the user's own has sizes of its own, and inputs that need not be images.
        needed = SIZES if self.model is None else ("batch_size",)
        return tuple(name for name in needed if getattr(self, name) is None)


def fitted_to_space(job: Job) -> Job:
    """The job without an auxiliary head in retraining, where the networks of its space have none."""
    if job.space.has_auxiliary_head or not job.retrain.auxiliary:
        return job
    return replace(job, retrain=replace(job.retrain, auxiliary=False))


def seeded_search(job: Job) -> SearchSettings:
    """The settings of the search, with the job's seed added to theirs."""
    return replace(job.search, seed=job.seed + job.search.seed)


def seeded_retrain(job: Job) -> RetrainSettings:
    """The settings of retraining, with the job's seed added to theirs."""
    return replace(job.retrain, seed=job.seed + job.retrain.seed)


def job_of_stage(job: Job, stage: Stage) -> Job:
    """A stage of the job's search as a job of its own, without the sizes that the job leaves out.

    Raises:
        UserError: the stage sets an argument that the space does not have, or a value that it refuses.
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


def _check_own_model(job: Job) -> None:
    """Check that nothing is set that only networks of a space have."""
    # Recipes set channels and cells, which are for spaces alone; on the command line they are refused.
    given = ["fused"] if job.fused else []
    given += [f"finalists.{name}" for name in ("channels", "cells") if getattr(job.finalists, name) is not None]
    if given:
        raise UserError(
            f"{', '.join(given)} would have no effect on the model {job.model}: its sizes are its own. Leave it out."
        )
    if job.search.stages:
        raise UserError(f"A search in stages needs a space; {job.model} is a module of your own. Use another recipe.")


def _check_stages(job: Job) -> None:
    """Check that the space can be searched in the stages of the job."""
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
