"""What the commands do: each takes a run folder and settings, works, and leaves its results in the folder."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.cost import count_flops, count_parameters
from dnas.data import Catalog, open_source
from dnas.formats import architecture_text
from dnas.jobs.job import (
    Job,
    JobData,
    build_supernet_model,
    device_of,
    job_of_stage,
    load_data,
    remember_test_part,
    retrain_streams,
    search_streams,
    seeded_retrain,
    seeded_search,
    test_batches,
)
from dnas.jobs.planning.fit import Measure, Measured, Sizes
from dnas.jobs.planning.measure import measure_training
from dnas.jobs.planning.plan import (
    OUTLOOK_PLANNING,
    THREADS_PLANNING,
    RetrainPlan,
    choose_threads,
    images_to_search_with,
    on_threads,
    plan,
    plan_retraining,
    planning_seconds,
)
from dnas.searching.observer import Observer
from dnas.searching.search import SearchResult, search_in_stages
from dnas.searching.stage import Stage
from dnas.shipping.interface import Interface
from dnas.shipping.load import RETRAIN, load, load_spec
from dnas.shipping.package import save_network
from dnas.shipping.spec import NetworkSpec, SpaceBuilder
from dnas.system.atomic import write_text
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.system.memory import available_memory
from dnas.system.plain_data import to_plain
from dnas.system.random_state import seeded
from dnas.system.threads import num_threads, threads_that_help
from dnas.training.baseline import Training, draw_random, train_beside, train_random_baseline
from dnas.training.baseline_report import comparison_data, comparison_table
from dnas.training.comparison import Comparison
from dnas.training.evaluate import evaluate
from dnas.training.retrain import SUMMARY, retrain

# search


def plan_search(run: Run, job: Job, display: Display) -> Job:
    """The job with all sizes filled in; says what was chosen, what it will take, and what retraining will.

    Raises:
        UserError: the folder cannot take a run, or what is asked for does not fit the time or the memory.
    """
    check_new(run)
    to_plain(job)  # refuses parts that no config.yaml can hold
    device = device_of(job.device)
    catalog = open_source(job.data, image_column=job.image_column, label_column=job.label_column)
    display.say(
        f"Data: {catalog.name}, {catalog.num_train} images of {len(catalog.class_names)} classes, about "
        f"{catalog.native_size} pixels. Measuring this machine ..."
    )
    chosen = plan(job, catalog, device)
    display.say(str(chosen))
    if job.batch_size is not None and chosen.job.batch_size != job.batch_size:
        display.say(f"Note: batch_size {job.batch_size} is more than the images in each half of the data, and lowered.")
    with num_threads(chosen.job.threads):
        display.say(_retraining_outlook(chosen.job, catalog, device))
    return chosen.job


def _retraining_outlook(job: Job, catalog: Catalog, device: torch.device) -> str:
    """What `dnas retrain` will take, by an architecture drawn at random."""
    assert job.image_size is not None
    architecture = job.space.random(torch.Generator().manual_seed(job.seed))
    try:
        outlook = _plan_retraining(
            job,
            architecture,
            time=job.time,
            shape=(3, job.image_size, job.image_size),
            num_classes=len(catalog.class_names),
            num_rest=images_to_search_with(job, catalog),
            device=device,
            planning=OUTLOOK_PLANNING * planning_seconds(job.time),
        )
    except ValueError as error:
        return f"Then `dnas retrain`: {error}"
    return f"Then `dnas retrain`: {outlook}."


def begin(run: Run, job: Job) -> None:
    """Write the resolved settings of a new run."""
    check_new(run)
    with num_threads(job.threads):
        run.write_config({"job": to_plain(job)})


def check_new(run: Run, command: str = "search") -> None:
    """See that a run of a command can begin in the folder, before anything that takes long."""
    if run.config_path.exists():
        raise UserError(
            f"{run.path} already holds a run. `dnas {command} --resume {run.path}` goes on with it; "
            "for a new one choose another --run."
        )
    above = next(folder for folder in (run.path, *run.path.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise UserError(f"{above} is a file; --run must name a folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"The run folder {run.path} cannot be made: {above} may not be written to.")


def read_data(run: Run, job: Job, display: Display) -> JobData:
    """The job's data, the same test part as ever set aside.

    Raises:
        UserError: the data have changed since the run began, or cannot be read.
    """

    def progress(done: int, total: int) -> None:
        display.update("images", done, total, {})

    started = time.monotonic()
    data = load_data(job, progress)
    remember_test_part(run, data)
    for note in data.notes:
        display.say(f"Note: {note}")
    if time.monotonic() - started > 10:
        display.say(f"Read {len(data.rest) + len(data.test)} images in {time.monotonic() - started:.0f} s.")
    return data


def search_command(
    run: Run, job: Job, data: JobData, display: Display, observers: Sequence[Observer] = ()
) -> SearchResult:
    """Search, or go on with a search that was stopped; the observers watch besides those of the settings."""
    device = device_of(job.device)
    train, val, validation = search_streams(job, data, device)
    if job.fused:
        display.say("Cells in their fused form: they keep only their states, and compute the rest again.")

    def build(stage: Stage) -> nn.Module:
        own = job_of_stage(job, stage) if job.search.stages else job
        model = build_supernet_model(own, num_classes=data.rest.num_classes, in_channels=data.rest.num_channels)
        return model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    with num_threads(job.threads):
        result = search_in_stages(
            build,
            train,
            val,
            settings=seeded_search(job),
            validation=validation,
            stamp=job.space.architecture,
            run=run,
            observers=observers,
            display=display,
        )
    display.say(f"Found after {result.seconds:.0f} s:\n{architecture_text(result.architecture)}")
    return result


# retrain


def plan_retrain(run: Run, job: Job, data: JobData, *, time: str | None, threads: int | None, display: Display) -> Job:
    """The job with settings for retraining what was found: channels, cells and epochs are lowered to fit a time limit.

    Says what was chosen and what it will take.

    Args:
        run: of the search.
        job: of the search, with what is asked for.
        data: of the job.
        time: how long it may take, such as 30min; None for any time.
        threads: CPU threads; None for the fewest that are as fast as all.
        display: where it is said.

    Raises:
        UserError: nothing fits the time or the memory.
    """
    rest, device, architecture = data.rest, device_of(job.device), run.load_architecture()
    shape = (rest.num_channels, *rest.size)
    planning = planning_seconds(time)
    with num_threads(threads or (threads_that_help() if device.type == "cpu" else None)):
        chosen = _plan_retraining(
            job,
            architecture,
            time=time,
            shape=shape,
            num_classes=rest.num_classes,
            num_rest=len(rest),
            device=device,
            planning=(1 - THREADS_PLANNING) * planning,
        )
        job = replace(job, retrain=chosen.settings)
        if device.type == "cpu" and threads is None:
            sizes = Sizes(shape[1], chosen.settings.batch_size, chosen.settings.channels, chosen.settings.cells)
            measure = _measure_retraining(job, architecture, shape, rest.num_classes, device)
            threads = choose_threads(measure, sizes, chosen.step, patience=THREADS_PLANNING * planning)
    limit = "" if time else " --time lowers these sizes to fit."
    display.say(f"Retraining: {chosen}{on_threads(threads)}.{limit}")
    return replace(job, threads=threads)


def _plan_retraining(
    job: Job,
    architecture: Architecture,
    *,
    time: str | None,
    shape: tuple[int, int, int],
    num_classes: int,
    num_rest: int,
    device: torch.device,
    planning: float,
) -> RetrainPlan:
    """The plan for retraining an architecture on images of `shape` (channels, height, width)."""
    num_held_out = round(job.validation_fraction * num_rest)
    return plan_retraining(
        job.retrain,
        _measure_retraining(job, architecture, shape, num_classes, device),
        time=time,
        image_size=shape[1],
        num_images=num_rest - num_held_out,
        num_held_out=num_held_out,
        available=available_memory(device),
        planning=planning,
    )


def _measure_retraining(
    job: Job, architecture: Architecture, shape: tuple[int, int, int], num_classes: int, device: torch.device
) -> Measure:
    """Measures steps of training an architecture's network on images of `shape`."""

    def measure(sizes: Sizes) -> Measured:
        settings = replace(job.retrain, channels=sizes.channels, cells=sizes.cells)
        network = _builder(replace(job, retrain=settings), num_classes, shape[0]).network(architecture)
        return measure_training(network, settings, sizes, in_channels=shape[0], device=device)

    return measure


