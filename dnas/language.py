"""Language models: from a text to a found recurrent cell, its training, and its perplexity.

Settings are those of DARTS (Liu et al. 2019, https://arxiv.org/abs/1806.09055, appendix A.1.2 and A.2.2) on Penn
Treebank, as in the official code, https://github.com/quark0/darts, rnn/train_search.py and rnn/train.py.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnas.data.batches import Batches
from dnas.data.carried import CarriedBatches
from dnas.data.keyed_random import stream_key
from dnas.data.text import Corpus, TextBatches
from dnas.display import Display, Silent
from dnas.evaluate import device_of, evaluation_mode
from dnas.observer import EpochReport, Observer
from dnas.random_state import seeded
from dnas.run import Run
from dnas.schedule import Constant
from dnas.search import SearchResult, search
from dnas.settings import AlphaAdam, SearchSettings, WeightSGD
from dnas.space.recurrent import SEARCH_DROPOUT, LanguageOutput, RecurrentDropout, RecurrentSpace

# Legend: T steps of a batch, B rows, V tokens of the vocabulary.

# torch.optim.Adam's own decay rates, as in the official code for text; for images it has (0.5, 0.999).
_SEARCH = SearchSettings(
    weights=WeightSGD(lr=Constant(20.0), momentum=0.0, weight_decay=5e-7, clip=0.25),
    alphas=AlphaAdam(lr=3e-3, betas=(0.9, 0.999), weight_decay=1e-3),
    epochs=50,
)


@dataclass(frozen=True)
class LanguageLoss:
    """Mean cross entropy of the next tokens, and in training what keeps the hidden states h_t small and slow.

    loss = -mean log p(target) + activation mean (m_t h_t)^2 + slowness mean (h_t - h_{t-1})^2, with the mask m_t of
    dropout (Merity et al. 2017, https://arxiv.org/abs/1708.01009). The official search regularises the weights' loss
    alone; here the alphas' loss holds the same terms.

    Args:
        activation: factor of the size of the states.
        slowness: factor of their change.
    """

    activation: float = 0.0
    slowness: float = 1e-3

    def __call__(self, output: LanguageOutput, targets_TB: Tensor) -> dict[str, Tensor]:
        terms = {"cross_entropy": F.cross_entropy(output.logits.flatten(0, 1), targets_TB.flatten())}
        if self.activation and output.dropped is not None:
            terms["activation"] = self.activation * output.dropped.square().mean()
        if self.slowness and output.states is not None and len(output.states) > 1:
            terms["slowness"] = self.slowness * output.states.diff(dim=0).square().mean()
        return terms


@dataclass(frozen=True)
class LanguageSearch:
    """How to search for a recurrent cell; the defaults are those of DARTS on Penn Treebank.

    Args:
        hidden: units of the hidden state and of the embedding.
        dropout: in the supernet.
        batch_size: rows of text that are read side by side, for weights and alphas.
        validation_batch_size: rows in which the supernet is measured, over whose states it is normalised.
        bptt: steps through which a gradient goes back.
        loss: of weights and alphas.
        search: the method and its optimizers.
    """

    hidden: int = 300
    dropout: RecurrentDropout = SEARCH_DROPOUT
    batch_size: int = 256
    validation_batch_size: int = 10
    bptt: int = 35
    loss: LanguageLoss = LanguageLoss()
    search: SearchSettings = _SEARCH


@dataclass(frozen=True)
class LanguageTraining:
    """How a found cell is trained; the defaults are those of DARTS on Penn Treebank, but for the number of epochs.

    Args:
        epochs: passes over the training part. The official code is stopped by hand, at up to 8000.
        hidden: units of the hidden state and of the embedding, for who builds the network.
        dropout: for who builds the network.
        batch_size: rows of text that are read side by side.
        validation_batch_size: rows in which the validation part is measured after each epoch.
        bptt: steps through which a gradient goes back.
        weights: optimizer.
        loss: what is made small.
        average_after: weights are averaged (ASGD, Polyak and Juditsky 1992) from the epoch on in which the validation
            loss is above the lowest of all but the last `average_after` epochs (Merity et al. 2017); None for never.
        seed: of initial weights, dropout and where epochs start.
    """

    epochs: int = 1600
    hidden: int = 850
    dropout: RecurrentDropout = RecurrentDropout()
    batch_size: int = 64
    validation_batch_size: int = 10
    bptt: int = 35
    weights: WeightSGD = WeightSGD(lr=Constant(20.0), momentum=0.0, weight_decay=8e-7, clip=0.25)
    loss: LanguageLoss = LanguageLoss()
    average_after: int | None = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be 1 or more; got {self.epochs}.")
        if self.average_after is not None and self.average_after < 1:
            raise ValueError(f"average_after must be 1 or more epochs, or None for never; got {self.average_after}.")


def search_language(
    corpus: Corpus,
    *,
    space: RecurrentSpace = RecurrentSpace(),
    settings: LanguageSearch = LanguageSearch(),
    run: Run | None = None,
    observers: Sequence[Observer] = (),
    display: Display = Silent(),
    device: torch.device | str = "cpu",
) -> SearchResult:
    """Search for a recurrent cell: weights on the training part, alphas on the validation part, as in DARTS.

    It is `dnas.search` with batches that carry the hidden state on, and goes on from a run folder as that does. In the
    rows of metrics `validation_loss` is the mean cross entropy on the validation part in nats, without regularisation,
    and `validation_perplexity` its exponential.

    Raises:
        ValueError: the text is too short for these sizes.

    Example:
        >>> from dnas.data.text import Corpus, Vocabulary
        >>> numbers = torch.arange(400) % 5
        >>> corpus = Corpus(numbers, numbers, numbers, Vocabulary(("<unk>", "a", "b", "c", "d")), "char")
        >>> sizes = LanguageSearch(hidden=4, batch_size=4, bptt=8, search=SearchSettings(epochs=1))
        >>> search_language(corpus, space=RecurrentSpace(nodes=2), settings=sizes).architecture.space
        'darts_rnn'
    """
    with seeded(settings.search.seed):
        model = space.model(vocabulary=len(corpus.vocabulary), hidden=settings.hidden, dropout=settings.dropout)
    model.to(device)
    sizes = {
        "train": (corpus.train, settings.batch_size, False),
        "alphas": (corpus.valid, settings.batch_size, False),
        "validation": (corpus.valid, settings.validation_batch_size, True),
    }
    streams = {
        name: CarriedBatches(
            TextBatches(
                tokens,
                batch_size=rows,
                bptt=settings.bptt,
                whole=whole,
                seed=None if whole else stream_key(settings.search.seed, index),
                device=device,
            ),
            model,
            name=name,
            shape=(rows, settings.hidden),
        )
        for index, (name, (tokens, rows, whole)) in enumerate(sizes.items())
    }
    try:
        return search(
            model,
            streams["train"],
            streams["alphas"],
            validation=streams["validation"],
            criterion=settings.loss,
            settings=settings.search,
            stamp=space.architecture,
            run=run,
            observers=(_TellPerplexity(display), *observers),
            display=display,
        )
    finally:
        for stream in streams.values():
            stream.release()


@dataclass(frozen=True)
class _TellPerplexity(Observer):
    """Adds the perplexity to what is logged, and says it."""

    display: Display

    def epoch_ended(self, report: EpochReport) -> None:
        value = _exponential(report.scalars["validation_loss"])
        report.scalars["validation_perplexity"] = value
        self.display.say(f"epoch {report.epoch}: validation perplexity {value:.2f}")


@dataclass(frozen=True)
class LanguageResult:
    """What a training leaves.

    Args:
        network: with the weights of the best epoch on the validation part, in evaluation mode.
        validation: perplexity on the validation part after each epoch.
        averaged_from: the first epoch, from 1 up, whose weights were averaged; None for none.
    """

    network: nn.Module
    validation: list[float]
    averaged_from: int | None


def train_language(
    network: nn.Module,
    corpus: Corpus,
    *,
    settings: LanguageTraining = LanguageTraining(),
    display: Display = Silent(),
) -> LanguageResult:
    """Train a language model on the training part, and keep the weights that are best on the validation part.

    Args:
        network: as `RecurrentSpace.network` builds it: `network(tokens, carry)` gives `(LanguageOutput, carry)`.
        corpus: its test part is not looked at; see `perplexity`.
        settings: sizes, optimizer and length.
        display: where progress is shown, under the name 'train'.

    Raises:
        ValueError: the text is too short for these sizes.
        FloatingPointError: the loss or a weight became NaN or infinite.
    """
    device = device_of(network)
    train = TextBatches(
        corpus.train,
        batch_size=settings.batch_size,
        bptt=settings.bptt,
        seed=settings.seed,
        device=device,
    )
    valid = whole_text(corpus.valid, batch_size=settings.validation_batch_size, bptt=settings.bptt, device=device)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = settings.weights.build(weights)
    validation: list[float] = []
    averaged_from: int | None = None
    best, best_state = math.inf, copy.deepcopy(network.state_dict())
    network.train()
    with seeded(settings.seed):
        for epoch in range(settings.epochs):
            for group in optimizer.param_groups:
                group["lr"] = settings.weights.lr_at(epoch / settings.epochs)
            _train_epoch(network, train, optimizer, settings, epoch=epoch, display=display)
            with _averaged(optimizer, weights):
                validation.append(perplexity(network, valid))
                if validation[-1] < best:
                    best, best_state = validation[-1], copy.deepcopy(network.state_dict())
            display.say(f"epoch {epoch + 1}: validation perplexity {validation[-1]:.2f}")
            if averaged_from is None and _stalled(validation, settings.average_after):
                averaged_from = epoch + 2
                optimizer = _averaging(weights, settings.weights)
    network.load_state_dict(best_state)
    began = averaged_from is not None and averaged_from <= settings.epochs
    return LanguageResult(network.eval(), validation, averaged_from if began else None)


def _train_epoch(
    network: nn.Module,
    batches: TextBatches,
    optimizer: torch.optim.Optimizer,
    settings: LanguageTraining,
    *,
    epoch: int,
    display: Display,
) -> None:
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    clip = torch.inf if settings.weights.clip is None else settings.weights.clip
    carry: Tensor | None = None
    total = torch.zeros((), dtype=torch.float64, device=device_of(network))
    for done, batch in enumerate(batches.epoch(epoch), start=1):
        output, carry = network(batch.inputs, _start(network, batch.inputs) if carry is None else carry.detach())
        loss = torch.stack(list(settings.loss(output, batch.targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, clip)
        optimizer.step()
        total += loss.detach()
        display.update("train", epoch * len(batches) + done, settings.epochs * len(batches), {})
    if not bool(total.isfinite()):
        raise FloatingPointError(
            f"The training diverged in epoch {epoch + 1}: its loss is {float(total)}. Lower the learning rate or clip."
        )


def _stalled(validation: list[float], patience: int | None) -> bool:
    """Whether the last value is above the lowest of those before the last `patience` before it."""
    if patience is None or len(validation) <= patience + 1:
        return False
    return validation[-1] > min(validation[: -patience - 1])


def _averaging(weights: list[nn.Parameter], settings: WeightSGD) -> torch.optim.ASGD:
    """SGD that also keeps the mean of all iterates from here on (t0 = 0, lambd = 0: official code)."""
    return torch.optim.ASGD(weights, settings.lr_at(0.0), lambd=0.0, t0=0, weight_decay=settings.weight_decay)


@contextmanager
def _averaged(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter]) -> Iterator[None]:
    """Within the block the weights are the means that the optimizer keeps, where it keeps any."""
    if not isinstance(optimizer, torch.optim.ASGD):
        yield
        return
    iterates = [weight.detach().clone() for weight in weights]
    _copy([optimizer.state[weight]["ax"] for weight in weights], weights)
    try:
        yield
    finally:
        _copy(iterates, weights)


def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for mine, theirs in zip(target, source, strict=True):
            mine.copy_(theirs)


def whole_text(
    tokens: Tensor, *, batch_size: int = 1, bptt: int = 35, device: torch.device | str = "cpu"
) -> TextBatches:
    """A part of a corpus for evaluation: every token but the first of each row is predicted once.

    With one row, as the paper tests, nothing is left out; more rows are faster, and lose what is over and the context
    at the start of each row.
    """
    return TextBatches(tokens, batch_size=batch_size, bptt=bptt, whole=True, device=device)


def perplexity(network: nn.Module, batches: Batches) -> float:
    """exp of the mean cross entropy per token, in evaluation mode; the hidden state goes on from batch to batch.

    The mean is over the predicted tokens; the official code divides by one more for each row.

    Args:
        network: `network(tokens, carry)` gives `(LanguageOutput, carry)`.
        batches: (tokens, next tokens), both (T, B), in order, as `whole_text` gives them.

    Raises:
        FloatingPointError: the network gives out NaN.

    Example:
        >>> network = RecurrentSpace(nodes=1).model(vocabulary=7, hidden=4)
        >>> _ = network.encoder.weight.data.zero_()
        >>> f"{perplexity(network, whole_text(torch.arange(40) % 7, batch_size=2)):.3f}"
        '7.000'
    """
    device = device_of(network)
    total, count = torch.zeros((), dtype=torch.float64, device=device), 0
    carry: Tensor | None = None
    with evaluation_mode(network), torch.no_grad():
        for batch in batches.epoch(0):
            output, carry = network(batch.inputs, _start(network, batch.inputs) if carry is None else carry)
            logits_NV = output.logits.flatten(0, 1)
            total += F.cross_entropy(logits_NV, batch.targets.flatten(), reduction="sum").double()
            count += batch.targets.numel()
    loss = float(total) / count
    if math.isnan(loss):
        raise FloatingPointError("The network's outputs are NaN: its training has diverged; lower the learning rate.")
    return _exponential(loss)


def _start(network: nn.Module, tokens_TB: Tensor) -> Tensor:
    """The hidden state at the beginning of a text."""
    like = next(network.parameters())
    return like.new_zeros(tokens_TB.shape[1], network.hidden)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _exponential(loss: float) -> float:
    """exp, infinite where that is no number of a computer."""
    return math.exp(loss) if loss < 700 else math.inf
