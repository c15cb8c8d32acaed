"""From text files to tokens, and to batches of a language model.

Official code read for the layout of batches: https://github.com/quark0/darts, rnn/data.py and rnn/utils.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dnas.core.batch import Batch
from dnas.data.batches import Batches, check_start
from dnas.data.keyed_random import stream_key
from dnas.system.errors import UserError
from dnas.system.reading import read_text

# Legend: N tokens, B rows of a batch, L tokens of a row, T steps of a batch.

Level = Literal["word", "char"]
Part = Literal["train", "valid", "test"]

UNKNOWN = "<unk>"
END = "<eos>"
PARTS = ("train", "valid", "test")
# Names of the parts in files of common corpora: ptb.train.txt, wiki.valid.tokens, dev.txt.
_PART_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}
_ENDINGS = (".txt", ".tokens", ".raw")
# Shares of the parts when a single text is cut.
_TRAIN, _VALID = 0.9, 0.05
LARGEST = 2**30  # bytes of a text file; WikiText-103 has half of that


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their numbers; '<unk>' stands for those that are missing.

    Args:
        tokens: the token of each number; each token once, including '<unk>'.
    """

    tokens: tuple[str, ...]
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numbers = {token: number for number, token in enumerate(self.tokens)}
        if UNKNOWN not in numbers or len(numbers) != len(self.tokens):
            raise UserError(f"A vocabulary must hold {UNKNOWN!r}, and every token once; got {len(self.tokens)} tokens.")
        object.__setattr__(self, "_numbers", numbers)

    def __len__(self) -> int:
        return len(self.tokens)

    @staticmethod
    def of(tokens: Iterable[str], *, level: Level, min_count: int = 1) -> Vocabulary:
        """'<unk>', for words '<eos>', then every token that occurs `min_count` times, in order of first occurrence."""
        counts = Counter(tokens)
        special = (UNKNOWN, END) if level == "word" else (UNKNOWN,)
        return Vocabulary((*special, *(t for t, n in counts.items() if n >= min_count and t not in special)))

    def encode(self, tokens: Sequence[str]) -> Tensor:
        """Numbers (N,) int64 of tokens."""
        unknown = self._numbers[UNKNOWN]
        return torch.tensor([self._numbers.get(token, unknown) for token in tokens], dtype=torch.int64)

    def decode(self, numbers: Iterable[int], *, level: Level) -> str:
        """The text of numbers: words with spaces between them and line ends for '<eos>', or characters."""
        tokens = [self.tokens[number] for number in numbers]
        if level == "char":
            return "".join(tokens)
        return " ".join("\n" if token == END else token for token in tokens).replace(" \n ", "\n")


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text in three parts, as token numbers.

    Args:
        train, valid, test: (N,) int64.
        vocabulary: vocabulary of the training part.
        level: what a token is.
    """

    train: Tensor
    valid: Tensor
    test: Tensor
    vocabulary: Vocabulary
    level: Level

    def unknown_share(self, part: Part) -> float:
        """Share of a part's tokens that are '<unk>', in the text itself or by this vocabulary."""
        (number,) = self.vocabulary.encode([UNKNOWN]).tolist()
        return float((getattr(self, part) == number).double().mean())


def load_text(source: Path | str | Sequence[Path | str], *, level: Level = "word", min_count: int = 1) -> Corpus:
    """Read text files as a corpus.

    Args:
        source: a file or several, or a folder. A folder with one file each for train, valid and test, as of Penn
            Treebank (ptb.train.txt) and WikiText (wiki.train.tokens), is read in its parts. Any other text is joined in
            the given order (in a folder: by name) and cut into 90, 5 and 5 %, in that order, without shuffling.
        level: 'word' splits at white space and ends each line with '<eos>'; 'char' takes every character, including
            line ends.
        min_count: tokens that occur less often in the training part become '<unk>'.

    The vocabulary is taken from the training part. The official code of DARTS takes all three parts, which is the same
    on Penn Treebank, whose rare words are '<unk>' in its files.

    Raises:
        FileNotFoundError: the file or folder does not exist.
        UserError: there is no text, it is not UTF-8, a folder has only some of the parts, or there are too few tokens.
    """
    if level not in ("word", "char"):
        raise UserError(f"level must be 'word' or 'char'; got {level!r}.")
    if min_count < 1:
        raise UserError(f"min_count must be 1 or more; got {min_count}.")
    files = _text_files(source)
    found = _files_of_parts(files, level) if isinstance(source, Path | str) and Path(source).is_dir() else None
    if found is None:
        parts = _cut([token for file in files for token in tokenize(_read(file), level)])
    else:
        parts = {part: tokenize(_read(found[part]), level) for part in PARTS}
    for part, tokens in parts.items():
        if len(tokens) < 2:
            raise UserError(f"The {part} part of {source} has {len(tokens)} tokens; a language model needs more text.")
    vocabulary = Vocabulary.of(parts["train"], level=level, min_count=min_count)
    train, valid, test = (vocabulary.encode(parts[part]) for part in PARTS)
    return Corpus(train, valid, test, vocabulary, level)


def tokenize(text: str, level: Level) -> list[str]:
    """The tokens of a text: all characters, or the words of each line followed by '<eos>'."""
    if level == "char":
        return list(text)
    return [token for line in text.splitlines() for token in (*line.split(), END)]


