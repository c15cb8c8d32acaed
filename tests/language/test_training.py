"""Language models: loss, perplexity, search and training on small texts."""

import doctest
import math
import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import dnas.language.training
from dnas.core.run import Run
from dnas.core.schedule import Constant
from dnas.data.text import Corpus, TextBatches, Vocabulary
from dnas.language.training import (
    LanguageLoss,
    LanguageSearch,
    LanguageTraining,
    perplexity,
    search_language,
    train_language,
    whole_text,
)
from dnas.method.hypergradient import OneStep
from dnas.searching.observer import EpochReport, Observer
from dnas.searching.settings import AlphaAdam, SearchSettings, WeightSGD
from dnas.space.recurrent import NO_DROPOUT, LanguageOutput, RecurrentDropout, RecurrentSpace
from dnas.system.display import Display
from dnas.system.interrupt import Interrupted

V, H = 6, 8
SPACE = RecurrentSpace(nodes=2)
SGD = WeightSGD(lr=Constant(5.0), momentum=0.0, weight_decay=0.0, clip=0.25)


def corpus() -> Corpus:
    """A text that counts: after k comes k + 1, or 0 after a pause of random length."""
    draw = torch.Generator().manual_seed(0)
    numbers = torch.cat([torch.arange(1, 2 + int(torch.randint(V - 1, (), generator=draw))) for _ in range(400)])
    return Corpus(numbers[:700], numbers[700:900], numbers[900:1100], Vocabulary(("<unk>", *"abcde")), "char")


def settings(epochs: int = 2, **others) -> LanguageSearch:
    slow = replace(SGD, lr=Constant(0.5))  # every epoch is better than the last one, by 0.03 or more
    search = SearchSettings(epochs=epochs, weights=slow, alphas=AlphaAdam(3e-3, (0.9, 0.999)), **others)
    sizes: dict[str, Any] = {"hidden": H, "batch_size": 8, "validation_batch_size": 4, "bptt": 7}
    return LanguageSearch(**sizes, dropout=RecurrentDropout(0.1, 0.1, 0.1, 0.1, 0.0), search=search)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    found = SPACE.random(torch.Generator().manual_seed(seed))
    return SPACE.network(found, vocabulary=V, hidden=H, dropout=NO_DROPOUT)


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.language.training).failed == 0


def test_the_loss_is_cross_entropy_with_size_and_slowness_of_the_states():
    draw = torch.Generator().manual_seed(0)
    logits, states, dropped = (torch.randn(3, 2, 4, dtype=torch.float64, generator=draw) for _ in range(3))
    targets = torch.tensor([[0, 1], [2, 3], [1, 1]])
    terms = LanguageLoss(activation=2.0, slowness=3.0)(LanguageOutput(logits, states, dropped), targets)
    probabilities = logits.exp() / logits.exp().sum(-1, keepdim=True)
    entropy = -sum(math.log(probabilities[t, b, targets[t, b]]) for t in range(3) for b in range(2)) / 6
    slow = sum((states[t] - states[t - 1]).square().sum() for t in (1, 2)) / 16
    expected = {"cross_entropy": entropy, "activation": 2 * (dropped**2).mean(), "slowness": 3 * slow}
    assert_close(terms, {k: torch.as_tensor(v, dtype=torch.float64) for k, v in expected.items()}, rtol=1e-12, atol=0)
    # In evaluation the states are not given out, and the loss is the logarithm of the perplexity.
    assert list(LanguageLoss(2.0, 3.0)(LanguageOutput(logits), targets)) == ["cross_entropy"]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(rows: int):
    model = network().double()
    model.encoder.weight.data.zero_()  # pyright: ignore
    assert perplexity(model, whole_text(corpus().test, batch_size=rows)) == pytest.approx(V, rel=1e-12)


def test_perplexity_is_that_of_the_whole_text_whatever_the_batches():
    model, text = network().double().eval(), corpus().test
    logits = model(text[:-1, None]).logits[:, 0]
    expected = nn.functional.cross_entropy(logits, text[1:]).exp().item()
    for bptt in (1, 7, 35, 500):
        assert perplexity(model, whole_text(text, bptt=bptt)) == pytest.approx(expected, rel=1e-12)


def test_a_network_that_diverged_is_no_number_and_says_so():
    model = network()
    model.bias.data.fill_(math.nan)  # pyright: ignore
    with pytest.raises(FloatingPointError, match="training has diverged"):
        perplexity(model, whole_text(corpus().test))


