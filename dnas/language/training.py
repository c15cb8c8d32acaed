"""Language models: from a text to a found recurrent cell, its training, and its perplexity.

Settings are those of DARTS (Liu et al. 2019, https://arxiv.org/abs/1806.09055, appendix A.1.2 and A.2.2) on Penn
Treebank, as in the official code, https://github.com/quark0/darts, rnn/train_search.py and rnn/train.py.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnas.core.batch import Batch
from dnas.core.run import Run
from dnas.core.schedule import Constant
from dnas.data.batches import Batches
from dnas.data.carried import CarriedBatches
from dnas.data.keyed_random import stream_key
from dnas.data.text import Corpus, TextBatches
from dnas.searching.observer import EpochReport, Observer
from dnas.searching.search import CHECKPOINT, SearchResult, search
from dnas.searching.settings import AlphaAdam, SearchSettings, WeightSGD
from dnas.space.recurrent import SEARCH_DROPOUT, LanguageOutput, RecurrentDropout, RecurrentSpace
from dnas.system.display import Display, Silent
from dnas.system.errors import NonFiniteLoss, UserError
from dnas.system.interrupt import Interrupted, StopRequest, stop_request
from dnas.system.plain_data import to_plain
from dnas.system.random_state import random_state, restore_random_state, seeded
from dnas.training.evaluate import device_of, evaluation_mode
from dnas.training.retrain import first_difference

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
        test_batch_size: rows in which the test part is measured, for who measures it; with 1, as in the paper, nothing
            is left out, more are faster.
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
    test_batch_size: int = 1
    bptt: int = 35
    weights: WeightSGD = WeightSGD(lr=Constant(20.0), momentum=0.0, weight_decay=8e-7, clip=0.25)
    loss: LanguageLoss = LanguageLoss()
    average_after: int | None = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"epochs must be 1 or more; got {self.epochs}.")
        if self.average_after is not None and self.average_after < 1:
            raise UserError(f"average_after must be 1 or more epochs, or None for never; got {self.average_after}.")


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
        UserError: the text is too short for these sizes.

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
        seconds: of the training, with the measurements after each epoch.
    """

    network: nn.Module
    validation: list[float]
    averaged_from: int | None
    seconds: float


def train_language(
    network: nn.Module,
    corpus: Corpus,
    *,
    settings: LanguageTraining = LanguageTraining(),
    run: Run | None = None,
    display: Display = Silent(),
    phase: str = "train",
) -> LanguageResult:
    """Train a language model on the training part, and keep the weights that are best on the validation part.

    With a run folder the training can be stopped by Ctrl-C or killed, and calling it again with the same arguments
    goes on, on the CPU to bit-identical results: after Ctrl-C from the same step, otherwise from the end of the last
    epoch. One that has finished is not repeated.

    Args:
        network: as `RecurrentSpace.network` builds it: `network(tokens, carry)` gives `(LanguageOutput, carry)`.
        corpus: its test part is not looked at; see `perplexity`.
        settings: sizes, optimizer and length.
        run: folder of this training alone, for metrics and its checkpoint.
        display: where progress is shown, under the name `phase`.

    Raises:
        UserError: the text is too short for these sizes, or the checkpoint is of another training.
        NonFiniteLoss: the loss or a weight became NaN or infinite.
        Interrupted: Ctrl-C; a checkpoint has been written.
    """
    training = _Training(network, corpus, settings, run, display, phase)
    try:
        with seeded(settings.seed), stop_request() as request:
            training.resume()
            training.run_epochs(request)
    finally:
        if run is not None:
            run.close()
    return training.result()


