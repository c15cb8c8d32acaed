"""`dnas evaluate` and `dnas baseline`: how good the retrained network is, alone and beside random ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.derive import derive
from dnas.core.run import RETRAIN, Run
from dnas.cost import count_flops, count_parameters
from dnas.jobs.budget import random_architectures
from dnas.jobs.images import JobData, read_data, retrain_streams, test_batches
from dnas.jobs.job import Job, seeded_retrain
from dnas.jobs.mistakes import keep_mistakes
from dnas.jobs.networks import found_network, network_builder
from dnas.jobs.opponents import compute_beside, opponent_seconds
from dnas.jobs.own_model import model_to_load, own_fresh_model
from dnas.jobs.retrain import interface_of
from dnas.shipping.load import load, load_spec
from dnas.shipping.package import save_network
from dnas.shipping.spec import ModuleBuilder, NetworkSpec
from dnas.system.devices import named_device
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.system.threads import num_threads
from dnas.task.classification import Classification
from dnas.task.measurement import Measurement
from dnas.task.words import called, shown
from dnas.training.baseline import Training, train_beside, train_random_baseline
from dnas.training.baseline_report import write_comparison
from dnas.training.comparison import Comparison
from dnas.training.evaluate import evaluate
from dnas.training.own_baseline import search_seconds


def check_baseline(job: Job, num: int = 1) -> None:
    """Check that a baseline can be made; a command calls it before it does anything that takes long.

    Args:
        job: the job.
        num: number of random architectures.

    Raises:
        UserError: `num` is below 1, or no samples are held out from retraining, so that networks could not be chosen
            without looking at the test part.
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
    opponents: Collection[str] = (),
) -> str:
    """Train random architectures like the one that was found and compare them, in RUN/baseline.

    Args:
        run: run folder of the search and the retraining.
        job: the job with the settings under which the found network was retrained.
        data: images of the job.
        num: number of random architectures.
        display: shows progress and messages.
        beside: other architectures by name, which are trained in the same way and shown in the table.
        opponents: names of those of them that opponents of the search have found.

    Returns:
        The table and what it shows, as text.

    Raises:
        UserError: as `check_baseline`, or networks were trained under different settings.
    """
    check_baseline(job, num)
    run.load_architecture()
    seconds = search_seconds(run)
    training = comparable_training(run, job, data)
    with num_threads(job.threads):
        found = training.row("found", run.load_architecture(), run=run.child(RETRAIN), display=display)
        others = train_beside(beside or {}, replace(training, keep=_keeper(job, data)), run=run, display=display)
        draw = random_architectures(job, run, data.kind)
        kept = replace(training, keep=_keeper(job, data))
        random = train_random_baseline(draw, kept, run=run, num=num, display=display)
    took, (compute, flops) = opponent_seconds(run, opponents), compute_beside(run, opponents)
    comparison = Comparison(
        found, tuple(random), seconds, len(data.test), tuple(others), took, compute=compute, flops=flops
    )
    return write_comparison(run, comparison)


def _keeper(job: Job, data: JobData) -> Callable[[Run, nn.Module, Architecture], None]:
    """Writes a trained network into its folder, for `--network`."""
    builder = ModuleBuilder() if job.model is not None else network_builder(job, data.kind)

    def keep(run: Run, network: nn.Module, architecture: Architecture) -> None:
        save_network(run, network, NetworkSpec(architecture, builder, interface_of(data)))

    return keep


def comparable_training(run: Run, job: Job, data: JobData) -> Training:
    """How all networks of a comparison are trained and measured: as `dnas retrain` does it, then on the test part.

    Args:
        run: of the search, which keeps the weights that a user's own module came with.
        job: with the settings of the retraining.
        data: images of the job.
    """
    device = named_device(job.device)
    train, held_out = retrain_streams(job, data, device)
    assert held_out is not None
    if job.model is None:
        build = partial(found_network, job, data.kind)
    else:
        build = partial(derive, own_fresh_model(run, job, data.kind))
    return Training(
        build=lambda architecture: build(architecture).to(device),
        train=train,
        validation=held_out,
        test=test_batches(job, data, job.retrain.batch_size, device),
        settings=seeded_retrain(job),
        task=job.task,
    )


def evaluate_command(run: Run, job: Job, display: Display, network_path: Path | None = None) -> str:
    """Measure a trained network on the test part, in RUN/evaluation; returns the result as a sentence.

    Args:
        run: run of the search.
        job: its job.
        display: shows progress.
        network_path: folder of the network; None for the run's own.
    """
    path = network_path or run.path
    device = named_device(job.device)
    interface, task = load_spec(path).interface, job.task or Classification()
    model = model_to_load(job, interface.kind)
    network = load(path, model=model, device=device)
    data = read_data(run, job, display)
    batches = test_batches(job, data, job.retrain.batch_size, device)
    with num_threads(job.threads):
        measured = evaluate(network, batches, task=task, display=display)
    parameters = count_parameters(network)
    flops = count_flops(network, interface.kind.zeros(1).to(device))
    run.child("evaluation").save_json(
        "evaluation", {**measured.to_data(), "parameters": parameters, "forward_flops": flops}
    )
    confusion = ""
    if measured.confusion is not None:
        path = run.path / "evaluation" / "confusion.csv"
        measured.write_confusion(path, data.kind.names)
        if data.kind.inputs == "pixels" and data.normalization is not None:
            keep_mistakes(run, network, batches, data.kind.names, data.normalization)
        confusion = f" The confusion matrix is {path}."
    return (
        f"Test part, {measured.num_samples} {data.samples}: {_metrics(measured.measurement)}, "
        f"loss {measured.loss:.4f}; "
        f"{parameters:,} parameters, {flops / 1e6:.2f} MFLOP forward.{confusion}"
    )


def _metrics(measured: Measurement) -> str:
    """All metrics in words, the one that decides with its interval."""
    said = []
    for name, metric in measured.values.items():
        text = f"{called(name)} {shown(name, metric.value)}"
        if name == measured.deciding and metric.interval is not None:
            low, high = (shown(name, end) for end in metric.interval)
            text += f" (95% interval {low} to {high})"
        said.append(text)
    return ", ".join(said) or "no metric"
