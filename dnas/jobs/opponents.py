"""Opponents of a job's search: each finds an architecture with the compute that the search took."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.finalists.contest import FOLDER, Contest
from dnas.finalists.opponents.compute import Compute
from dnas.finalists.opponents.opponent import Opponent
from dnas.jobs.budget import bounds_of_job
from dnas.jobs.compute import FILE, compute_to_spend, spent_in
from dnas.jobs.finalists import conditions_of, proposals_of
from dnas.jobs.images import JobData
from dnas.jobs.job import Job
from dnas.system.compute import compute_clock
from dnas.system.devices import named_device
from dnas.system.display import Display
from dnas.system.interrupt import stop_request
from dnas.system.threads import num_threads
from dnas.system.words import number_of

OPPONENTS = "opponents"  # in the folder of a search
SPENT = "spent.txt"  # beside the networks of an opponent: what it was told of its compute


def opponents_of(
    run: Run, job: Job, data: JobData, opponents: Mapping[str, Opponent], display: Display
) -> dict[str, Architecture]:
    """What opponents find with the compute of a run's search, by name, each in RUN/opponents/NAME.

    Those that are finished are read.

    Raises:
        UserError, Interrupted: as `opponent_command`.
    """
    found = {}
    for name, opponent in opponents.items():
        folder = run.child(OPPONENTS).child(name)
        if not folder.architecture_path.exists():
            opponent_command(folder, job, data, opponent, display, name=name, of=run)
        found[name] = folder.load_architecture()
    return found


def opponent_seconds(run: Run, names: Iterable[str]) -> dict[str, float]:
    """How long opponents of a run's search that are finished took, by name."""
    return {name: float(run.child(OPPONENTS).child(name).load_json("search")["seconds"]) for name in names}


def compute_beside(run: Run, names: Collection[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of compute that a run's search and its opponents spent, and FLOPs of the opponents' trainings, by name.

    Args:
        run: the run.
        names: of opponents that are finished; without any both are empty.
    """
    if not names:
        return {}, {}
    folders = {"the search": run} | {name: run.child(OPPONENTS).child(name) for name in names}
    spent = {name: spent_in(folder) for name, folder in folders.items()}
    seconds = {name: found.seconds for name, found in spent.items() if found is not None}
    return seconds, {name: found.flops for name, found in spent.items() if found is not None and found.flops}


def opponent_command(
    run: Run, job: Job, data: JobData, opponent: Opponent, display: Display, *, name: str, of: Run
) -> Architecture:
    """Let an opponent find an architecture in a folder of its own, as a search would leave it.

    Its networks are those of finalists: of the search's sizes, trained on the weights' half and judged on the alphas'
    half. The test part is not touched. A call that was stopped goes on when it is repeated; what was trained counts.

    Args:
        run: the folder.
        job: the job with all sizes.
        data: its images.
        opponent: which one.
        display: shows progress and messages.
        name: what messages call it.
        of: run of the search whose compute it may spend; a training that has begun is finished.

    Raises:
        UserError: nothing was found, nobody counted the compute of the search, or the folder holds other trainings.
        Interrupted: Ctrl-C.
    """
    seconds = compute_to_spend(of, named_device(job.device))
    started, clock = time.perf_counter(), compute_clock(named_device(job.device))
    job = replace(job, finalists=opponent.training(job.finalists))
    bounds = bounds_of_job(job, of, data.kind)
    with num_threads(job.threads), stop_request() as request:
        conditions = conditions_of(of, job, data, display)
        contest = Contest(conditions, run.child(FOLDER), display, request)
        compute = Compute(seconds, contest, clock, contest.run.path / SPENT)
        proposals = proposals_of(of, job, data, conditions, None, bounds)
        architecture = opponent.find(contest, proposals, compute)
    spent = compute.spent
    read = contest.compute - contest.compute_now  # of an earlier call
    flops = contest.training_flops
    run.save_json(FILE, {"seconds": spent, "flops": flops, "is_whole": True, "is_open": False, "limit": seconds})
    run.save_json("search", {"seconds": read + time.perf_counter() - started, "trainings": len(contest.finalists)})
    run.save_architecture(architecture)
    display.say(
        f"{name}: {number_of(len(contest.finalists), 'network')} trained in {spent:.1f} s of compute, of "
        f"{seconds:.1f} s "
        f"({flops:.2g} FLOPs of training)."
    )
    return architecture
