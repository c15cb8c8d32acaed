"""What the commands do: each takes a run folder and settings, works, and leaves its results in the folder."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import dnas.evaluate as evaluation
from dnas.architecture import Architecture
from dnas.cost import count_flops, count_parameters
from dnas.data import open_source
from dnas.display import Display
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
    test_batches,
)
from dnas.load import load, load_spec
from dnas.package import Interface, NetworkSpec, SpaceBuilder, save_network
from dnas.plain_data import to_plain
from dnas.plan import Plan, plan, plan_retraining
from dnas.random_state import seeded
from dnas.retrain import RetrainSettings, retrain
from dnas.run import Run
from dnas.search import SearchResult, search
from dnas.supernet import Supernet


def plan_search(job: Job, display: Display) -> Plan:
    """Fill in what the job leaves out, and say what was chosen and what it will take."""
    catalog = open_source(job.data, image_column=job.image_column, label_column=job.label_column)
    display.say(
        f"Data: {catalog.name}, {catalog.num_train} images of {len(catalog.class_names)} classes, about "
        f"{catalog.native_size} pixels. Measuring this machine ..."
    )
    found = plan(job, catalog, device_of(job.device))
    display.say(str(found))
    return found


def begin(run: Run, job: Job) -> None:
    """Write the resolved settings of a new run.

    Raises:
        ValueError: the folder holds a run already.
    """
    if run.config_path.exists():
        raise ValueError(
            f"{run.path} already holds a run. `dnas search --resume {run.path}` goes on with it; "
            "for a new one choose another --run."
        )
    run.write_config({"job": to_plain(job)})


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


@dataclass(frozen=True)
class Retrained:
    """A retrained network and what it is.

    Args:
        seconds: of training.
        validation: accuracy on the images held out from retraining; None where none were.
        parameters: number of them, without the auxiliary head.
    """

    seconds: float
    validation: float | None
    parameters: int


def retrain_command(run: Run, job: Job, settings: RetrainSettings, display: Display) -> Retrained:
    """Build the found architecture's network and train it from new weights; the result is in RUN/retrain."""
    data = _data(run, job, display)
    return train_architecture(
        run.child("retrain"), run.load_architecture(), job, settings, data, display, phase="retrain"
    )


def train_architecture(
    run: Run,
    architecture: Architecture,
    job: Job,
    settings: RetrainSettings,
    data: JobData,
    display: Display,
    *,
    phase: str,
) -> Retrained:
    """Train one architecture's network in a run folder of its own, or go on with it."""
    device = device_of(job.device)
    builder = SpaceBuilder(
        channels=settings.channels,
        cells=settings.cells,
        num_classes=data.rest.num_classes,
        in_channels=data.rest.num_channels,
        stem=job.stem,
        auxiliary=settings.auxiliary,
    )
    with seeded(settings.seed):
        network = builder.network(architecture).to(device)
    train, held_out = retrain_streams(job, settings, data, device)
    if not run.config_path.exists():
        run.write_config({"job": to_plain(replace(job, retrain=settings))})
        run.save_architecture(architecture)
    retrain(network, train, settings=settings, run=run, display=display, phase=phase, validation=held_out)
    save_network(run, network, NetworkSpec(architecture, builder, interface_of(data)))
    validation = None if held_out is None else evaluation.evaluate(network, held_out).top1
    return Retrained(run.load_json("retrain")["seconds"], validation, count_parameters(load(run.path)))


def interface_of(data: JobData) -> Interface:
    """What a network for these data takes and gives."""
    return Interface(data.rest.class_names, data.rule, data.normalization)


def evaluate_command(run: Run, job: Job, display: Display) -> dict:
    """Measure the retrained network on the test part; the result is in RUN/evaluation."""
    device = device_of(job.device)
    data = _data(run, job, display)
    network = load(run.path, device=device)
    measured = evaluation.evaluate(network, test_batches(job, data, job.retrain.batch_size, device), display=display)
    example = torch.zeros(1, *load_spec(run.path).interface.shape, device=device)
    result = {
        **measured.to_data(),
        "parameters": count_parameters(network),
        "flops": count_flops(network, (example,)),
        "class_names": list(data.rest.class_names),
    }
    measured.write_confusion(run.path / "evaluation" / "confusion.csv", data.rest.class_names)
    run.save_json("evaluation/evaluation", result)
    return result


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
