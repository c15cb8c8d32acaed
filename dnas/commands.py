"""What the commands do: each takes a run folder and settings, works, and leaves its results in the folder."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import torch

from dnas.atomic import write_text
from dnas.baseline import Training, train_random_baseline
from dnas.comparison import Comparison, comparison_table
from dnas.cost import count_flops, count_parameters
from dnas.data import open_source
from dnas.data.keyed_random import stream_key
from dnas.display import Display
from dnas.evaluate import evaluate
from dnas.formats import architecture_text
from dnas.job import (
    Job,
    JobData,
    build_supernet_model,
    device_of,
    load_data,
    remember_test_part,
    retrain_streams,
    search_streams,
    seconds,
    test_batches,
)
from dnas.load import load, load_spec
from dnas.package import Interface, NetworkSpec, SpaceBuilder, save_network
from dnas.plain_data import to_plain
from dnas.plan import Plan, plan, plan_retraining, readable_time, training_step_seconds
from dnas.random_state import seeded
from dnas.retrain import SUMMARY, RetrainSettings, retrain
from dnas.run import Run
from dnas.search import SearchResult, search
from dnas.supernet import Supernet

RETRAIN = "retrain"  # the run inside a search run that holds the retrained network


def plan_search(run: Run, job: Job, display: Display) -> Plan:
    """Fill in what the job leaves out, and say what was chosen and what it will take."""
    _check_new(run)
    catalog = open_source(job.data, image_column=job.image_column, label_column=job.label_column)
    display.say(
        f"Data: {catalog.name}, {catalog.num_train} images of {len(catalog.class_names)} classes, about "
        f"{catalog.native_size} pixels. Measuring this machine ..."
    )
    found = plan(job, catalog, device_of(job.device))
    display.say(str(found))
    return found


def begin(run: Run, job: Job) -> None:
    """Write the resolved settings of a new run."""
    _check_new(run)
    run.write_config({"job": to_plain(job)})


def _check_new(run: Run) -> None:
    if run.config_path.exists():
        raise ValueError(
            f"{run.path} already holds a run. `dnas search --resume {run.path}` goes on with it; "
            "for a new one choose another --run."
        )


def search_command(run: Run, job: Job, display: Display) -> SearchResult:
    """Search, or go on with a search that was stopped."""
    device = device_of(job.device)
    data = _data(run, job, display)
    train, val, validation = search_streams(job, data, device)
    model = build_supernet_model(job, num_classes=data.rest.num_classes, in_channels=data.rest.num_channels)
    supernet = Supernet(model.to(memory_format=torch.channels_last), seed=job.seed)  # pyright: ignore[reportCallIssue]
    supernet.to(device)
    result = search(
        supernet,
        train,
        val,
        settings=job.search,
        validation=validation,
        stamp=job.space.architecture,
        run=run,
        display=display,
    )
    display.say(f"Found after {result.seconds:.0f} s:\n{architecture_text(result.architecture)}")
    return result


def retrain_plan(run: Run, job: Job, settings: RetrainSettings, time: str | None, display: Display) -> RetrainSettings:
    """Say what retraining will take; with a time limit, lower channels, cells and epochs until it fits.

    A retraining that has begun goes on with the settings it began with.
    """
    begun = run.child("retrain")
    if begun.config_path.exists():
        return settings
    data = _data(run, job, display)
    device = device_of(job.device)
    architecture = run.load_architecture()
    num_images = len(retrain_streams(job, settings, data, device)[0].images)

    def step_seconds(candidate: RetrainSettings) -> float:
        network = _builder(job, candidate, data).network(architecture).to(device)
        return training_step_seconds(network, candidate, data.rest.images.shape[1:], device)

    chosen, needed = plan_retraining(
        settings, math.inf if time is None else seconds(time), num_images=num_images, measure=step_seconds
    )
    display.say(
        f"Retraining: {chosen.channels} channels, {chosen.cells} cells, {chosen.epochs} epochs of {num_images} images: "
        f"about {readable_time(needed)}." + ("" if time else " --time lowers these sizes to fit.")
    )
    return chosen


def retrain_command(run: Run, job: Job, settings: RetrainSettings, display: Display) -> None:
    """Build the found architecture's network and train it from new weights; the result is in RUN/retrain.

    It is measured on held-out images only: the test part is for `evaluate_command`.
    """
    data = _data(run, job, display)
    architecture = run.load_architecture()
    child = run.child(RETRAIN)
    device = device_of(job.device)
    if not child.config_path.exists():
        child.write_config({"job": to_plain(replace(job, retrain=settings))})
        child.save_architecture(architecture)
    with seeded(settings.seed):
        network = _builder(job, settings, data).network(architecture).to(device)
    train, held_out = retrain_streams(job, settings, data, device)
    retrain(network, train, settings=settings, run=child, display=display, validation=held_out)
    save_network(child, network, NetworkSpec(architecture, _builder(job, settings, data), interface_of(data)))
    display.say(
        f"Retrained in {child.load_json(SUMMARY)['seconds']:.0f} s: {count_parameters(load(run.path)):,} parameters"
        + ("." if held_out is None else f", {evaluate(network, held_out).top1:.2%} right on held-out images.")
    )


def baseline_command(run: Run, job: Job, num: int, display: Display) -> str:
    """Train random architectures like the found one and compare; the result is in RUN/baseline.

    Raises:
        FileNotFoundError: the found architecture has not been retrained.
        ValueError: nothing was held out from retraining, so that nothing can be chosen without the test part.
    """
    data = _data(run, job, display)
    device = device_of(job.device)
    settings = job.retrain
    train, held_out = retrain_streams(job, settings, data, device)
    if held_out is None:
        raise ValueError(
            "A baseline chooses among random networks by images that are held out from their training, but the run's "
            "validation_fraction is 0. Search with --validation_fraction 0.1."
        )
    builder = _builder(job, settings, data)
    training = Training(
        build=lambda architecture: builder.network(architecture).to(device),
        train=train,
        validation=held_out,
        test=test_batches(job, data, settings.batch_size, device),
        settings=settings,
    )
    found = training.row("found", run.load_architecture(), run=run.child(RETRAIN), display=display)
    random = train_random_baseline(
        lambda index: job.space.random(torch.Generator().manual_seed(stream_key(job.seed, index))),
        training,
        run=run,
        num=num,
        display=display,
    )
    comparison = Comparison(found, tuple(random), run.load_json("search")["seconds"], len(data.test))
    table = comparison_table(comparison)
    run.child("baseline").save_json("comparison", comparison.to_data())
    write_text(run.path / "baseline" / "comparison.txt", table + "\n")
    return table


def _builder(job: Job, settings: RetrainSettings, data: JobData) -> SpaceBuilder:
    return SpaceBuilder(
        channels=settings.channels,
        cells=settings.cells,
        num_classes=data.rest.num_classes,
        in_channels=data.rest.num_channels,
        stem=job.stem,
        auxiliary=settings.auxiliary,
    )


def interface_of(data: JobData) -> Interface:
    """What a network for these data takes and gives."""
    return Interface(data.rest.class_names, data.rule, data.normalization)


def evaluate_command(run: Run, job: Job, display: Display) -> str:
    """Measure the retrained network on the test part; the result is in RUN/evaluation."""
    device = device_of(job.device)
    data = _data(run, job, display)
    network = load(run.path, device=device)
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


def _data(run: Run, job: Job, display: Display) -> JobData:
    """The job's data, the same test part as ever set aside."""

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


def new_run_folder(job: Job) -> Path:
    """runs/NAME-DATE-TIME."""
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(job.data).name) or "data"
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
