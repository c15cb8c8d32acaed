"""`dnas shrink`: a user's trained model on a user's images, smaller under a budget."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from dnas.core.run import Run
from dnas.cost.budget import Budget
from dnas.data import Normalization, SampleKind
from dnas.jobs.channels import with_channels_of
from dnas.jobs.images import JobData, read_data, retrain_streams, test_batches
from dnas.jobs.job import Job
from dnas.jobs.job_data import open_data, with_task_of
from dnas.jobs.own_model import imported_model
from dnas.jobs.planning.shrink_plan import Lengths, measured_steps, plan_shrinking
from dnas.jobs.retrain import interface_of
from dnas.shipping.own_module import export_onnx
from dnas.shrinking.rules import Rule
from dnas.shrinking.settings import ShrinkSettings
from dnas.shrinking.shrink import shrink
from dnas.system.atomic import write_text
from dnas.system.devices import named_device
from dnas.system.difference import first_difference, free
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.system.plain_data import to_plain
from dnas.system.words import seconds_in
from dnas.task.base import Task

_PLAN = "plan"  # name of the JSON file with what was planned for a time


@dataclass(frozen=True)
class ShrinkJob:
    """Settings of a shrinking.

    Args:
        model: 'package.module:name' of the trained model, or of a function without arguments that returns it; found
            from the current folder.
        budget: such as 'flops<=50%', 'parameters<=300k' or 'milliseconds<=8'; shares are of the model as it is.
        keep: names of the model's modules that stay as they are with all that lies in them, as patterns such as
            'layers.0' or '*.conv1'.
        data: images, as for `dnas search`.
        image_size: height and width of the model's input in pixels; by default the size of the data.
        image_column: name of the column with the images, as for `dnas search`.
        label_column: name of the column with the labels, as for `dnas search`.
        skip_unreadable: leave out images that cannot be read; the run keeps their number and names.
        task: what is minimised and by what networks are compared, as for `dnas search`.
        mean: of each channel, as the model was trained with, in units where 255 is 1; by default measured on
            the data.
        std: deviation of each channel, likewise.
        test_fraction: share of the images that is set aside to measure the rows of the table; it has no effect on data
            that come with a test part.
        validation_fraction: share of the remaining images that decides the widths, over 0.
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:1'.
        seed: of splits and of the order of the data; it is added to settings.seed.
        search_epochs: passes over the training data in which widths and blocks are searched by gradient; 0 for the
            one-shot mode, which trains nothing before it decides.
        time: how long the command may take, such as 10min; epochs of fine-tuning, and then random networks, are lowered
            to fit.
        settings: sizes of the search, of fine-tuning and of the comparison.

    Raises:
        UserError: a value out of its range.
    """

    model: str
    budget: tuple[str, ...]
    keep: tuple[str, ...] = ()
    data: str = "digits"
    image_size: int | None = None
    image_column: str = ""
    label_column: str = ""
    skip_unreadable: bool = free(False)  # what it changes is checked by test_part.json
    task: Task | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    test_fraction: float = 0.15
    validation_fraction: float = 0.15
    device: str = "auto"
    seed: int = 0
    search_epochs: int = 0
    time: str | None = None
    settings: ShrinkSettings = ShrinkSettings()

    def __post_init__(self) -> None:
        Budget(self.budget)
        if self.time is not None:
            seconds_in(self.time)
        if self.search_epochs < 0:
            raise UserError(f"search_epochs must be 0 (one-shot) or more; got {self.search_epochs}.")
        if self.validation_fraction <= 0:
            raise UserError(f"validation_fraction must be over 0 and below 1; got {self.validation_fraction}.")
        if (self.mean is None) != (self.std is None):
            raise UserError("mean and std belong together: give both, or neither.")
        if self.mean is not None and self.std is not None:
            Normalization(self.mean, self.std)

    @property
    def rules(self) -> list[Rule]:
        """What must stay."""
        return [Rule(pattern, width=False, depth=False) for pattern in self.keep]


def begin_shrinking(run: Run, job: ShrinkJob) -> None:
    """Write the settings of a new run, or see that one that has begun has the same.

    Raises:
        UserError: the folder holds something else.
    """
    if not run.config_path.exists():
        run.write_config({"shrink": to_plain(job)})
        return
    begun = run.read_config().get("shrink")
    difference = first_difference(begun, job) if isinstance(begun, Mapping) else "there is no shrinking"
    if difference:
        raise UserError(
            f"{run.path} has begun with other settings, by its config.yaml: {difference}. The same command goes on "
            "with it; for other settings choose another --run."
        )


def shrink_command(run: Run, job: ShrinkJob, display: Display) -> None:
    """Shrink the model and write shrink.json, comparison.txt, network.pt and network.onnx into the run folder.

    Raises:
        UserError, NonFiniteLoss, Interrupted: as `dnas.shrink`.
    """
    started, device = time.perf_counter(), named_device(job.device)
    model = imported_model(job.model).to(device)
    images = _images(job)
    data = _data(run, job, images, model, display)
    train, held_out = retrain_streams(images, data, device)
    assert held_out is not None
    test = test_batches(images, data, images.retrain.batch_size, device)
    settings = job.settings
    if job.time is not None:
        lengths = Lengths(len(train), len(held_out), len(test))
        left = seconds_in(job.time) - (time.perf_counter() - started)
        settings = _fitted(run, job, model, data.kind, lengths, left, display)
    small = shrink(
        model,
        train,
        held_out,
        budget=job.budget,
        rules=job.rules,
        search_epochs=job.search_epochs,
        task=images.task,
        test=test,
        settings=replace(settings, seed=job.seed + settings.seed),
        run=run,
        display=display,
    )
    report: Any = small.shrink_report
    write_text(run.path / "comparison.txt", f"{report}\n")
    if job.settings.onnx:
        try:
            file = export_onnx(small, interface_of(data), run.path)
        except UserError as error:
            display.say(f"No network.onnx: {error}")
        else:
            display.say(f"{file.path} differs from PyTorch by {file.deviation:.1e} at most.")


def _data(run: Run, job: ShrinkJob, images: Job, model: nn.Module, display: Display) -> JobData:
    """The data as the model takes them, normalised as it was trained with."""
    data, note = with_channels_of(model, read_data(run, images, display), name=job.model)
    if note:
        display.say(f"Note: {note}")
    if job.mean is None or job.std is None:
        return data
    if len(job.mean) != data.kind.in_channels:
        raise UserError(
            f"mean and std are for {len(job.mean)} channels, and the data have {data.kind.in_channels}: give one "
            "number for each."
        )
    return replace(data, normalization=Normalization(job.mean, job.std))


def _fitted(
    run: Run,
    job: ShrinkJob,
    model: nn.Module,
    kind: SampleKind,
    lengths: Lengths,
    seconds: float,
    display: Display,
) -> ShrinkSettings:
    """The settings that fit the time; a run that goes on keeps those that it began with.

    Args:
        run: keeps what was planned.
        job: as the user gave it.
        model: the trained model.
        kind: what the samples are like.
        lengths: of the data.
        seconds: that are left.
        display: is told the plan.
    """
    assert job.time is not None
    if not (run.path / f"{_PLAN}.json").exists():
        device = named_device(job.device)
        steps = measured_steps(model, kind, Budget(job.budget), job.settings, rules=job.rules, device=device)
        plan = plan_shrinking(
            job.settings, steps, lengths, search_epochs=job.search_epochs, budget=seconds, time=job.time
        )
        display.say(f"{plan}.")
        chosen = plan.settings
        run.save_json(_PLAN, {"epochs": chosen.fine_tuning.epochs, "random": chosen.random, "seconds": plan.seconds})
    planned = run.load_json(_PLAN)
    tuning = replace(job.settings.fine_tuning, epochs=planned["epochs"])
    return replace(job.settings, fine_tuning=tuning, random=planned["random"])


def _images(job: ShrinkJob) -> Job:
    """The images of a shrinking as those of a search, whose commands read and split them."""
    named = Job(data=job.data, image_column=job.image_column, label_column=job.label_column, task=job.task)
    catalog = open_data(named)
    return replace(
        with_task_of(replace(named, model=job.model), catalog),
        image_size=job.image_size or catalog.default_size,
        skip_unreadable=job.skip_unreadable,
        test_fraction=job.test_fraction,
        validation_fraction=job.validation_fraction,
        device=job.device,
        seed=job.seed,
        retrain=job.settings.fine_tuning,
    )
