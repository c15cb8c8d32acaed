"""Loading the trained language models of `dnas language`, and generating text with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from dnas.core.run import Run
from dnas.data.text import END, UNKNOWN, Level, Vocabulary, tokenize
from dnas.language.commands import CELLS
from dnas.language.job import TEXT
from dnas.language.table import FOUND
from dnas.shipping.package import WEIGHTS_FILE, check_state, read_weights
from dnas.space.recurrent import RecurrentSpace
from dnas.space.recurrent_model import NO_DROPOUT, RecurrentLanguageModel
from dnas.system.errors import UserError


class TrainedLanguage(NamedTuple):
    """A trained language model and its tokens."""

    network: RecurrentLanguageModel
    vocabulary: Vocabulary
    level: Level


def load_language(path: Path | str, *, device: torch.device | str = "cpu") -> TrainedLanguage:
    """A trained language model, in evaluation mode. Files are read as data; no code in them is executed.

    Args:
        path: a run of `dnas language`, for the cell that it found, or RUN/cells/NAME for another one.
        device: device for the network.

    Raises:
        FileNotFoundError: the run does not exist, or the cell has not been trained.
        UserError: files are damaged.
    """
    folder = cell_folder(Path(path))
    text = _text_of(folder.parent.parent)
    state, architecture = read_weights(folder), Run(folder).load_architecture()
    vocabulary, hidden = _sizes(folder, state)
    if vocabulary != len(text[0].tokens):
        raise UserError(f"{folder} is of {vocabulary} different tokens, and the run's text of {len(text[0].tokens)}.")
    network = RecurrentSpace().network(architecture, vocabulary=vocabulary, hidden=hidden, dropout=NO_DROPOUT)
    check_state(network, state, source=str(folder / WEIGHTS_FILE))
    network.load_state_dict(state)
    return TrainedLanguage(network.to(device).eval(), *text)


def cell_folder(path: Path) -> Path:
    """The folder of a trained cell; for a run, that of the found cell.

    Raises:
        FileNotFoundError: no cell has been trained there.
    """
    for folder in (path, path / CELLS / FOUND):
        if (folder / WEIGHTS_FILE).exists() and folder.parent.name == CELLS:
            return folder
    raise FileNotFoundError(
        f"{path} holds no trained language model; expected a run of `dnas language` that has trained its cell, or "
        f"RUN/{CELLS}/NAME."
    )


def trained_sizes(path: Path) -> dict[str, int]:
    """Units and number of different tokens of a trained cell, as `describe_cell` takes them; empty if there is none."""
    try:
        folder = cell_folder(path)
    except FileNotFoundError:
        return {}
    vocabulary, hidden = _sizes(folder, read_weights(folder))
    return {"hidden": hidden, "vocabulary": vocabulary}


def _sizes(folder: Path, state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Number of different tokens and units of the language model with these weights."""
    embedding = state.get("encoder.weight")
    if embedding is None or embedding.dim() != 2:
        raise UserError(f"{folder / WEIGHTS_FILE} does not hold the weights of a recurrent language model.")
    vocabulary, hidden = embedding.shape
    return vocabulary, hidden


def _text_of(run: Path) -> tuple[Vocabulary, Level]:
    """The vocabulary of a run's text, and whether a token is a character or a word."""
    source, data = run / f"{TEXT}.json", Run(run).load_json(TEXT)
    tokens = data.get("vocabulary") if isinstance(data, dict) else None
    if not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
        raise UserError(f"{source} is damaged: it does not hold the vocabulary, a list of texts.")
    if data.get("level") not in ("char", "word"):
        raise UserError(f"{source} is damaged: level must be 'char' or 'word'; got {data.get('level')!r}.")
    return Vocabulary(tuple(tokens)), data["level"]


def continued(language: TrainedLanguage, prompt: str, *, num: int, temperature: float = 1.0, seed: int = 0) -> str:
    """The prompt and `num` more tokens, each drawn from softmax(logits / temperature) but never '<unk>'.

    Args:
        language: the trained language model.
        prompt: start of the text; tokens that are not in the vocabulary are read as '<unk>'. If it is empty, the text
            begins as after the end of a line.
        num: number of tokens to add.
        temperature: below 1 likely tokens become more likely; towards 0 the most likely one is taken.
        seed: seed of the draws.

    Raises:
        UserError: a number or the temperature is out of its range.
    """
    if num < 1:
        raise UserError(f"The number of tokens must be at least 1; got {num}.")
    if not temperature > 0:
        raise UserError(f"temperature must be above 0; got {temperature}.")
    tokens = tokenize(prompt, language.level)
    if language.level == "word" and not prompt.endswith("\n"):
        tokens = tokens[:-1]  # the prompt's last line continues
    drawn = list(_drawn(language, tokens, num, temperature, seed))
    vocabulary, level = language.vocabulary, language.level
    if level == "char":
        return prompt + vocabulary.decode(drawn, level=level)
    # The prompt is written in its own words, including those that the vocabulary lacks.
    own = Vocabulary(tuple(dict.fromkeys([*vocabulary.tokens, *tokens])))
    return own.decode([*own.encode(tokens).tolist(), *drawn], level=level)


def _drawn(language: TrainedLanguage, tokens: list[str], num: int, temperature: float, seed: int) -> Iterator[int]:
    network, vocabulary, level = language
    device = network.encoder.weight.device
    generator = torch.Generator().manual_seed(seed)
    end = END if level == "word" else "\n"
    inputs = vocabulary.encode(tokens or [end])[:, None]
    (unknown,) = vocabulary.encode([UNKNOWN]).tolist()
    carry = torch.zeros(1, network.hidden, device=device)
    with torch.no_grad():
        for _ in range(num):
            output, carry = network(inputs.to(device), carry)
            logits_V = output.logits[-1, 0].double().cpu() / temperature
            logits_V[unknown] = -torch.inf
            inputs = torch.multinomial(logits_V.softmax(0), 1, generator=generator)[:, None]
            yield int(inputs)
