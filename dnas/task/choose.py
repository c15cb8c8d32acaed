"""The task that a task, a criterion or neither of them stands for."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from dnas.system.errors import UserError
from dnas.task.base import Task
from dnas.task.own import Criterion, OwnTask


def chosen_task(task: Task | None, criterion: Criterion | str | None, default: Task) -> Task:
    """The task that is given, one made of a criterion alone, or the default.

    Args:
        task: a task, or None.
        criterion: a function of `(outputs, targets)`, the name of one in `torch.nn.functional` such as 'mse' or
            'cross_entropy', or None.
        default: where neither is given.

    Raises:
        UserError: both are given, or one is of another kind.
    """
    if task is not None and criterion is not None:
        raise UserError("Both a task and a criterion are given, and a task has a criterion of its own: leave one out.")
    if task is not None and not isinstance(task, Task):
        raise UserError(
            f"task must be a Task, such as dnas.Regression() or dnas.OwnTask(loss, metrics); got {task!r}. A loss "
            "alone is given as criterion."
        )
    if criterion is not None:
        return OwnTask(named_criterion(criterion))
    return default if task is None else task


def named_criterion(criterion: object) -> Callable:
    """A criterion itself, or the one of `torch.nn.functional` that a text names.

    Raises:
        UserError: neither a function nor the name of one.
    """
    if isinstance(criterion, str):
        for name in (criterion, f"{criterion}_loss"):
            if name.endswith(("loss", "entropy", "logits")) and hasattr(nn.functional, name):
                return getattr(nn.functional, name)
    if not callable(criterion) or isinstance(criterion, type):
        hint = f" Make an object of it: {criterion.__name__}()." if isinstance(criterion, type) else ""
        raise UserError(
            "criterion must be a function of (outputs, targets), such as torch.nn.functional.mse_loss, or its name, "
            f"such as 'mse'; got {criterion!r}.{hint}"
        )
    return criterion
