"""`dnas search`: a supernet is searched in a run folder, and the sizes that nobody gave are planned before."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from dnas.core.run import Run
from dnas.cost.bounds import Bounds
from dnas.data import Catalog
from dnas.distributed.ray_tasks import RayTasks
from dnas.formats import architecture_text
from dnas.jobs.budget import (
    bounds_of_job,
    delivered_network,
    draws_of,
    keep_budget,
    random_architectures,
    say_range,
)
from dnas.jobs.compute import counted
from dnas.jobs.finalist_workers import FinalistsOnWorkers
from dnas.jobs.finalists import choose_finalist, searched_model
from dnas.jobs.images import JobData, remember_parts, search_streams, show_reading
from dnas.jobs.job import Job, job_of_stage, seeded_search
from dnas.jobs.job_data import open_data, with_task_of
from dnas.jobs.kernels import kernels_text
from dnas.jobs.milliseconds import FILE, is_limited, take_table
from dnas.jobs.networks import build_supernet_model
from dnas.jobs.own_model import searchable_model
from dnas.jobs.planning.few_steps import plan_by_steps
from dnas.jobs.planning.ladder import images_to_search_with, leaves_a_choice
from dnas.jobs.planning.rate import said_of_rate, with_fitted_rate
from dnas.jobs.planning.retrain_plan import plan_retraining_of
from dnas.jobs.planning.search_plan import plan
from dnas.jobs.planning.time_budget import OUTLOOK_PLANNING, TooShort, planning_seconds
from dnas.jobs.planning.tried import any_architecture, kind_tried
from dnas.jobs.repeat import circumstances
from dnas.jobs.run_folder import begin, check_new
from dnas.searching.observer import Observer
from dnas.searching.own_bounds import bounds_on
from dnas.searching.search import SearchResult, search, search_in_stages
from dnas.searching.stage import Stage
from dnas.searching.start import keep_start
from dnas.searching.supernet import Supernet
from dnas.system.devices import named_device
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.system.plain_data import to_plain
from dnas.system.random_state import seeded
from dnas.system.threads import num_threads
from dnas.task.classification import Classification


def plan_search(run: Run, job: Job, display: Display, *, fits_rate: bool = True, fits_method: bool = False) -> Job:
    """The job with all sizes; it also tells the user what was chosen and how long search and retraining will take.

    Args:
        run: the folder.
        job: the job as it was given.
        display: where messages are shown.
        fits_rate: whether the alphas' learning rate may be raised where sizes are chosen by time.
        fits_method: whether finalists may take the place of a supernet that would take few steps.

    Raises:
        UserError: the folder cannot take a run, or the job does not fit the time or the memory.
    """
    check_new(run)
    to_plain(job)  # refuses parts that no config.yaml can hold
    device = named_device(job.device)
    catalog = open_data(job)
    job = with_task_of(job, catalog)
    task = "" if catalog.fixed is None else f" Task: {type(job.task).__name__}."
    display.say(f"Data: {catalog}.{task} Measuring this machine ...")
    if job.model is not None:  # before anything that takes long
        searchable_model(job, catalog.kind(job.image_size))
    if fits_method and leaves_a_choice(job):
        chosen, why = plan_by_steps(job, catalog, lambda job: plan(job, catalog, device))
        if why is not None:
            display.say(why)
    else:
        chosen = plan(job, catalog, device)
    display.say(str(chosen))
    if fits_rate and leaves_a_choice(job):
        fitted = with_fitted_rate(chosen.job, catalog)
        if fitted != chosen.job:
            display.say(said_of_rate(chosen.job, fitted, catalog))
        chosen = replace(chosen, job=fitted)
    if job.batch_size is not None and chosen.job.batch_size != job.batch_size:
        display.say(
            f"Note: batch_size {job.batch_size} is more than the samples in each half of the data, and lowered."
        )
    with num_threads(chosen.job.threads):
        display.say(_retraining_outlook(chosen.job, catalog, device))
    return chosen.job


def begin_search(run: Run, job: Job, display: Display, milliseconds: Path | None = None) -> JobData:
    """Read the images of a job that has all sizes, and begin a run of it.

    What cannot be read, or no network can meet, is told before the folder becomes a run, so that the same command can
    be given again with another option.

    Args:
        run: the folder.
        job: the job.
        display: where messages are shown.
        milliseconds: table for a limit in milliseconds; None to measure here.

    Raises:
        UserError: no network meets the budget, the images cannot be read, or the table has no use or does not fit.
    """
    if milliseconds is not None and not is_limited(job):
        raise UserError(
            f"--milliseconds {milliseconds} has no effect without a budget in milliseconds: give --budget "
            '"milliseconds<=8" too, or leave it out.'
        )
    budget, rule = job.search.budget, job.search.discretization
    data = show_reading(job, display)
    if budget is not None:
        delivered = delivered_network(job, data.kind)
        table = take_table(job, delivered, milliseconds, draws_of(job, delivered), display) if is_limited(job) else None
        say_range(job, bounds_on(delivered, budget, rule, None if table is None else table.cost), display)
        if table is not None:
            table.save(run.path / FILE)
    begin(run, job)
    remember_parts(run, data)
    return data


def repeat_search(run: Run, job: Job, before: Run, display: Display) -> JobData:
    """Begin a run with the settings of an earlier one, and tell what is other in versions, machine and data.

    Args:
        run: the new folder.
        job: the job of the earlier run.
        before: the earlier run.
        display: where messages are shown.

    Raises:
        UserError: as `begin_search`.
    """
    table = before.path / FILE
    data = begin_search(run, job, display, table if is_limited(job) and table.exists() else None)
    others = circumstances(before, run)
    display.say(
        f"Other than in {before.path}: {'; '.join(others)}."
        if others
        else f"Versions, machine, threads and data are those of {before.path}."
    )
    return data


def _retraining_outlook(job: Job, catalog: Catalog, device: torch.device) -> str:
    """A sentence on how long `dnas retrain` will take, measured with a random architecture."""
    kind = kind_tried(job, catalog.kind(job.image_size))
    architecture = any_architecture(job, kind, seed=job.seed)
    try:
        outlook = plan_retraining_of(
            job,
            architecture,
            time=job.time,
            kind=kind,
            num_rest=images_to_search_with(job, catalog),
            device=device,
            planning=OUTLOOK_PLANNING * planning_seconds(job.time),
        )
    except TooShort as error:
        return f"Then `dnas retrain --time {error.enough}`: it needs more time than this search."
    except UserError:  # `dnas retrain` says it again, when it is its turn
        smaller = (
            "--channels or --cells than its defaults, which do" if job.model is None else "--batch_size, which does"
        )
        return f"Then `dnas retrain`, with smaller {smaller} not fit the memory."
    return f"Then `dnas retrain`: {outlook}."


def search_command(
    run: Run,
    job: Job,
    data: JobData,
    display: Display,
    observers: Sequence[Observer] = (),
    *,
    planning: float = 0.0,
    workers: RayTasks | None = None,
) -> SearchResult:
    """Run the search of a job in its folder, and its finalists, or go on with one that was stopped.

    Args:
        run: the folder, which holds the settings.
        job: the job with all sizes.
        data: images of the job.
        display: shows progress and messages.
        observers: observers in addition to those of the settings.
        planning: seconds of compute that were spent on planning, which count as the search's.
        workers: who trains the finalists of a rung at the same time; None where this process trains them.

    Raises:
        UserError, NonFiniteLoss, Interrupted: as `dnas.search`.
    """
    with counted(run, named_device(job.device), before=planning):
        bounds = bounds_of_job(job, run, data.kind)
        if job.finalists.alone:
            before = result = _without_supernet(run, job, data)
        else:
            searched = _search_space if job.model is None else _search_own
            before = result = searched(run, job, data, display, observers, bounds)
            display.say(f"Found after {result.seconds:.0f} s:\n{architecture_text(result.architecture)}")
        if result.decidedness is not None:
            display.say(str(result.decidedness))
        if job.finalists.num:
            with nullcontext() if workers is None else workers.connected():
                ahead = workers and FinalistsOnWorkers(run, job, workers, display, searched_model(job, result))
                result = choose_finalist(run, job, data, result, bounds, display, ahead)
    if result.architecture != before.architecture:
        display.say(f"The best finalist:\n{architecture_text(result.architecture)}")
    _say_budget(run, job, data, bounds, result, display)
    return result


def _search_space(
    run: Run, job: Job, data: JobData, display: Display, observers: Sequence[Observer], bounds: Bounds | None
) -> SearchResult:
    """The search in a space."""
    device = named_device(job.device)
    train, val, validation = search_streams(job, data, device)
    if job.fused:
        display.say("Cells in their fused form: they keep only their states, and compute the rest again.")

    def build(stage: Stage) -> nn.Module:
        own = job_of_stage(job, stage) if job.search.stages else job
        model = build_supernet_model(own, data.kind)
        if not job.fused and (text := kernels_text(model, job, device)):
            display.say(text)
        return model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    with num_threads(job.threads):
        return search_in_stages(
            build,
            train,
            val,
            task=job.task,
            settings=seeded_search(job),
            validation=validation,
            stamp=job.space.architecture,
            run=run,
            observers=observers,
            display=display,
            bounds=bounds,
            is_final=not job.finalists.num,
        )


def _without_supernet(run: Run, job: Job, data: JobData) -> SearchResult:
    """What a search that trains no supernet leaves before its finalists: any architecture, and its decisions."""
    with seeded(job.seed):
        if job.model is None:
            model = build_supernet_model(job, data.kind)
        else:
            model = searchable_model(job, data.kind)
            keep_start(model, run)
    run.save_json("search", {"seconds": 0.0, "steps": 0, "epochs": 0})
    any_one = random_architectures(job, run, data.kind)(0)
    return SearchResult(any_one, Supernet(model, task=job.task, seed=job.seed), [], 0.0)


def _say_budget(
    run: Run, job: Job, data: JobData, bounds: Bounds | None, result: SearchResult, display: Display
) -> None:
    """Keep and tell what the found network costs, if there is a budget."""
    if bounds is not None:
        delivered = delivered_network(job, data.kind)
        display.say(f"The network has {keep_budget(run, job, bounds, result.architecture.decisions, delivered)}.")


def _search_own(
    run: Run, job: Job, data: JobData, display: Display, observers: Sequence[Observer], bounds: Bounds | None
) -> SearchResult:
    """The search in a user's own module."""
    device = named_device(job.device)
    train, val, validation = search_streams(job, data, device)
    with seeded(job.seed):
        model = searchable_model(job, data.kind).to(device)
    if text := kernels_text(model, job, device):
        display.say(text)
    with num_threads(job.threads):
        return search(
            model,
            train,
            val,
            task=job.task or Classification(),
            settings=seeded_search(job),
            validation=validation,
            run=run,
            observers=observers,
            display=display,
            bounds=bounds,
            is_final=not job.finalists.num,
        )
