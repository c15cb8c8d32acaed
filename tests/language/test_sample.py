"""Trained language models of a run, and the text that they make up."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from dnas.data import load_text
from dnas.data.text import Level, Vocabulary
from dnas.language.evaluation import perplexity, whole_text
from dnas.language.sample import TrainedLanguage, continued, load_language
from dnas.space.recurrent import RecurrentSpace
from dnas.space.recurrent_model import NO_DROPOUT
from dnas.system.tensor_file import save_tensors
from tests.support.cli import done, refused
from tests.support.language import SMALL, make_text


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text(tmp_path_factory.mktemp("data") / "letters")


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    done("language", text, "--run", run, *SMALL, "--num", 1)
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def language(bias: list[float], level: Level = "char") -> TrainedLanguage:
    """A model that always says the same: its hidden state counts for nothing."""
    tokens = ("<unk>", "<eos>", "a", "b") if level == "word" else ("<unk>", "\n", "a", "b")
    torch.manual_seed(0)
    space = RecurrentSpace(nodes=1)
    found = space.random(torch.Generator().manual_seed(0))
    network = space.network(found, vocabulary=4, hidden=3, dropout=NO_DROPOUT).eval()
    network.encoder.weight.data.zero_()
    network.bias.data = torch.tensor(bias)
    return TrainedLanguage(network, Vocabulary(tokens), level)


def test_a_loaded_network_has_the_perplexity_of_the_table(whole: Path, text: Path):
    corpus = load_text(text, level="char")
    for path, name in ((whole, "found"), (whole / "cells" / "random-0", "random 0")):
        network, vocabulary, level = load_language(path)
        assert (vocabulary, level) == (corpus.vocabulary, "char")
        line = next(line for line in (whole / "comparison.txt").read_text().splitlines() if line.startswith(name))
        measured = perplexity(network, whole_text(corpus.test, batch_size=2, bptt=8))
        assert f"{measured:.3f}" == line.removeprefix(name).split()[1]


def test_tokens_are_drawn_from_the_model_and_never_unknown():
    said = continued(language([5.0, -50.0, 1.0, 0.0]), "ab", num=2000)
    assert said.startswith("ab") and len(said) == 2002
    counts = Counter(said[2:])
    assert set(counts) == {"a", "b"}  # not <unk>, the likeliest
    p = 1 / (1 + torch.tensor(-1.0).exp().item())
    assert counts["a"] / 2000 == pytest.approx(p, abs=4 * (p * (1 - p) / 2000) ** 0.5)


def test_a_low_temperature_takes_the_likeliest():
    assert continued(language([5.0, -50.0, 1.0, 0.9]), "", num=50, temperature=1e-3) == "a" * 50
    first, second = (continued(language([0.0, 0.0, 0.0, 0.0]), "", num=50, seed=seed) for seed in (0, 1))
    assert first != second
    assert first == continued(language([0.0, 0.0, 0.0, 0.0]), "", num=50, seed=0)


def test_words_go_on_with_the_prompts_own(whole: Path):
    assert continued(language([0.0, -50.0, 9.0, 0.0], "word"), "b zebra", num=2, temperature=0.1) == "b zebra a a"
    assert continued(language([0.0, 9.0, 0.0, 0.0], "word"), "b", num=2, temperature=0.1) == "b\n\n"


def test_the_prompt_is_read_before_anything_is_said(whole: Path):
    network, vocabulary, _ = load_language(whole)
    numbers = vocabulary.encode(list("abcab"))[:, None]
    likeliest = network(numbers).logits[-1, 0].argmax()
    said = continued(load_language(whole), "abcab", num=1, temperature=1e-4)
    assert said[-1] == vocabulary.tokens[int(likeliest)]
    # One token after the other, the state goes on: as if all had been read at once.
    longer = continued(load_language(whole), "abcab", num=6, temperature=1e-4)
    numbers = vocabulary.encode(list(longer[:-1]))[:, None]
    assert longer[-1] == vocabulary.tokens[int(network(numbers).logits[-1, 0].argmax())]


def test_the_command_says_what_the_function_says(whole: Path):
    said = done("say", whole, "ab", "--num", 30, "--temperature", 0.5, "--seed", 3)
    assert said == continued(load_language(whole), "ab", num=30, temperature=0.5, seed=3) + "\n"
    described = done("describe", whole)
    assert "Language model of 6 hidden units and 7 different tokens" in described


def test_bad_input_is_answered(run: Path, tmp_path: Path):
    assert "holds no trained language model" in refused("say", tmp_path / "none")
    assert "number of tokens must be at least 1; got 0" in refused("say", run, "--num", 0)
    assert "temperature must be above 0; got 0" in refused("say", run, "--temperature", 0)
    weights = run / "cells" / "found" / "network.pt"
    state = torch.load(weights, weights_only=True)
    save_tensors(weights, {"x": torch.zeros(1)})
    assert "does not hold the weights of a recurrent language model" in refused("say", run)
    assert "does not hold the weights of a recurrent language model" in refused("describe", run)
    save_tensors(weights, {name: value for name, value in state.items() if name != "gate"})
    assert "gate is missing there" in refused("say", run)
    weights.write_bytes(b"none")
    assert "is damaged" in refused("say", run)
    save_tensors(weights, state)
    (run / "text.json").write_text('{"level": "char", "vocabulary": ["<unk>", "a"]}')
    assert "is of 7 different tokens, and the run's text of 2" in refused("say", run)
    (run / "text.json").write_text('{"level": "char"}')
    assert "is damaged: it does not hold the vocabulary" in refused("say", run)
