"""The job that a user gives to `dnas language`, fitted to the length of the text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dnas.core.run import Run
from dnas.data.text import PARTS, Corpus, Level
from dnas.language.settings import LanguageSearch, LanguageTraining
from dnas.space.recurrent import RecurrentSpace
from dnas.system.errors import UserError
from dnas.system.plain_data import to_plain

TEXT = "text"  # name of the JSON file that identifies the text of a run
# Smallest number of batches in an epoch, so that its start can move and the alphas see more than one.
_BATCHES = 2


@dataclass(frozen=True)
class LanguageJob:
    """A search for a recurrent cell on a text, and the cells that are trained in the same way as the found one.

    Args:
        text: a text file, or a folder with one file each for train, valid and test, such as Penn Treebank's.
        level: whether a token is a character or a word.
        min_count: tokens that occur less often in the training part are '<unk>'.
        num: number of random cells of the same space that are trained like the found one; 0 for none.
        beside: other cells to train in the same way: names of published ones such as DARTS_RNN_V2, runs, or files that
            `dnas describe` reads.
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:1'.
        threads: number of CPU threads for PyTorch; None for all, or for one if that is faster.
        seed: a whole number that determines everything random; search.seed and train.seed are added to it.
        space: the space that is searched.
        search: method and sizes of the search.
        train: how cells are trained.
    """

    text: str
    level: Level = "char"
    min_count: int = 1
    num: int = 3
    beside: tuple[str, ...] = ()
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    space: RecurrentSpace = RecurrentSpace()
    search: LanguageSearch = LanguageSearch()
    train: LanguageTraining = LanguageTraining()

    def __post_init__(self) -> None:
        if self.num < 0:
            raise UserError(f"num, the number of random cells, must be 0 or more; got {self.num}.")
        if self.threads is not None and self.threads < 1:
            raise UserError(f"threads must be at least 1; got {self.threads}.")
        if self.search.search.budget is not None:
            raise UserError(
                "A budget has no effect on recurrent cells: all cells of as many nodes have the same parameters and "
                "FLOPs. Leave it out, or give fewer space.nodes."
            )
        if self.search.search.stages:
            raise UserError(
                "A recurrent cell is not searched in stages, which change images' networks: leave them out."
            )

    def to_data(self) -> dict[str, Any]:
        """Plain data in the form of a recipe: sizes and method of the search are at the top."""
        data = to_plain(self)
        return {**{name: value for name, value in data.items() if name not in ("search", "train")}, **data["search"],
                "train": data["train"]}  # fmt: skip


def seeded_job(job: LanguageJob) -> LanguageJob:
    """The job with its seed in the settings of search and training."""
    search = replace(job.search.search, seed=job.seed + job.search.search.seed)
    return replace(
        job,
        search=replace(job.search, search=search),
        train=replace(job.train, seed=job.seed + job.train.seed),
    )


def fitted(job: LanguageJob, corpus: Corpus) -> tuple[LanguageJob, list[str]]:
    """The job with as many rows of text side by side as the text is long enough for, and notes on what was lowered.

    Raises:
        UserError: the text is too short even for the fewest rows.
    """
    s, t = job.search, job.train
    # setting -> wanted rows, tokens of the text, steps of each row, and the fewest rows, since a supernet's states are
    # normalised over them
    asked = {
        "batch_size": (s.batch_size, min(len(corpus.train), len(corpus.valid)), (_BATCHES + 1) * s.bptt, 2),
        "validation_batch_size": (s.validation_batch_size, len(corpus.valid), s.bptt, 2),
        "train.batch_size": (t.batch_size, len(corpus.train), (_BATCHES + 1) * t.bptt, 1),
        "train.validation_batch_size": (t.validation_batch_size, len(corpus.valid), t.bptt, 1),
        "train.test_batch_size": (t.test_batch_size, len(corpus.test), t.bptt, 1),
    }
    rows, notes = {}, []
    for name, (wanted, tokens, steps, fewest) in asked.items():
        rows[name] = min(wanted, max(tokens // steps, 1))
        if rows[name] < fewest:
            part, _, _ = name.rpartition(".")
            raise UserError(
                f"{job.text} is too short: {name} would have to be {fewest} or more, each row of {steps} tokens, and "
                f"the part that it reads has {tokens}. Use a longer text, or lower --{part and part + '.'}bptt."
            )
        if rows[name] < wanted:
            notes.append(f"{name} {wanted} is more than the text is long enough for, and lowered to {rows[name]}.")
    search = replace(s, batch_size=rows["batch_size"], validation_batch_size=rows["validation_batch_size"])
    train = replace(
        t,
        batch_size=rows["train.batch_size"],
        validation_batch_size=rows["train.validation_batch_size"],
        test_batch_size=rows["train.test_batch_size"],
    )
    return replace(job, search=search, train=train), notes


def remember_text(run: Run, corpus: Corpus) -> None:
    """Write down the text of a run and its vocabulary; if they are already written, check that they are the same.

    Raises:
        UserError: the text has changed since the run began, or the file is damaged.
    """
    source = run.path / f"{TEXT}.json"
    data = text_data(corpus)
    if not source.exists():
        run.save_json(TEXT, data)
        return
    before = run.load_json(TEXT)
    if not isinstance(before, Mapping) or before.get("digest") != data["digest"]:
        raise UserError(
            f"{source} is of another text than there is now: it has changed since the run began. Bring the old one "
            "back, or begin a new run."
        )


def text_data(corpus: Corpus) -> dict[str, Any]:
    """The recorded properties of a text: its length, its different tokens, and a digest of all of it."""
    digest = hashlib.sha256(repr((corpus.level, corpus.vocabulary.tokens)).encode())
    for part in PARTS:
        digest.update(getattr(corpus, part).numpy().tobytes())
    return {
        "level": corpus.level,
        "tokens": {part: len(getattr(corpus, part)) for part in PARTS},
        "unknown": {part: corpus.unknown_share(part) for part in PARTS},
        "digest": digest.hexdigest(),
        "vocabulary": list(corpus.vocabulary.tokens),
    }
