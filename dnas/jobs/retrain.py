"""`dnas retrain`: the network that was found is trained from new weights, in sizes that fit a time limit."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from dnas.core.run import RETRAIN, Run
from dnas.cost import count_parameters
from dnas.data.batches import Batches
from dnas.jobs.budget import check_budget_of
from dnas.jobs.images import JobData, retrain_streams
from dnas.jobs.job import Job, seeded_retrain
from dnas.jobs.kernels import training_kernels_text
from dnas.jobs.networks import found_network, network_builder
from dnas.jobs.own_model import model_to_load, own_network
from dnas.jobs.planning.fit import NO_IMAGE, Sizes
from dnas.jobs.planning.retrain_plan import measure_of_retraining, plan_retraining_of
from dnas.jobs.planning.threads import choose_threads, on_threads
from dnas.jobs.planning.time_budget import THREADS_PLANNING, planning_seconds
from dnas.jobs.run_folder import begin
from dnas.jobs.teacher import teacher_network
from dnas.shipping.array_interface import ArrayInterface
from dnas.shipping.interface import Interface
from dnas.shipping.load import load
from dnas.shipping.package import save_network, try_to_save
from dnas.shipping.spec import AnyInterface, ModuleBuilder, NetworkSpec
from dnas.system.devices import named_device
from dnas.system.display import Display, Silent
from dnas.system.random_state import seeded
from dnas.system.threads import num_threads, threads_that_help
from dnas.task.classification import Classification
from dnas.task.words import called, shown
from dnas.training.evaluate import evaluate
from dnas.training.loop import SUMMARY
from dnas.training.retrain import retrain


def plan_retrain(
    run: Run,
    job: Job,
    data: JobData,
    *,
    time: str | None,
    threads: int | None,
    display: Display,
    teacher: str | None = None,
) -> Job:
    """The job with retraining settings that fit a time limit: channels, cells and epochs are lowered if necessary.

    It also tells the user what was chosen and how long retraining will take.

    Args:
        run: run folder of the search.
        job: job of the search, with the retraining settings that the user asks for.
        data: images of the job.
        time: how long retraining may take, such as 30min; None for no limit.
        threads: number of CPU threads; None for the fewest that are as fast as all.
        display: shows messages.
        teacher: of whom it learns, as for `teacher_network`, which takes time as well; None for none.

    Raises:
        UserError: not even the smallest network fits the time or the memory, there is no such teacher, or the network
            is over the budget that it was searched with.
    """
    rest, device, architecture = data.rest, named_device(job.device), run.load_architecture()
    planning = planning_seconds(time)
    taught_by = None if teacher is None else teacher_network(teacher, interface_of(data))
    with num_threads(threads or (threads_that_help() if device.type == "cpu" else None)):
        chosen = plan_retraining_of(
            job,
            architecture,
            time=time,
            kind=data.kind,
            num_rest=len(rest),
            device=device,
            planning=(1 - THREADS_PLANNING) * planning,
            teacher=taught_by,
        )
        job = replace(job, retrain=chosen.settings)
        check_budget_of(job, run, architecture, data.kind)
        if device.type == "cpu" and threads is None:
            size = data.kind.image_size or NO_IMAGE
            sizes = Sizes(size, chosen.settings.batch_size, chosen.settings.channels, chosen.settings.cells)
            measure = measure_of_retraining(job, architecture, data.kind, device, teacher=taught_by)
            threads = choose_threads(measure, sizes, chosen.step, patience=THREADS_PLANNING * planning)
    limit = "" if time else f" --time lowers {'these sizes' if job.model is None else 'the epochs'} to fit."
    display.say(f"Retraining: {chosen}{on_threads(threads)}.{limit}")
    return replace(job, threads=threads)


def retrain_command(run: Run, job: Job, data: JobData, display: Display, *, teacher: str | None = None) -> None:
    """Build the network of the architecture that was found and train it from new weights, in RUN/retrain.

    The network is measured on held-out images only; the test part is for `evaluate_command`.

    Args:
        run: folder of the search.
        job: of the search, with the retraining's settings.
        data: images of the job.
        display: where progress is shown.
        teacher: of whom the network learns, as for `teacher_network`; None for none.

    Raises:
        UserError, NonFiniteLoss, Interrupted: as `dnas.retrain`.
    """
    architecture = run.load_architecture()
    child = run.child(RETRAIN)
    device = named_device(job.device)
    if not child.config_path.exists():
        begin(child, job)
        child.save_architecture(architecture)
    settings = seeded_retrain(job)
    if job.model is None:
        builder = network_builder(job, data.kind)
        with seeded(settings.seed):
            network = found_network(job, data.kind, architecture).to(device)
        if text := training_kernels_text(network, job, device):
            display.say(text)
    else:
        builder = ModuleBuilder()
        network = own_network(run, job, data.kind).to(device)
    train, held_out = retrain_streams(job, data, device)
    if train.note:
        display.say(f"Note: {train.note}")
    finished_before = (child.path / f"{SUMMARY}.json").exists()
    spec = NetworkSpec(architecture, builder, interface_of(data))
    taught_by = None if teacher is None else teacher_network(teacher, spec.interface)
    try_to_save(child, network, spec)
    with num_threads(job.threads):
        retrain(
            network,
            train,
            task=job.task,
            settings=settings,
            run=child,
            display=display,
            validation=held_out,
            teacher=taught_by,
        )
    save_network(child, network, spec)
    before = "This retraining was finished before. " if finished_before else ""
    delivered = load(run.path, model=model_to_load(job, data.kind))
    display.say(
        f"{before}Retrained in {child.load_json(SUMMARY)['seconds']:.0f} s: {count_parameters(delivered):,} parameters"
        + ("." if held_out is None else f", {_on_held_out(network, job, held_out, data)}.")
    )


def _on_held_out(network: nn.Module, job: Job, held_out: Batches, data: JobData) -> str:
    """How good a network is on held-out samples, in words."""
    task = job.task or Classification()
    measured = evaluate(network, held_out, task=task, intervals=False, display=Silent()).measurement
    if isinstance(task, Classification) and measured.deciding == "top1":
        return f"{measured.score.value:.2%} right on held-out {data.samples}"
    return f"{called(measured.deciding)} {shown(measured.deciding, measured.score.value)} on held-out {data.samples}"


def interface_of(data: JobData) -> AnyInterface:
    """What a network for these samples takes as input and gives as output."""
    if data.rule is None:
        return ArrayInterface(data.kind, data.normalization)
    assert data.normalization is not None
    return Interface(data.kind.names, data.rule, data.normalization)
