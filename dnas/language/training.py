"""The training of a language model on a text.

Settings and averaging are those of DARTS (Liu et al. 2019, https://arxiv.org/abs/1806.09055, appendix A.2.2), as in the
official code, https://github.com/quark0/darts, rnn/train.py.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.batch import Batch
from dnas.core.last_checkpoint import LastCheckpoint
from dnas.core.run import Run, as_run, writing
from dnas.core.trial_write import check_training_can_be_saved
from dnas.data.text import Corpus, TextBatches
from dnas.language.evaluation import initial_state, perplexity, whole_text
from dnas.language.settings import LanguageTraining
from dnas.searching.settings import WeightSGD
from dnas.system.accepted import accepted
from dnas.system.difference import first_difference
from dnas.system.display import TERMINAL, Display
from dnas.system.errors import NonFiniteLoss
from dnas.system.interrupt import Interrupted, StopRequest, stop_request
from dnas.system.plain_data import to_plain
from dnas.system.processes import check_not_wrapped, check_one_process
from dnas.system.random_state import random_state, restore_random_state, seeded
from dnas.training.evaluate import device_of
from dnas.training.network_checks import first_non_finite


@dataclass(frozen=True)
class LanguageResult:
    """The result of a training.

    Args:
        network: the network in evaluation mode, with the weights of the best epoch on the validation part.
        validation: perplexity on the validation part after each epoch.
        averaged_from: the first epoch, from 1 up, whose weights were averaged; None for none.
        seconds: duration of the training, including the measurements after each epoch.
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
    run: Run | Path | str | None = None,
    display: Display = TERMINAL,
    phase: str = "train",
) -> LanguageResult:
    """Train a language model on the training part, and keep the weights that are best on the validation part.

    With a run folder, a training that was stopped by Ctrl-C or killed continues when it is called again with the same
    arguments; on the CPU the results are bit-identical. After Ctrl-C it continues from the same step, otherwise from
    the end of the last epoch. A finished training is not repeated.

    Args:
        network: a network as from `RecurrentSpace.network`: `network(tokens, carry)` returns `(LanguageOutput, carry)`.
        corpus: the text; its test part is not used (see `perplexity`).
        settings: sizes, optimizer and length.
        run: folder of this training only, for metrics and its checkpoint.
        display: where progress is shown, under the name `phase`.

    Raises:
        UserError: the text is too short for these sizes, the checkpoint belongs to another training, or there are
            several processes.
        NonFiniteLoss: the loss or a weight became NaN or infinite.
        Interrupted: Ctrl-C; a checkpoint has been written.
    """
    check_one_process("a training")
    check_not_wrapped(network)
    settings, run = accepted(settings, LanguageTraining, "settings"), as_run(run)
    with writing(run, display.say):
        if run is not None:
            check_training_can_be_saved(run, network)
        training = _Training(network, corpus, settings, run, display, phase)
        with seeded(settings.seed), stop_request() as request:
            training.resume()
            training.run_epochs(request)
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
        self.carry: Tensor | None = None  # the state after the last batch of this epoch
        self.total = torch.zeros((), dtype=torch.float64, device=device)  # sum of the losses of this epoch
        self.validation: list[float] = []
        self.averaged_from: int | None = None
        self.best, self.best_state = math.inf, copy.deepcopy(network.state_dict())
        self.checkpoint = LastCheckpoint(
            run,
            "training",
            state=self.state,
            restore=self._restore,
            difference=lambda state: first_difference(state["of"], self._of()),
            finite=lambda state: [state["network"], state["best_state"]],
            device=device,
            display=display,
        )

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
                if epoch_ended or request.made:
                    self._check_weights(epoch)
                    self.checkpoint.save()
                if request.made:
                    raise Interrupted(self.checkpoint.how_to_go_on(self._place))

    def _one_step(self, batch: Batch) -> None:
        carry = initial_state(self.network, batch.inputs) if self.carry is None else self.carry
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

    def _check_weights(self, epoch: int) -> None:
        """Check that what would be written is finite."""
        name = first_non_finite(self.network)
        if name:
            raise NonFiniteLoss(
                f"The training diverged in epoch {epoch + 1}: {name} holds NaN or infinity. Lower the learning rate or "
                f"clip.{self.checkpoint.last_good()}"
            )

    def result(self) -> LanguageResult:
        """The result; the network gets its best weights."""
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
        """Everything that must be the same for a training to resume."""
        shapes = {f"weight {name}": list(weight.shape) for name, weight in self.network.named_parameters()}
        return {**to_plain(self.settings), "steps of an epoch": len(self.train), **shapes}

    def resume(self) -> None:
        """Resume from the run's checkpoint, if there is one."""
        if self.checkpoint.resume():
            self.checkpoint.forget_rows_after(self.step)
            if self.step < self.total_steps:
                self.checkpoint.say_going_on(self._place)

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

    @property
    def _place(self) -> str:
        return f"step {self.step} of {self.total_steps}"


def _stalled(validation: list[float], patience: int | None) -> bool:
    """Whether the last value is above the lowest of all values except itself and the `patience` before it."""
    if patience is None or len(validation) <= patience + 1:
        return False
    return validation[-1] > min(validation[: -patience - 1])


def _averaging(weights: list[nn.Parameter], settings: WeightSGD) -> torch.optim.ASGD:
    """SGD that also keeps the mean of all iterates from here on (t0 = 0, lambd = 0: official code)."""
    return torch.optim.ASGD(weights, settings.lr_at(0.0), lambd=0.0, t0=0, weight_decay=settings.weight_decay)


@contextmanager
def _averaged(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter]) -> Iterator[None]:
    """Within the block, the weights are the optimizer's means, if it keeps any."""
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
