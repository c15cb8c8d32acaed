"""The training of a language model on a text: the common training, on batches that hand on the hidden state.

Settings and averaging are those of DARTS (Liu et al. 2019, https://arxiv.org/abs/1806.09055, appendix A.2.2), as in the
official code, https://github.com/quark0/darts, rnn/train.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dnas.core.last_checkpoint import CHECKPOINT
from dnas.core.run import Run, as_run, writing
from dnas.data.text import Corpus, TextBatches
from dnas.language.evaluation import continued_text, whole_text
from dnas.language.settings import LanguageTraining
from dnas.system.accepted import accepted
from dnas.system.difference import fixed_settings
from dnas.system.display import TERMINAL, Display
from dnas.system.errors import UserError
from dnas.system.processes import check_one_process
from dnas.training.evaluate import device_of
from dnas.training.loop import TrainingLoop
from dnas.training.retrain import check_can_train, trained_by


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

    It is `dnas.retrain` with batches that hand on the hidden state, and with averaged weights. With a run folder, a
    training that was stopped by Ctrl-C or killed continues when it is called again with the same arguments; on the CPU
    the results are bit-identical. A finished training is not repeated.

    Args:
        network: a network as from `RecurrentSpace.network`: `network(tokens, carry)` returns `(LanguageOutput, carry)`.
        corpus: the text; its test part is not used (see `perplexity`).
        settings: sizes, optimizer and length.
        run: folder of this training only, for metrics, its checkpoint and its weights.
        display: where progress is shown, under the name `phase`.

    Raises:
        UserError: the text is too short for these sizes, the checkpoint belongs to another training, or there are
            several processes.
        NonFiniteLoss: the loss or a weight became NaN or infinite.
        Interrupted: Ctrl-C; a checkpoint has been written.
    """
    check_one_process("a language model's training")
    check_can_train(network)
    settings, run = accepted(settings, LanguageTraining, "settings"), as_run(run)
    display = accepted(display, Display, "display")
    device, rows = device_of(network), settings.validation_batch_size
    train = TextBatches(
        corpus.train, batch_size=settings.batch_size, bptt=settings.bptt, seed=settings.seed, device=device
    )
    valid = whole_text(corpus.valid, batch_size=rows, bptt=settings.bptt, device=device)
    with writing(run, display.say):
        _refuse_earlier_form(run)
        loop = TrainingLoop(
            network,
            continued_text(train, network),
            settings.retraining,
            run,
            display,
            phase,
            continued_text(valid, network),
            settings.loss.task,
            average_after=settings.average_after,
            conditions=fixed_settings(settings),
        )
        trained_by(loop)
    kept = loop.kept
    began = kept.averaged_from is not None and kept.averaged_from <= settings.epochs
    return LanguageResult(network.eval(), kept.values, kept.averaged_from if began else None, loop.seconds)


def _refuse_earlier_form(run: Run | None) -> None:
    """Refuse a checkpoint of the training that language models had of their own.

    Raises:
        UserError: says what to do.
    """
    if run is None or not (path := run.checkpoint_path(CHECKPOINT)).exists():
        return
    state = run.load_checkpoint(CHECKPOINT, torch.device("cpu"))
    if "of" in state and "totals" not in state:
        raise UserError(
            f"{path} is of a training by an earlier version of dnas, which this one cannot go on with: remove the "
            f"folder {path.parent}, and the training begins anew."
        )