class _Training:
    """A training in progress. Everything that changes is in `state()`."""

    def __init__(
        self,
        network: nn.Module,
        corpus: Corpus,
        settings: LanguageTraining,
        run: Run | None,
        display: Display,
        phase: str,
    ) -> None:
        device = device_of(network)
        self.train = TextBatches(
            corpus.train, batch_size=settings.batch_size, bptt=settings.bptt, seed=settings.seed, device=device
        )
        rows = settings.validation_batch_size
        self.valid = whole_text(corpus.valid, batch_size=rows, bptt=settings.bptt, device=device)
        self.network = network
        self.settings = settings
        self.run = run
        self.display = display
        self.phase = phase
        self.weights = [weight for weight in network.parameters() if weight.requires_grad]
        self.optimizer = settings.weights.build(self.weights)
        self.step = 0
        self.seconds = 0.0
        self.carry: Tensor | None = None  # what the last batch of this epoch has left
        self.total = torch.zeros((), dtype=torch.float64, device=device)  # of the losses of this epoch
        self.validation: list[float] = []
        self.averaged_from: int | None = None
        self.best, self.best_state = math.inf, copy.deepcopy(network.state_dict())

    @property
    def total_steps(self) -> int:
        return self.settings.epochs * len(self.train)

    def run_epochs(self, request: StopRequest) -> None:
        self.network.train()
        while self.step < self.total_steps:
            epoch, start = divmod(self.step, len(self.train))
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.weights.lr_at(epoch / self.settings.epochs)
            for batch in self.train.epoch(epoch, start):
                started = time.perf_counter()
                self._one_step(batch)
                epoch_ended = self.step % len(self.train) == 0
                if epoch_ended:
                    self._end_epoch(epoch)
                shown = {"perplexity": self.validation[-1]} if self.validation else {}
                self.display.update(self.phase, self.step, self.total_steps, shown)
                self.seconds += time.perf_counter() - started
                if self.run is not None and (epoch_ended or request.made):
                    self.run.save_checkpoint(CHECKPOINT, self.state())
                if request.made:
                    raise Interrupted(self._how_to_go_on())

    def _one_step(self, batch: Batch) -> None:
        carry = _start(self.network, batch.inputs) if self.carry is None else self.carry
        output, new_carry = self.network(batch.inputs, carry)
        loss = torch.stack(list(self.settings.loss(output, batch.targets).values())).sum()
        self.optimizer.zero_grad()
        loss.backward()
        clip = torch.inf if self.settings.weights.clip is None else self.settings.weights.clip
        nn.utils.clip_grad_norm_(self.weights, clip)
        self.optimizer.step()
        self.total += loss.detach()
        self.carry = new_carry.detach()
        self.step += 1

    def _end_epoch(self, epoch: int) -> None:
        if not bool(self.total.isfinite()):
            raise NonFiniteLoss(
                f"The training diverged in epoch {epoch + 1}: its loss is {float(self.total)}. Lower the learning rate "
                "or clip."
            )
        with _averaged(self.optimizer, self.weights):
            self.validation.append(perplexity(self.network, self.valid))
            if self.validation[-1] < self.best:
                self.best, self.best_state = self.validation[-1], copy.deepcopy(self.network.state_dict())
        if self.run is not None:
            means = {
                "train_loss": float(self.total) / len(self.train),
                "validation_perplexity": self.validation[-1],
            }
            self.run.log(self.step, {"epoch": epoch + 1, **means, "seconds": self.seconds})
        if self.averaged_from is None and _stalled(self.validation, self.settings.average_after):
            self.averaged_from = epoch + 2
            self.optimizer = _averaging(self.weights, self.settings.weights)
        self.carry = None
        self.total.zero_()

    def result(self) -> LanguageResult:
        """The network gets its best weights."""
        self.network.load_state_dict(self.best_state)
        began = self.averaged_from is not None and self.averaged_from <= self.settings.epochs
        return LanguageResult(self.network.eval(), self.validation, self.averaged_from if began else None, self.seconds)

    # Checkpoints

    def state(self) -> dict[str, Any]:
        return {
            "of": self._of(),
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random_state": random_state(),
            "carry": self.carry,
            "total": self.total,
            "validation": self.validation,
            "averaged_from": self.averaged_from,
            "best": self.best,
            "best_state": self.best_state,
        }

    def _of(self) -> dict[str, Any]:
        """What must be the same where a training goes on."""
        shapes = {f"weight {name}": list(weight.shape) for name, weight in self.network.named_parameters()}
        return {**to_plain(self.settings), "steps of an epoch": len(self.train), **shapes}

    def resume(self) -> None:
        """Go on from the run's checkpoint, where there is one."""
        if self.run is None:
            return
        path = self.run.checkpoint_path(CHECKPOINT)
        if not path.exists():
            if self.run.metrics_path.exists():
                self.run.cut_metrics(0)
            return
        state = self.run.load_checkpoint(CHECKPOINT, device_of(self.network))
        if not isinstance(state.get("of"), dict) or set(state) != set(self.state()):
            raise UserError(f"{path} is not the checkpoint of a language model's training.")
        difference = first_difference(self._of(), state["of"])
        if difference:
            raise UserError(
                f"{path} is of another training: {difference}. Go on with the settings it began with, or train in a "
                "folder of its own."
            )
        try:
            self._restore(state)
        except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:  # of damaged entries
            raise UserError(f"{path} is damaged, train anew: {type(error).__name__}: {error}") from error
        self.run.cut_metrics(self.step)
        if self.step < self.total_steps:
            self.display.say(f"Going on with {self.run.path} after step {self.step} of {self.total_steps}.")

    def _restore(self, state: dict[str, Any]) -> None:
        self.averaged_from = state["averaged_from"]
        if self.averaged_from is not None:
            self.optimizer = _averaging(self.weights, self.settings.weights)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.carry = int(state["step"]), float(state["seconds"]), state["carry"]
        self.total.copy_(state["total"])
        self.validation = [float(value) for value in state["validation"]]
        self.best, self.best_state = float(state["best"]), dict(state["best_state"])
        restore_random_state(state["random_state"])

    def _how_to_go_on(self) -> str:
        where = f"step {self.step} of {self.total_steps}"
        if self.run is None:
            return f"The training was stopped after {where}; without a run folder nothing was saved."
        return f"The training was stopped and saved after {where} in {self.run.path}."


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
        NonFiniteLoss: the network gives out NaN.

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
        raise NonFiniteLoss("The network's outputs are NaN: its training has diverged; lower the learning rate.")
    return _exponential(loss)


def _start(network: nn.Module, tokens_TB: Tensor) -> Tensor:
    """The hidden state at the beginning of a text."""
    like = next(network.parameters())
    return like.new_zeros(tokens_TB.shape[1], network.hidden)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _exponential(loss: float) -> float:
    """exp, infinite where that is no number of a computer."""
    return math.exp(loss) if loss < 700 else math.inf