def _text_files(source: Path | str | Sequence[Path | str]) -> list[Path]:
    paths = [Path(source)] if isinstance(source, Path | str) else [Path(path) for path in source]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"There is no file or folder {path}; expected text.")
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(path for path in paths[0].iterdir() if path.is_file() and path.suffix in _ENDINGS)
    if not paths:
        raise UserError(f"{source} holds no text files; expected names that end with {', '.join(_ENDINGS)}.")
    folders = [path for path in paths if path.is_dir()]
    if folders:
        raise UserError(f"{folders[0]} is a folder; expected one folder alone, or files.")
    return paths


def _files_of_parts(files: Sequence[Path], level: Level) -> dict[str, Path] | None:
    """The file of each part by its name; None if no file is named after a part."""
    named: dict[str, list[Path]] = {part: [] for part in PARTS}
    for file in files:
        for part in {_PART_NAMES[word] for word in _words(file) if word in _PART_NAMES}:
            named[part].append(file)
    if not any(named.values()):
        return None
    # Penn Treebank comes with files of both kinds: ptb.train.txt and ptb.char.train.txt.
    chosen = {
        part: found if len(found) < 2 else [file for file in found if ("char" in _words(file)) == (level == "char")]
        for part, found in named.items()
    }
    for part, found in chosen.items():
        if len(found) != 1:
            names = ", ".join(file.name for file in named[part]) or "none"
            raise UserError(
                f"{files[0].parent} must hold one file each for train, valid and test, such as ptb.train.txt; for "
                f"{part} it has {names}. Give the file itself to have one text cut into the three parts."
            )
    return {part: found[0] for part, found in chosen.items()}


def _words(file: Path) -> list[str]:
    return re.split(r"[^a-z]+", file.stem.lower())


def _read(file: Path) -> str:
    text = read_text(file, most=LARGEST, encoding="utf-8-sig")
    if not text.strip():
        raise UserError(f"{file} is empty; expected text.")
    return text


def _cut(tokens: list[str]) -> dict[str, list[str]]:
    """Cut a text into consecutive parts."""
    first, second = round(_TRAIN * len(tokens)), round((_TRAIN + _VALID) * len(tokens))
    return {"train": tokens[:first], "valid": tokens[first:second], "test": tokens[second:]}


def batchify(tokens_N: Tensor, batch_size: int) -> Tensor:
    """Cut a text into `batch_size` pieces of equal length L, side by side: (L, B); the remainder is left out.

    Entry (l, b) is token b L + l with L = N // B, so that row b continues from one step to the next.

    Raises:
        UserError: there are less than two tokens for each piece.
    """
    length = len(tokens_N) // batch_size if batch_size >= 1 else 0
    if length < 2:
        raise UserError(
            f"{len(tokens_N)} tokens cannot be cut into batch_size = {batch_size} pieces of 2 or more tokens; "
            "batch_size must be 1 or more, and smaller than half the text."
        )
    return tokens_N[: length * batch_size].reshape(batch_size, length).t().contiguous()


class TextBatches(Batches):
    """A text as batches of (tokens, next tokens), both (T, B) int64; each batch continues where the last one ended.

    Batches have no carry, so each would start without memory; `CarriedBatches` adds it.

    All batches have `bptt` steps; equal shapes let graphs be captured and compiled. The official code of DARTS draws
    lengths at random, which moves the borders between batches in each epoch. Here the start, which depends on seed and
    epoch, does that.

    Args:
        tokens: (N,) int64.
        batch_size: B.
        bptt: T, the number of steps through which a gradient goes back.
        whole: whether the last batch may be shorter, so that every token of the B pieces except the first of each is
            predicted once, for evaluation; otherwise steps that do not fill a batch are left out.
        seed: seed of the starts; None starts every epoch with the first token. Not with `whole`.
        device: device of the batches.

    Raises:
        UserError: there are too few tokens for one batch.
    """

    def __init__(
        self,
        tokens: Tensor,
        *,
        batch_size: int,
        bptt: int = 35,
        whole: bool = False,
        seed: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if bptt < 1:
            raise UserError(f"bptt must be 1 or more steps; got {bptt}.")
        if whole and seed is not None:
            raise UserError("whole batches of a text start with its first token; leave out the seed.")
        self.tokens_LB = batchify(tokens, batch_size).to(device)
        self.bptt = bptt
        self.whole = whole
        self.seed = seed
        targets = len(self.tokens_LB) - 1
        # Every start below bptt leaves room for equally many batches; otherwise their number would depend on the epoch.
        self.num_starts = 1 if seed is None else min(bptt, targets - bptt + 1)
        self._length = -(-targets // bptt) if whole else (targets - max(self.num_starts - 1, 0)) // bptt
        if self._length < 1:
            raise UserError(
                f"{len(tokens)} tokens in {batch_size} pieces leave {targets} steps for each, and a batch takes bptt = "
                f"{bptt}: lower batch_size or bptt, or take more text."
            )

    def __len__(self) -> int:
        return self._length

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        check_start(start, len(self))
        offset = 0 if self.seed is None else stream_key(self.seed, epoch) % self.num_starts
        for first in range(offset + start * self.bptt, offset + len(self) * self.bptt, self.bptt):
            last = min(first + self.bptt, len(self.tokens_LB) - 1)
            yield Batch(self.tokens_LB[first:last], self.tokens_LB[first + 1 : last + 1])