def retrain_command(run: Run, job: Job, data: JobData, display: Display) -> None:
    """Build the found architecture's network and train it from new weights; the result is in RUN/retrain.

    It is measured on held-out images only: the test part is for `evaluate_command`.
    """
    architecture = run.load_architecture()
    child = run.child(RETRAIN)
    device = device_of(job.device)
    if not child.config_path.exists():
        begin(child, job)
        child.save_architecture(architecture)
    settings = seeded_retrain(job)
    builder = _builder(job, data.rest.num_classes, data.rest.num_channels)
    with seeded(settings.seed):
        network = builder.network(architecture).to(device)
    train, held_out = retrain_streams(job, data, device)
    if train.note:
        display.say(f"Note: {train.note}")
    with num_threads(job.threads):
        retrain(network, train, settings=settings, run=child, display=display, validation=held_out)
    save_network(child, network, NetworkSpec(architecture, builder, interface_of(data)))
    display.say(
        f"Retrained in {child.load_json(SUMMARY)['seconds']:.0f} s: {count_parameters(load(run.path)):,} parameters"
        + ("." if held_out is None else f", {evaluate(network, held_out).top1:.2%} right on held-out images.")
    )


def _builder(job: Job, num_classes: int, in_channels: int) -> SpaceBuilder:
    return SpaceBuilder(
        channels=job.retrain.channels,
        cells=job.retrain.cells,
        num_classes=num_classes,
        in_channels=in_channels,
        stem=job.stem,
        auxiliary=job.retrain.auxiliary,
    )


