"""Training a network that is no longer searched."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from dnas.core.derive import check_derived
from dnas.core.run import Run, as_run, run_of_rank, writing
from dnas.data.batches import Batches
from dnas.distributed.together import together
from dnas.system.accepted import accepted
from dnas.system.display import TERMINAL, Display, Silent
from dnas.system.errors import UserError
from dnas.system.interrupt import stop_request
from dnas.system.processes import check_not_wrapped
from dnas.system.random_state import seeded
from dnas.task.base import Task
from dnas.task.choose import chosen_task
from dnas.task.classification import Classification
from dnas.task.own import Criterion
from dnas.training.distillation import teacher_of
from dnas.training.evaluate import as_batches
from dnas.training.loop import TrainingLoop
from dnas.training.settings import RetrainSettings


def retrain(
    network: nn.Module,
    train: Batches | Iterable[Any],
    *,
    task: Task | None = None,
    criterion: Criterion | str | None = None,
    settings: RetrainSettings = RetrainSettings(),
    run: Run | Path | str | None = None,
    display: Display = TERMINAL,
    phase: str = "retrain",
    validation: Batches | Iterable[Any] | None = None,
    teacher: nn.Module | None = None,
) -> nn.Module:
    """Train a network in place, and return it in evaluation mode.

    Under torchrun or srun, or in a process group that is there, all processes train together (docs/clusters.md): each
    is given the same arguments and takes its rows of every batch, and the first one writes.

    With a run folder, a training that was stopped by Ctrl-C or killed continues from its last checkpoint when it is
    called again with the same arguments; on the CPU the results are bit-identical. A finished training is not repeated:
    its weights are loaded.

    Args:
        network: any module, with the weights to start from. A classifier that returns `(logits, auxiliary logits)` in
            train mode is trained on `loss(logits) + auxiliary_weight * loss(auxiliary logits)`. Its convolutions are
            put into channels-last memory format if its layers allow that.
        train: `(inputs, targets)`, in which each of `dnas.data.ContinuedBatches` begins with the state that the network
            gave for the last.
        task: criterion and metrics; None for a classification with the settings' label smoothing.
        criterion: a loss alone instead of a task: a function of `(outputs, targets)` or its name, such as 'mse'.
        settings: optimizer, length and the rest. Batch size, channels, cells and cutout have no effect here; they are
            for the code that makes the data and the network.
        run: folder of this training only, for metrics, checkpoints and, at the end, network.pt and retrain.json. With
            `search_run.child("retrain")`, `dnas.load(search_run.path, model=...)` loads this network.
        display: where progress is shown, under the name `phase`; by default one line in a terminal, nothing elsewhere;
            `dnas.Silent()` shows nothing.
        validation: measured after each epoch and logged; with `settings.keep_best` the best epoch's weights are kept.
        teacher: a trained network, whose outputs this one learns besides its targets (`settings.distillation`); it is
            not changed.

    Raises:
        UserError: there is nothing to train, the network has choices left, the teacher does not fit, outputs do not fit
            the task or have no gradient, or the checkpoint belongs to another network or
            other settings.
        NonFiniteLoss: the loss or a weight became NaN or infinite; the last good checkpoint is kept.
        Interrupted: Ctrl-C; a checkpoint has been written.

    Example:
        >>> network = nn.Linear(4, 3)
        >>> data = [(torch.randn(8, 4), torch.randint(0, 3, (8,)))]
        >>> retrain(network, data, settings=RetrainSettings(epochs=2)).training
        False
    """
    check_can_train(network)
    settings, run = accepted(settings, RetrainSettings, "settings"), as_run(run)
    display = accepted(display, Display, "display")
    chosen = task_of(task, criterion, settings)
    taught_by, data = teacher_of(teacher, network, settings.distillation, chosen), as_batches(train)
    with together() as current, run_of_rank(run) as run, writing(run, display.say):
        display = display if current.is_first else Silent()
        trained_by(TrainingLoop(network, data, settings, run, display, phase, validation, chosen, teacher=taught_by))
    return network.eval()


def check_can_train(network: nn.Module) -> None:
    """Check that a network has no choices left, and that nothing beside it takes part in its training.

    Raises:
        UserError: the network is wrapped for several devices, or it has choices.
    """
    check_not_wrapped(network)
    check_derived(network)


def trained_by(loop: TrainingLoop) -> None:
    """Take a training from where it is to its end."""
    with seeded(loop.settings.seed), stop_request() as request:
        loop.resume()
        loop.run_epochs(request)
    loop.finish()


def task_of(task: Task | None, criterion: Criterion | str | None, settings: RetrainSettings) -> Task:
    """The task of a training; a classification with the settings' label smoothing unless another is given.

    Raises:
        UserError: both a task and a criterion are given, or label smoothing would have no effect.
    """
    chosen = chosen_task(task, criterion, Classification(settings.label_smoothing))
    if settings.label_smoothing and getattr(chosen, "label_smoothing", None) != settings.label_smoothing:
        raise UserError(
            f"label_smoothing {settings.label_smoothing} of the settings has no effect on {chosen.name()}: leave it "
            "out, or give it to the task, as dnas.Classification(label_smoothing=...)."
        )
    return chosen
