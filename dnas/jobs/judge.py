"""`dnas evaluate` and `dnas baseline`: how good the retrained network is, alone and beside random ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dnas.core.architecture import Architecture
from dnas.core.run import RETRAIN, Run
from dnas.cost import count_flops, count_parameters
from dnas.jobs.budget import random_architectures
from dnas.jobs.images import JobData, read_data, retrain_streams, test_batches
from dnas.jobs.job import Job, seeded_retrain
from dnas.jobs.networks import network_builder
from dnas.shipping.load import load, load_spec
from dnas.system.devices import named_device
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.system.threads import num_threads
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
        UserError: `num` is below 1, or no images are held out from retraining, so that networks could not be chosen
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
) -> str:
    """Train random architectures like the one that was found and compare them, in RUN/baseline.

    Args:
        run: run folder of the search and the retraining.
        job: the job with the settings under which the found network was retrained.
        data: images of the job.
        num: number of random architectures.
        display: shows progress and messages.
        beside: other architectures by name, which are trained in the same way and shown in the table.

    Returns:
        The table and what it shows, as text.

    Raises:
        UserError: as `check_baseline`, or networks were trained under different settings.
    """
    check_baseline(job, num)
    run.load_architecture()
    seconds = search_seconds(run)
    training = comparable_training(job, data)
    with num_threads(job.threads):
        found = training.row("found", run.load_architecture(), run=run.child(RETRAIN), display=display)
        others = train_beside(beside or {}, training, run=run, display=display)
        random = train_random_baseline(
            random_architectures(job, data.rest.num_classes, data.rest.num_channels),
            training,
            run=run,
            num=num,
            display=display,
        )
    comparison = Comparison(found, tuple(random), seconds, len(data.test), tuple(others))
    return write_comparison(run, comparison)


def comparable_training(job: Job, data: JobData) -> Training:
    """How all networks of a comparison are trained and measured: as `dnas retrain` does it, then on the test part."""
    device = named_device(job.device)
    train, held_out = retrain_streams(job, data, device)
    assert held_out is not None
    builder = network_builder(job, data.rest.num_classes, data.rest.num_channels)
    return Training(
        build=lambda architecture: builder.network(architecture).to(device),
        train=train,
        validation=held_out,
        test=test_batches(job, data, job.retrain.batch_size, device),
        settings=seeded_retrain(job),
    )


def evaluate_command(run: Run, job: Job, display: Display) -> str:
    """Measure the retrained network on the test part, in RUN/evaluation; returns the result as a sentence."""
    device = named_device(job.device)
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