def interface_of(data: JobData) -> Interface:
    """What a network for these data takes and gives."""
    return Interface(data.rest.class_names, data.rule, data.normalization)


# baseline


def check_baseline(job: Job, num: int = 1) -> None:
    """See that a baseline can be made, before anything that takes long.

    Raises:
        UserError: no random network is asked for, or nothing is held out from retraining, so that none could be
            chosen without the test part.
    """
    if num < 1:
        raise UserError(f"The number of random architectures must be at least 1; got {num}.")
    if job.validation_fraction == 0:
        raise UserError(
            "A baseline chooses among random networks by images that are held out from their training, but "
            "validation_fraction is 0. Search with --validation_fraction 0.1."
        )


def baseline_command(
    run: Run,
    job: Job,
    data: JobData,
    num: int,
    display: Display,
    *,
    beside: Mapping[str, Architecture] | None = None,
) -> str:
    """Train random architectures like the found one and compare; the result is in RUN/baseline.

    Args:
        job: with the settings under which the found network was retrained.
        num: how many random architectures.
        beside: others by name, trained alike and shown.

    Raises:
        UserError: as `check_baseline`, or the found network's training and the random ones' differ.
    """
    check_baseline(job, num)
    search_seconds = _search_seconds(run)
    training = comparable_training(job, data)
    with num_threads(job.threads):
        found = training.row("found", run.load_architecture(), run=run.child(RETRAIN), display=display)
        others = train_beside(beside or {}, training, run=run, display=display)
        random = train_random_baseline(
            lambda index: draw_random(job.space, job.seed, index), training, run=run, num=num, display=display
        )
    comparison = Comparison(found, tuple(random), search_seconds, len(data.test), tuple(others))
    table = comparison_table(comparison)
    run.child("baseline").save_json("comparison", comparison_data(comparison))
    write_text(run.path / "baseline" / "comparison.txt", table + "\n")
    return table


def comparable_training(job: Job, data: JobData) -> Training:
    """What networks share that are compared: those that `retrain_command` trains, and random ones."""
    device = device_of(job.device)
    train, held_out = retrain_streams(job, data, device)
    assert held_out is not None
    builder = _builder(job, data.rest.num_classes, data.rest.num_channels)
    return Training(
        build=lambda architecture: builder.network(architecture).to(device),
        train=train,
        validation=held_out,
        test=test_batches(job, data, job.retrain.batch_size, device),
        settings=seeded_retrain(job),
    )


def _search_seconds(run: Run) -> float:
    """How long the search took, from the file that it left."""
    run.load_architecture()
    data = run.load_json("search") if (run.path / "search.json").exists() else None
    value = data.get("seconds") if isinstance(data, Mapping) else None
    if not isinstance(value, int | float):
        raise UserError(
            f"{run.path / 'search.json'} does not say how many seconds the search took; "
            f"`dnas search --resume {run.path}` writes it anew."
        )
    return float(value)


# evaluate


def evaluate_command(run: Run, job: Job, display: Display) -> str:
    """Measure the retrained network on the test part; the result is in RUN/evaluation."""
    device = device_of(job.device)
    network = load(run.path, device=device)
    data = read_data(run, job, display)
    with num_threads(job.threads):
        measured = evaluate(network, test_batches(job, data, job.retrain.batch_size, device), display=display)
    parameters = count_parameters(network)
    flops = count_flops(network, torch.zeros(1, *load_spec(run.path).interface.shape, device=device))
    measured.write_confusion(run.path / "evaluation" / "confusion.csv", data.rest.class_names)
    run.child("evaluation").save_json(
        "evaluation", {**measured.to_data(), "parameters": parameters, "forward_flops": flops}
    )
    low, high = measured.top1_interval
    return (
        f"Test part, {measured.num_images} images: top-1 {measured.top1:.2%} (95% interval {low:.2%} to {high:.2%}), "
        f"top-5 {measured.top5:.2%}, loss {measured.loss:.4f}; {parameters:,} parameters, {flops / 1e6:.2f} MFLOP "
        f"forward. The confusion matrix is {run.path / 'evaluation' / 'confusion.csv'}."
    )


def new_run_folder(data: str) -> Path:
    """runs/NAME-DATE-TIME, with the name of the data."""
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(data).name) or "data"
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
