"""The search for a recurrent cell on a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dnas.core.run import Run
from dnas.data.carried import ContinuedBatches
from dnas.data.keyed_random import stream_key
from dnas.data.text import Corpus, TextBatches
from dnas.language.evaluation import continued_text
from dnas.language.settings import LanguageSearch
from dnas.searching.observer import EpochReport, Observer
from dnas.searching.search import SearchResult, search
from dnas.space.recurrent import RecurrentSpace
from dnas.system.accepted import accepted
from dnas.system.display import TERMINAL, Display
from dnas.system.processes import check_one_process
from dnas.system.random_state import seeded


def search_language(
    corpus: Corpus,
    *,
    space: RecurrentSpace = RecurrentSpace(),
    settings: LanguageSearch = LanguageSearch(),
    run: Run | Path | str | None = None,
    observers: Sequence[Observer] = (),
    display: Display = TERMINAL,
    device: torch.device | str = "cpu",
) -> SearchResult:
    """Search for a recurrent cell: weights on the training part, alphas on the validation part, as in DARTS.

    It is `dnas.search` with batches that carry the hidden state on, and resumes from a run folder in the same way. In
    the rows of metrics `validation_loss` is the mean cross entropy on the validation part in nats, without
    regularisation, and `validation_perplexity` its exponential.

    Raises:
        UserError: the text is too short for these sizes, or there are several processes.

    Example:
        >>> from dnas.data.text import Corpus, Vocabulary
        >>> from dnas.searching.settings import SearchSettings
        >>> numbers = torch.arange(400) % 5
        >>> corpus = Corpus(numbers, numbers, numbers, Vocabulary(("<unk>", "a", "b", "c", "d")), "char")
        >>> sizes = LanguageSearch(hidden=4, batch_size=4, bptt=8, search=SearchSettings(epochs=1))
        >>> search_language(corpus, space=RecurrentSpace(nodes=2), settings=sizes).architecture.space
        'darts_rnn'
    """
    check_one_process("a search")  # before the model is built
    settings = accepted(settings, LanguageSearch, "settings")
    with seeded(settings.search.seed):
        model = space.model(vocabulary=len(corpus.vocabulary), hidden=settings.hidden, dropout=settings.dropout)
    streams = _streams(corpus, settings, model.to(device), device)
    return search(
        model,
        streams["train"],
        streams["alphas"],
        validation=streams["validation"],
        task=settings.loss.task,
        settings=settings.search,
        stamp=space.architecture,
        run=run,
        observers=(_TellPerplexity(display), *observers),
        display=display,
    )


def _streams(
    corpus: Corpus, settings: LanguageSearch, model: nn.Module, device: torch.device | str
) -> dict[str, ContinuedBatches]:
    """Batches for weights, alphas and validation, each of which hands on a hidden state of its own."""
    sizes = {
        "train": (corpus.train, settings.batch_size, False),
        "alphas": (corpus.valid, settings.batch_size, False),
        "validation": (corpus.valid, settings.validation_batch_size, True),
    }
    return {
        name: continued_text(
            TextBatches(
                tokens,
                batch_size=rows,
                bptt=settings.bptt,
                whole=whole,
                seed=None if whole else stream_key(settings.search.seed, index),
                device=device,
            ),
            model,
        )
        for index, (name, (tokens, rows, whole)) in enumerate(sizes.items())
    }


@dataclass(frozen=True)
class _TellPerplexity(Observer):
    """Says the perplexity after each epoch in which it is measured."""

    display: Display

    def epoch_ended(self, report: EpochReport) -> None:
        value = report.scalars.get("validation_perplexity")
        if value is not None:
            self.display.say(f"epoch {report.epoch}: validation perplexity {value:.2f}")
