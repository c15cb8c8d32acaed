"""`dnas search`: from a folder of images to an architecture, and with --baseline random to a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.budget import FINALISTS_WORDS, says_of_finalists, with_budget, with_finalists
from dnas.cli.own_model import check_own_sizes
from dnas.cli.parser import Command
from dnas.cli.ranks import folder_to_go_on_with, shown
from dnas.cli.recipes import (
    add_image_recipe,
    fitted,
    job_settings,
    notes_on_space,
    with_default,
    with_files,
    with_warmup_in_proportion,
)
from dnas.cli.run_settings import job_of, say_next, trust_words, with_retraining
from dnas.cli.shared import add_trust, check_resume, goes_on_with, part_of
from dnas.cli.table import table_for
from dnas.cli.workers import check_workers, workers_of, workers_words
from dnas.core.architecture import Architecture
from dnas.core.decision import Decision
from dnas.core.run import RETRAIN, Run, run_of_rank, writing
from dnas.distributed.ranks import ranks
from dnas.distributed.ray_tasks import RayTasks
from dnas.finalists.of_search import searched_architecture
from dnas.jobs.images import JobData, read_data
from dnas.jobs.job import Job
from dnas.jobs.judge import baseline_command, check_baseline
from dnas.jobs.recipe import recipe_path
from dnas.jobs.repeat import outcome
from dnas.jobs.report import report_at_end
from dnas.jobs.retrain import plan_retrain, retrain_command
from dnas.jobs.run_folder import check_new, new_run_folder
from dnas.jobs.search import begin_search, plan_search, repeat_search, search_command
from dnas.jobs.workers import train_random_on_workers
from dnas.report.live import ShowArchitecture
from dnas.searching.decidedness import AGREEING, agreement
from dnas.system.compute import compute_clock
from dnas.system.devices import named_device
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.table import RankAgreement, Table, standing, standing_data


@dataclass(frozen=True)
class SearchOptions:
    """Options of `dnas search` besides the settings of the search.

    Args:
        budget: what the retrained network may cost, such as 'flops<=50%', 'parameters<=300k' or 'multiadds<=600M';
            several are separated by commas. A percentage is of the costliest network of the space.
        milliseconds: table that `dnas measure` made, for a budget in milliseconds; by default this machine is
            measured before the search.
        run: folder for the results; by default runs/DATA-DATE-TIME.
        resume: folder of a search to go on with; all settings are read from it.
        other_seed: folder of a finished search of the same space, such as one with another seed; how many of its
            choices are the same says how decided both are.
        repeat: folder of a search to carry out again in a new folder, with all its settings; what is other in versions,
            machine and data is told, and whether the result is the same.
        baseline: 'random' retrains the found architecture and random ones after the search, and compares them.
        num_random: number of random architectures for the baseline; by default 8.
        table: file of a benchmark's table, in which the architecture that is found is looked up (see `dnas table`).
        agreement: with a table, number of random architectures on which the supernet's ranking is compared with it,
            after the last epoch; 50 of them take about as long as five epochs.
        agreement_every: epochs between two such comparisons; there is always one after the last epoch.
        ray: 'local' trains finalists, and the networks of the baseline, at the same time on the cores of this machine,
            'auto' or HOST:PORT on a Ray cluster whose machines all see the folder (docs/clusters.md).
        gpus_per_row: with --ray, GPUs of each network, which may be a part of one, such as 0.25.
    """

    budget: str | None = None
    milliseconds: Path | None = None
    run: Path | None = None
    resume: Path | None = None
    other_seed: Path | None = None
    repeat: Path | None = None
    baseline: Literal["none", "random"] = "none"
    num_random: int | None = None
    table: Path | None = None
    agreement: int | None = None
    agreement_every: int | None = None
    ray: str | None = None
    gpus_per_row: float | None = None

    def __post_init__(self) -> None:
        check_workers(self.ray, self.gpus_per_row)
        if self.agreement is not None and self.table is None:
            raise UserError("--agreement has no effect without --table; add that, or leave it out.")
        if self.agreement_every is not None and self.agreement is None:
            raise UserError("--agreement_every has no effect without --agreement; add that, or leave it out.")
        if self.num_random is not None and self.baseline == "none":
            raise UserError("--num_random has no effect without --baseline random; add that, or leave it out.")
        if self.num_random is not None and self.num_random < 1:
            raise UserError(f"num_random must be at least 1; got {self.num_random}.")

    @property
    def baseline_words(self) -> tuple[str, ...]:
        """The options that ask for the baseline again."""
        return () if self.baseline == "none" else ("--baseline", "random", "--num_random", str(self.num_random or 8))


def _fill(parser: ArgumentParser) -> None:
    add_image_recipe(parser)
    add_trust(parser)
    parser.add_class_arguments(SearchOptions, None, sub_configs=False)
    parser.add_class_arguments(Job, None, sub_configs=False)


def _understood(given: Arguments) -> Arguments:
    given = with_files(with_default(given, "default"), {**job_settings(SearchOptions), "trust": bool})
    check_own_sizes(given)
    fine = {"--baseline", "--num_random", "--table", "--agreement", "--agreement_every", "--ray", "--gpus_per_row"}
    check_resume(given, fine)
    check_resume(given, {"--run"}, "--repeat")
    return with_warmup_in_proportion(given)


def _run(config: Namespace, given: Arguments) -> None:
    options = part_of(config, SearchOptions)
    resume = folder_to_go_on_with(options.run, options.resume)
    is_restarted, options = resume != options.resume, replace(options, resume=resume)
    folder = resume or options.run or ranks().from_first(lambda: new_run_folder(config.data))
    with shown() as display, run_of_rank(Run(folder)) as run:
        if ranks().size > 1:
            check_for_ranks(options)
        job = _asked(run, config, options, given, display, is_restarted=is_restarted)
        with writing(run, display.say):
            _searched(run, job, config, options, given, display)


def check_for_ranks(options: SearchOptions) -> None:
    """See that nothing is asked for that works in one process.

    Raises:
        UserError: something is; with what to do instead.
    """
    if options.baseline == "random":
        raise UserError(
            "--baseline random works in one process: search without it, then `dnas retrain RUN` with torchrun or srun, "
            "and `dnas baseline RUN` without (--ray trains its networks at the same time)."
        )
    if options.ray is not None:
        raise UserError("--ray has workers of its own: leave it out, or start without torchrun or srun.")
    if options.milliseconds is None and "milliseconds" in (options.budget or ""):
        raise UserError(
            "A budget in milliseconds is measured by one process: make a table with `dnas measure --output TABLE` and "
            "give --milliseconds TABLE, or start without torchrun or srun."
        )


def _searched(
    run: Run, job: Job, config: Namespace, options: SearchOptions, given: Arguments, display: Display
) -> None:
    """Search in the run, from its beginning or from where it was stopped."""
    data: JobData | None = None
    if options.baseline == "random":
        check_baseline(job)
    if options.other_seed is not None:
        Run.open(options.other_seed).load_architecture()  # before anything that takes long
    table = table_for(options.table, job.space.name)
    watching = _agreement(table, options)
    workers = _workers(job, options)
    clock = compute_clock(named_device(job.device))
    started = clock()
    if options.repeat is not None:
        data = repeat_search(run, job, Run(options.repeat), display)
    elif options.resume is None:
        asked, fits_rate = job, "--search.alphas.lr" not in given.names
        fits_method = _says_nothing_of_the_method(config, job, options, given)
        job = ranks().from_first(lambda: plan_search(run, asked, display, fits_rate=fits_rate, fits_method=fits_method))
        data = begin_search(run, job, display, options.milliseconds)
    words = (*options.baseline_words, *workers_words(config), *trust_words(job))
    with goes_on_with("search", "--resume", run.path, *words):
        data = read_data(run, job, display) if data is None else data
        live = [*watching, ShowArchitecture(display, run, job.search.epochs)]
        found = search_command(run, job, data, display, live, planning=clock() - started, workers=workers)
        if options.other_seed is not None:
            display.say(_agreement_with(Run.open(options.other_seed), run, found.supernet.decisions))
        if table is not None:
            display.say(_kept_standing(run, table, found.architecture))
        if watching:
            display.say(agreement_text(found.metrics, watching[0].num))
        if options.baseline == "random":
            # Parts that were named on the command line just now are trusted in the run's folder too.
            job = with_retraining(run, job, trust=config.trust or options.resume is None)
            display.say(_compared_with_random(run, job, data, options.num_random or 8, display, workers))
    if options.repeat is not None:
        display.say(outcome(Run(options.repeat), run))
    report_at_end(run, job.search, display)
    display.say(f"Everything is in {run.path}.")
    say_next(display, run, job, *(("retrain",) if options.baseline == "none" else ("evaluate", "export")))


def _says_nothing_of_the_method(config: Namespace, job: Job, options: SearchOptions, given: Arguments) -> bool:
    """Whether a search of few steps may do without a supernet: nobody asked for what only a supernet has."""
    is_said = "--search" in given.names or any(name.startswith(("--search.", "--space.")) for name in given.names)
    is_default = [Path(recipe) for recipe in config.recipe] == [recipe_path("default")]
    needs_supernet = job.fused or (options.budget, options.other_seed, options.table) != (None, None, None)
    return is_default and not (is_said or says_of_finalists(job, given) or needs_supernet) and ranks().size == 1


def _asked(
    run: Run, config: Namespace, options: SearchOptions, given: Arguments, display: Display, *, is_restarted: bool
) -> Job:
    """The job of the run to search in, new or begun; a restart by torchrun names again what it trusts."""
    trust = config.trust or is_restarted
    if options.repeat is not None:
        job = job_of(Run.open(options.repeat), trust=trust)
        check_new(run)
        return job
    if options.resume is None:
        asked = with_budget(part_of(config, Job), options.budget)
        job = with_finalists(asked, given)
        if job != asked:
            display.say(FINALISTS_WORDS)
        for note in notes_on_space(config, job):
            display.say(note)
        job = fitted(job, given)
        check_new(run)
        return job
    if config.recipe and not is_restarted:
        raise UserError("A recipe cannot set 'resume'; give --resume RUN alone on the command line.")
    return job_of(Run.open(run.path), trust=trust)


def _workers(job: Job, options: SearchOptions) -> RayTasks | None:
    """Who trains finalists and random networks; None for this process."""
    if options.ray is not None and not job.finalists.num and options.baseline == "none":
        raise UserError("--ray has no effect without --finalists or --baseline random; add one, or leave it out.")
    workers = workers_of(options.ray, options.gpus_per_row, [job])
    if workers is not None:
        workers.check()  # they are needed after the search
    return workers


def _compared_with_random(
    run: Run, job: Job, data: JobData, num: int, display: Display, workers: RayTasks | None
) -> str:
    """Retrain what was found, and random architectures alike; their table."""
    if not run.child(RETRAIN).config_path.exists():
        job = plan_retrain(run, job, data, time=job.time, threads=None, display=display)
    retrain_command(run, job, data, display)
    if workers is not None:
        train_random_on_workers(run, job, data.kind, num, workers, display)
    return baseline_command(run, job, data, num, display)


def _agreement_with(other: Run, run: Run, decisions: Mapping[str, Decision]) -> str:
    """How many choices another search has made in the same way, before any finalists, and what that says."""
    found, before = searched_architecture(run), searched_architecture(other)
    if before.space != found.space or set(before.decisions) != set(found.decisions):
        raise UserError(f"--other_seed: {other.path} has searched another space, so the two cannot be compared.")
    share = agreement(found.decisions, before.decisions, decisions)
    verdict = (
        "the data decide"
        if share >= AGREEING
        else "the seed decides more than the data: take the better of the two by held-out images, or search longer"
    )
    return f"{share:.0%} of the choices are those of {other.path}: {verdict}."


def _kept_standing(run: Run, table: Table, architecture: Architecture) -> str:
    """Where what was found stands, which is kept in the run; or that it stands nowhere."""
    try:
        run.save_json("standing", standing_data(table, architecture))
    except ValueError as error:  # a recipe that drops edges, by a threshold for instance
        return f"What was found is not in the table: {error}"
    return standing(table, architecture)


def _agreement(table: Table | None, options: SearchOptions) -> list[RankAgreement]:
    """The observers that compare the supernet's ranking with a table; none unless `--agreement` is given."""
    if table is None or options.agreement is None:
        return []
    column = "valid200_c10" if "valid200_c10" in table.columns else next(iter(table.columns))
    return [RankAgreement(table, column, options.agreement, every=options.agreement_every or 0)]


def agreement_text(metrics: Sequence[dict[str, float]], num: int) -> str:
    """What the comparisons of a search found."""
    found = [f"{row['kendall_tau']:.3f} after epoch {row['epoch']}" for row in metrics if "kendall_tau" in row]
    if not found:
        return (
            f"No Kendall's tau with the table: all of {num} random architectures have the same accuracy in the "
            "supernet, or the search ended before it was measured."
        )
    return f"Kendall's tau with the table over {num} random architectures: {', '.join(found)}"


COMMAND = Command(
    "search",
    _fill,
    _run,
    _understood,
    other_names={
        "--skip-unreadable": "--skip_unreadable",
        "--epochs": "--search.epochs",
        "--num": "--num_random",
        "--finalists": "--finalists.num",
        "--folder": "--run",  # torchrun takes --run for its own --run-path, also after -m dnas
    },
    sizes_to_lower="--batch_size, --image_size, --channels or --cells",
    takes_ranks=True,
)