def test_a_search_learns_and_is_the_same_for_one_seed():
    first, second = (search_language(corpus(), space=SPACE, settings=settings(3)) for _ in range(2))
    assert first.metrics == second.metrics
    assert first.architecture == second.architecture
    assert all(torch.equal(first.supernet.alphas[name], second.supernet.alphas[name]) for name in first.supernet.alphas)
    losses = [row["train_loss"] for row in first.metrics]
    assert losses[0] > losses[1] > losses[2]
    assert first.metrics[-1]["validation_perplexity"] < V - 1
    SPACE.check(first.architecture)
    assert not [name for name, _ in first.supernet.model.named_buffers()]  # the streams are gone


def test_second_order_runs_through_the_recurrence():
    found = search_language(corpus(), space=SPACE, settings=settings(1, hypergradient=OneStep()))
    assert math.isfinite(found.metrics[-1]["validation_loss"])


def test_logged_perplexity_is_the_exponential_of_a_loss_without_regularisation():
    # The validation loss is measured in evaluation mode, with dropout off and nothing added.
    heavy = LanguageSearch(**{**vars(settings(1)), "loss": LanguageLoss(slowness=100.0)})
    row = search_language(corpus(), space=SPACE, settings=heavy).metrics[-1]
    assert row["train_loss"] > row["train_loss"] - row["slowness"] == pytest.approx(row["cross_entropy"])
    assert row["validation_perplexity"] == math.exp(row["validation_loss"]) < 2 * V


class _StopAfter(Observer):
    """Raises once, as a crash would."""

    def __init__(self, epoch: int):
        self.epoch = epoch

    def epoch_ended(self, report: EpochReport) -> None:
        if report.epoch == self.epoch:
            raise RuntimeError("crash")


def test_a_search_that_was_killed_goes_on_to_the_same_numbers(tmp_path):
    whole = search_language(corpus(), space=SPACE, settings=settings(3))
    with pytest.raises(RuntimeError, match="crash"):
        search_language(corpus(), space=SPACE, settings=settings(3), run=Run(tmp_path), observers=[_StopAfter(2)])
    rest = search_language(corpus(), space=SPACE, settings=settings(3), run=Run(tmp_path))
    assert rest.metrics == whole.metrics
    assert torch.equal(rest.supernet.alphas["recurrent"], whole.supernet.alphas["recurrent"])


def training(**others) -> LanguageTraining:
    sizes = {"hidden": H, "batch_size": 8, "validation_batch_size": 4, "bptt": 7, "weights": SGD}
    return LanguageTraining(**{"epochs": 3, "dropout": NO_DROPOUT, **sizes, **others})


def test_training_learns_and_keeps_the_best_epoch():
    result = train_language(network(), corpus(), settings=training(epochs=4))
    assert result.validation[0] < V + 1 and result.validation[-1] < result.validation[0]
    valid = whole_text(corpus().valid, batch_size=4, bptt=7)
    assert perplexity(result.network, valid) == min(result.validation)
    assert perplexity(result.network, whole_text(corpus().test)) < V - 1
    assert not result.network.training
    again = train_language(network(), corpus(), settings=training(epochs=4))
    assert again.validation == result.validation


