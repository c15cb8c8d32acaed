"""The training of language models on a small text."""

import math
import signal
from collections.abc import Mapping

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dnas.core.run import Run
from dnas.core.schedule import Constant, Warmup
from dnas.data.text import TextBatches
from dnas.language.evaluation import perplexity, whole_text
from dnas.language.settings import LanguageLoss, LanguageTraining
from dnas.language.training import train_language
from dnas.searching.weight_optimizer import OwnOptimizer, WeightAdamW, WeightSGD
from dnas.space.recurrent import RecurrentDropout
from dnas.space.recurrent_model import NO_DROPOUT
from dnas.system.display import Display
from dnas.system.interrupt import Interrupted
from tests.support.small_language import SGD, SPACE, H, V, corpus, network


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
    rows = [row for row in rows if row["phase"] == "epoch"]
    assert [row["validation_perplexity"] for row in rows] == whole.validation
    assert [row["step"] for row in rows] == [steps * epoch for epoch in range(1, 11)]


def test_a_training_that_has_finished_is_not_repeated(tmp_path):
    first = train_language(network(), corpus(), settings=training(), run=Run(tmp_path))
    again = train_language(network(1), corpus(), settings=training(), run=Run(tmp_path), display=_StopAt(None))
    assert again.validation == first.validation and again.seconds == first.seconds > 0
    assert all(torch.equal(again.network.state_dict()[n], w) for n, w in first.network.state_dict().items())


def test_the_checkpoint_of_another_training_is_refused(tmp_path):
    train_language(network(), corpus(), settings=training(), run=Run(tmp_path))
    with pytest.raises(ValueError, match=r"of another training: settings\.epochs is 3 there and 4 here"):
        train_language(network(), corpus(), settings=training(epochs=4), run=Run(tmp_path))
    wide = SPACE.network(SPACE.random(torch.Generator()), vocabulary=V, hidden=2 * H)
    with pytest.raises(ValueError, match=r"of another training: network\..*gate"):
        train_language(wide, corpus(), settings=training(), run=Run(tmp_path))


def test_the_checkpoint_of_an_earlier_version_is_refused_in_a_line_that_says_what_to_do(tmp_path):
    run = Run(tmp_path)
    run.save_checkpoint("last", {"of": {"epochs": 3}, "step": 3, "total": torch.zeros(()), "averaged_from": None})
    with pytest.raises(ValueError, match=r"by an earlier version of dnas.*: remove the folder .*checkpoints, and"):
        train_language(network(), corpus(), settings=training(), run=run)


def test_any_optimizer_trains_a_language_model():
    optimizers = (WeightAdamW(lr=Warmup(Constant(0.02))), OwnOptimizer(lambda weights: torch.optim.Adam(weights, 0.02)))
    for weights in optimizers:
        result = train_language(network(), corpus(), settings=training(epochs=4, weights=weights))
        assert min(result.validation) < V - 1


def test_training_that_diverges_stops():
    model = network()
    model.bias.data.fill_(math.inf)  # pyright: ignore
    with pytest.raises(FloatingPointError, match="diverged at or before step"):
        train_language(model, corpus(), settings=training())
