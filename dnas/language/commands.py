"""The steps of `dnas language`: search for a cell, train it and other cells in the same way, compare them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace

from dnas.core.architecture import Architecture
from dnas.core.last_checkpoint import CHECKPOINT
from dnas.core.run import Run
from dnas.cost import count_parameters
from dnas.data.text import Corpus, load_text
from dnas.formats import architecture_text
from dnas.jobs.run_folder import check_new
from dnas.language.evaluation import perplexity, whole_text
from dnas.language.job import LanguageJob, fitted, remember_text, seeded_job
from dnas.language.search import search_language
from dnas.language.settings import LanguageTraining
from dnas.language.table import FOUND, CellComparison, CellRow
from dnas.language.training import train_language
from dnas.report.live import ShowArchitecture
from dnas.space.recurrent import RecurrentSpace
from dnas.system.atomic import write_text
from dnas.system.devices import named_device
from dnas.system.difference import first_difference
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.system.plain_data import to_plain
from dnas.system.random_state import seeded
from dnas.system.threads import num_threads, threads_that_help
from dnas.system.words import readable_time
from dnas.training.baseline import draw_random

CELLS = "cells"  # the folder inside a run that holds the trained cells
RESULT = "result"  # name of the JSON file of a cell whose training has finished
COMPARISON = "comparison"  # name of the files that hold the table
ENTRY = "language"  # name of its entry in config.yaml


def plan_language(run: Run, job: LanguageJob, corpus: Corpus, display: Display) -> LanguageJob:
    """The job in sizes that the text is long enough for; says which sizes were lowered.

    Raises:
        UserError: the folder cannot take a run, the device is not there, or the text is too short.
    """
    check_new(run, "language")
    to_plain(job)  # raises for parts that config.yaml cannot hold
    device = named_device(job.device)
    token = {"char": "characters", "word": "words"}[job.level]
    display.say(
        f"Text: {job.text}, {len(corpus.train):,} {token} to train on, {len(corpus.valid):,} to validate, "
        f"{len(corpus.test):,} to test; {len(corpus.vocabulary):,} different ones."
    )
    job, notes = fitted(job, corpus)
    for note in notes:
        display.say(f"Note: {note}")
    if job.threads is None and device.type == "cpu":
        job = replace(job, threads=threads_that_help())
    search, train = job.search, job.train
    display.say(
        f"Search: hidden {search.hidden}, epochs {search.search.epochs}. Then {1 + len(job.beside) + job.num} "
        f"trainings: hidden {train.hidden}, epochs {train.epochs} each."
    )
    return job


def begin_language(run: Run, job: LanguageJob, corpus: Corpus) -> None:
    """Write the resolved settings of a new run, and a description of its text."""
    check_new(run, "language")
    with num_threads(job.threads):
        run.write_config({ENTRY: job.to_data()})
    remember_text(run, corpus)


def read_text(job: LanguageJob) -> Corpus:
    """The job's text.

    Raises:
        FileNotFoundError, UserError: as in `dnas.data.load_text`; or the text holds zero bytes.
    """
    corpus = load_text(job.text, level=job.level, min_count=job.min_count)
    if any("\0" in token for token in corpus.vocabulary.tokens):
        raise UserError(f"{job.text} is not a text: it holds zero bytes, as binary files do.")
    return corpus


def language_command(
    run: Run, job: LanguageJob, corpus: Corpus, beside: Mapping[str, Architecture], display: Display
) -> str:
    """Search, train the found cell and others in the same way, and compare them; finished parts are not repeated.

    Args:
        run: the run; it has already begun.
        job: the job of the run.
        corpus: its text.
        beside: other cells to train, by name, in addition to the found and the random ones.
        display: where progress is shown.

    Raises:
        UserError: the text has changed, or results in the folder belong to other settings.
        NonFiniteLoss: a search or training diverged.
        Interrupted: Ctrl-C; calling it again continues.
    """
    remember_text(run, corpus)
    job = seeded_job(job)
    for architecture in beside.values():
        job.space.check(architecture)
    with num_threads(job.threads):
        found = search_language(
            corpus,
            space=job.space,
            settings=job.search,
            run=run,
            observers=(ShowArchitecture(display, run, job.search.search.epochs),),
            display=display,
            device=named_device(job.device),
        )
        display.say(f"Found after {readable_time(found.seconds)}:\n{architecture_text(found.architecture)}")
        write_text(run.path / "genotype.txt", architecture_text(found.architecture) + "\n")
        row = trained_row(run, FOUND, found.architecture, job, corpus, display)
        others = [trained_row(run, name, cell, job, corpus, display) for name, cell in beside.items()]
        random = [
            trained_row(run, f"random {index}", draw_random(job.space, job.seed, index), job, corpus, display)
            for index in range(job.num)
        ]
    comparison = CellComparison(row, tuple(others), tuple(random), found.seconds, corpus.level)
    run.save_json(COMPARISON, comparison.to_data())
    write_text(run.path / f"{COMPARISON}.txt", comparison.to_text() + "\n")
    return comparison.to_text()


def trained_row(
    run: Run, name: str, architecture: Architecture, job: LanguageJob, corpus: Corpus, display: Display
) -> CellRow:
    """Train one cell in RUN/cells/NAME and measure it; the result of a finished one is only read.

    Args:
        run: the run of the search.
        name: name of the row; the folder's name has '-' in place of blanks.
        architecture: the cell.
        job: the job, with its seed in the settings (`seeded_job`).
        corpus: the text of the job.
        display: where progress is shown, under the row's name.

    Raises:
        UserError: the folder belongs to another cell or to other settings.
        NonFiniteLoss, Interrupted: as in `dnas.language.train_language`.
    """
    folder = run.child(CELLS).child(name.replace(" ", "-"))
    settings = job.train
    if folder.architecture_path.exists() and folder.load_architecture() != architecture:
        raise UserError(
            f"{folder.path} is of another cell than the {name} that is asked for: move that folder away, or begin a "
            "new run."
        )
    if (folder.path / f"{RESULT}.json").exists():
        return _finished(folder, settings)
    folder.save_architecture(architecture)
    with seeded(settings.seed):
        network = RecurrentSpace().network(
            architecture, vocabulary=len(corpus.vocabulary), hidden=settings.hidden, dropout=settings.dropout
        )
    device = named_device(job.device)
    trained = train_language(network.to(device), corpus, settings=settings, run=folder, display=display, phase=name)
    test = whole_text(corpus.test, batch_size=settings.test_batch_size, bptt=settings.bptt, device=device)
    row = CellRow(
        name,
        architecture,
        count_parameters(network),
        min(trained.validation),
        perplexity(trained.network, test),
        trained.seconds,
    )
    # The row is written last: once it exists, the training counts as finished.
    folder.save_json(RESULT, {**row.to_data(), "settings": to_plain(settings)})
    shutil.rmtree(folder.checkpoint_path(CHECKPOINT).parent)
    display.say(f"{name}: perplexity {row.validation:.3f} in validation, {row.test:.3f} in the test.")
    return row


def _finished(folder: Run, settings: LanguageTraining) -> CellRow:
    """The row of an earlier call, if it was made under the same settings."""
    source, data = folder.path / f"{RESULT}.json", folder.load_json(RESULT)
    row = CellRow.from_data(data, source=str(source))
    difference = first_difference(data.get("settings") or {}, settings)
    if difference:
        raise UserError(
            f"{source} was made with other settings: {difference}. Cells that are compared must be trained alike; "
            "begin a new run, or move that folder away."
        )
    return row