def test_the_first_step_of_training_is_plain_sgd_with_clipping():
    model, text = network().double(), corpus()
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    sizes = {"batch_size": 2, "bptt": len(text.train) // 2 - 1, "epochs": 1, "loss": LanguageLoss(slowness=0.5)}
    reference = network().double()
    train_language(model, text, settings=training(**sizes))

    rows = text.train.view(2, -1).t()
    output = reference(rows[:-1])
    loss = nn.functional.cross_entropy(output.logits.flatten(0, 1), rows[1:].flatten())
    loss = loss + 0.5 * output.states.diff(dim=0).square().mean()
    loss.backward()
    norm = nn.utils.get_total_norm([weight.grad for weight in reference.parameters()])  # type: ignore[misc]
    assert norm > 0.25
    for name, weight in reference.named_parameters():
        expected = start[name] - 5.0 * weight.grad * 0.25 / (norm + 1e-6)  # type: ignore[operator]
        assert_close(dict(model.named_parameters())[name], expected, rtol=0, atol=1e-12)


def test_weights_are_averaged_from_the_epoch_in_which_validation_stalls():
    # Steps this large stall soon; the mean of the iterates is better than any of them.
    wild = WeightSGD(lr=Constant(20.0), momentum=0.0, weight_decay=0.0, clip=0.25)
    result = train_language(network(1), corpus(), settings=training(epochs=12, weights=wild, average_after=1))
    plain = train_language(network(1), corpus(), settings=training(epochs=12, weights=wild, average_after=None))
    first = result.averaged_from
    assert first is not None and plain.averaged_from is None
    assert result.validation[: first - 1] == plain.validation[: first - 1]
    stalled = [result.validation[n] > min(result.validation[: n - 1]) for n in range(2, first - 1)]
    assert stalled == [False] * (len(stalled) - 1) + [True]
    assert min(result.validation[first:]) < min(plain.validation[first:])


class _StopAt(Display):
    """Ctrl-C, or a crash, while a step is shown; any step where that is None."""

    def __init__(self, step: int | None, *, crash: bool = False):
        self.step, self.crash = step, crash

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        if self.step is None or done == self.step:
            if self.crash:
                raise RuntimeError("crash")
            signal.raise_signal(signal.SIGINT)

    def say(self, text: str) -> None: ...


# Weights are averaged from epoch 8 on.
WILD = {
    "epochs": 10,
    "weights": WeightSGD(lr=Constant(20.0), momentum=0.0, weight_decay=0.0, clip=0.25),
    "average_after": 1,
    "dropout": RecurrentDropout(0.1, 0.1, 0.1, 0.1, 0.1),
}


def wild_network(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    found = SPACE.random(torch.Generator().manual_seed(1))
    return SPACE.network(found, vocabulary=V, hidden=H, dropout=training(**WILD).dropout)


@pytest.mark.parametrize("crash", [False, True])
def test_a_training_that_was_stopped_goes_on_to_the_same_numbers(tmp_path, crash: bool):
    whole = train_language(wild_network(), corpus(), settings=training(**WILD), run=Run(tmp_path / "whole"))
    steps = len(TextBatches(corpus().train, batch_size=8, bptt=7, seed=0))
    first = whole.averaged_from
    assert first is not None and steps > 4
    for step in (3, steps, steps * first + 2):  # in an epoch, at its end, while weights are averaged
        with pytest.raises(RuntimeError if crash else Interrupted, match=None if crash else f"after step {step} of"):
            train_language(
                wild_network(),
                corpus(),
                settings=training(**WILD),
                run=Run(tmp_path),
                display=_StopAt(step, crash=crash),
            )
    # Another network, with other weights: all come from the checkpoint.
    rest = train_language(wild_network(2), corpus(), settings=training(**WILD), run=Run(tmp_path))
    assert rest.validation == whole.validation and rest.averaged_from == first
    assert all(torch.equal(rest.network.state_dict()[n], w) for n, w in whole.network.state_dict().items())
    rows, expected = (
        [{**row, "seconds": 0} for row in run.metrics()] for run in (Run(tmp_path), Run(tmp_path / "whole"))
    )
    assert rows == expected
    assert [row["validation_perplexity"] for row in rows] == whole.validation
    assert [row["step"] for row in rows] == [steps * epoch for epoch in range(1, 11)]


def test_a_training_that_has_finished_is_not_repeated(tmp_path):
    first = train_language(network(), corpus(), settings=training(), run=Run(tmp_path))
    again = train_language(network(1), corpus(), settings=training(), run=Run(tmp_path), display=_StopAt(None))
    assert again.validation == first.validation and again.seconds == first.seconds > 0
    assert all(torch.equal(again.network.state_dict()[n], w) for n, w in first.network.state_dict().items())


def test_the_checkpoint_of_another_training_is_refused(tmp_path):
    train_language(network(), corpus(), settings=training(), run=Run(tmp_path))
    with pytest.raises(ValueError, match="of another training: 'epochs' is 3 there and 4 here"):
        train_language(network(), corpus(), settings=training(epochs=4), run=Run(tmp_path))
    wide = SPACE.network(SPACE.random(torch.Generator()), vocabulary=V, hidden=2 * H)
    with pytest.raises(ValueError, match="of another training: 'weight gate' is"):
        train_language(wide, corpus(), settings=training(), run=Run(tmp_path))


@pytest.mark.parametrize(("name", "value"), [("network", {}), ("step", "many"), ("optimizer", 3), ("carry", None)])
def test_a_damaged_checkpoint_of_a_training_is_refused(tmp_path, name: str, value: object):
    run = Run(tmp_path)
    train_language(network(), corpus(), settings=training(), run=run)
    state = run.load_checkpoint("last")
    damaged = {n: v for n, v in state.items() if n != "carry"} if name == "carry" else {**state, name: value}
    run.save_checkpoint("last", damaged)
    with pytest.raises(ValueError, match=r"is damaged, train anew|is not the checkpoint of a language"):
        train_language(network(), corpus(), settings=training(), run=run)


def test_training_that_diverges_stops():
    model = network()
    model.bias.data.fill_(math.inf)  # pyright: ignore
    with pytest.raises(FloatingPointError, match="diverged in epoch 1"):
        train_language(model, corpus(), settings=training())


def test_bad_input_is_answered():
    with pytest.raises(ValueError, match="epochs must be 1"):
        LanguageTraining(epochs=0)
    with pytest.raises(ValueError, match="average_after"):
        LanguageTraining(average_after=0)
    with pytest.raises(ValueError, match="lower batch_size or bptt"):
        search_language(corpus(), settings=LanguageSearch(batch_size=64))
