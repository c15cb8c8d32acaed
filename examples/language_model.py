"""A recurrent cell for a text of your own: search, then train what was found beside cells that were not searched for.

    python examples/language_model.py [TEXT] [char or word] [epochs]

TEXT is any text file, or a folder with the parts of Penn Treebank or WikiText; without one it is the documentation of
this project. Sizes here are small, for a laptop; `LanguageSearch()` and `LanguageTraining()` without arguments are
those of DARTS on Penn Treebank, for a GPU.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

import dnas
from dnas.data import Corpus, load_text
from dnas.formats import architecture_text, published
from dnas.language import (
    LanguageSearch,
    LanguageTraining,
    perplexity,
    search_language,
    train_language,
    whole_text,
)
from dnas.space.recurrent import RecurrentDropout, RecurrentSpace
from dnas.system.display import Display

SPACE = RecurrentSpace()
# Weaker than for Penn Treebank: these networks are too small to learn a text by heart.
DROPOUT = RecurrentDropout(output=0.1, hidden=0.05, inputs=0.1, embedded=0.0, words=0.0)


class Lines(Display):
    """One line per epoch."""

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None: ...

    def say(self, text: str) -> None:
        print(f"  {text}", flush=True)


def find(corpus: Corpus, epochs: int) -> dnas.Architecture:
    """Search with weights on the training part and alphas on the validation part."""
    rows = min(64, len(corpus.valid) // 60)  # a short text still has two batches for the alphas
    sizes = LanguageSearch(hidden=32, dropout=DROPOUT, batch_size=rows, validation_batch_size=rows, bptt=20)
    settings = replace(sizes, search=replace(sizes.search, epochs=epochs))
    return search_language(corpus, space=SPACE, settings=settings, display=Lines()).architecture


def test_perplexity(architecture: dnas.Architecture, corpus: Corpus, epochs: int) -> float:
    """Train from new weights, and measure on the test part."""
    settings = LanguageTraining(epochs=epochs, hidden=64, dropout=DROPOUT)
    torch.manual_seed(settings.seed)
    network = SPACE.network(
        architecture, vocabulary=len(corpus.vocabulary), hidden=settings.hidden, dropout=settings.dropout
    )
    trained = train_language(network, corpus, settings=settings, display=Lines()).network
    return perplexity(trained, whole_text(corpus.test, batch_size=16))


def main(text: Sequence[Path | str], level: str = "char", epochs: str = "1") -> None:
    """Search, train, compare."""
    corpus = load_text(text[0] if len(text) == 1 else text, level="word" if level == "word" else "char")
    print(f"{len(corpus.train):,} tokens to train on, of {len(corpus.vocabulary):,} kinds")
    seconds = time.process_time()
    found = find(corpus, int(epochs))
    print(f"found in {time.process_time() - seconds:.0f} s of CPU time: {architecture_text(found)}")

    draw = torch.Generator().manual_seed(0)
    cells = {"found": found, "DARTS_RNN_V2": published("DARTS_RNN_V2")}
    cells |= {f"random {n}": SPACE.random(draw) for n in (1, 2, 3)}
    for name, cell in cells.items():
        print(name)
        print(f"{name}: test perplexity {test_perplexity(cell, corpus, int(epochs)):.3f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main([sys.argv[1]], *sys.argv[2:4])
    else:
        main(sorted(Path(__file__).parent.parent.glob("docs/*.md")))
