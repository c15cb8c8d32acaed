"""What each decision alone does to the loss on held-out data."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dnas.core.batch import Batch, to_device
from dnas.shrinking.costs import Value
from dnas.shrinking.importance import total_loss
from dnas.shrinking.memory import Memory
from dnas.shrinking.program import Program
from dnas.shrinking.searchable import Narrowable
from dnas.shrinking.statistics import reestimate
from dnas.system.display import Display
from dnas.task.base import Task
from dnas.task.batch_check import Given, steps_on
from dnas.training.evaluate import call, device_of

# So small a share of the largest rise of the loss that it only decides between equals: for more of what is important.
_BETWEEN_EQUALS = 1e-4
# Between two times that losses are kept.
_SECONDS = 30


def rises_of(
    searchable: Narrowable,
    program: Program,
    ranking: Mapping[str, Sequence[int]],
    *,
    train: Sequence[Batch],
    held_out: Sequence[Given],
    task: Task,
    memory: Memory,
    display: Display,
) -> dict[Value, float]:
    """For each value of each decision but the largest the rise of the loss when that decision alone takes it.

    Batch norm is measured anew on `train` each time; the loss is on `held_out`.

    Args:
        searchable: the model.
        program: the values.
        ranking: of each group's classes, the most important first.
        train: batches for statistics of batch norm.
        held_out: batches for the loss, with their places in messages.
        task: whose criterion is the loss.
        memory: keeps losses, so that what was measured before a stop is not measured again.
        display: where progress is shown.
    """
    largest = searchable.largest
    trials = [(name, value) for name, some in program.values.items() for value in some if value != largest[name]]
    trials = [(name, value) for name, value in trials if not (value == 0 and name in program.inside)]
    losses: list[float] = memory.get("sensitivity") or []
    # The first is the loss of the model as it is.
    todo: list[Mapping[str, int]] = [largest, *(searchable.consistent({**largest, name: v}) for name, v in trials)]
    kept_at = time.monotonic()
    for done, values in enumerate(todo[len(losses) :], start=len(losses) + 1):
        losses.append(_loss(searchable.derive(searchable.selection(values, ranking)), train, held_out, task))
        display.update("sensitivity", done, len(todo), {"loss": losses[-1]})
        if done == len(todo) or time.monotonic() > kept_at + _SECONDS:
            memory.keep("sensitivity", losses)
            kept_at = time.monotonic()
    return {trial: loss - losses[0] for trial, loss in zip(trials, losses[1:], strict=True)}


def scores(program: Program, rises: Mapping[Value, float], importance: Mapping[str, Tensor]) -> dict[Value, float]:
    """For each value of each decision minus the rise of the loss, which is made monotone in the width.

    A small share of the importance kept decides between equals.

    Args:
        program: the values.
        rises: of the loss; what is missing counts as 0.
        importance: of each class, by group.
    """
    scale = max((abs(rise) for rise in rises.values()), default=1.0) or 1.0
    found: dict[Value, float] = {}
    for name, some in program.values.items():
        rise = 0.0
        for value in sorted((value for value in some if value or name not in program.inside), reverse=True):
            # A network that a narrower layer makes better is noise: it would be bought for nothing.
            rise = max(rise, rises.get((name, value), 0.0))
            kept = _share(importance[name], value) if name in importance else float(value)
            found[name, value] = -rise + _BETWEEN_EQUALS * scale * kept
    return found


def _share(importance: Tensor, count: int) -> float:
    """The share of the importance that the `count` most important classes have."""
    total = importance.sum().item()
    return importance.sort(descending=True).values[:count].sum().item() / total if total else count / len(importance)


def _loss(network: nn.Module, train: Sequence[Batch], held_out: Sequence[Given], task: Task) -> float:
    """The mean loss over batches, with batch norm measured anew; infinity counts as a large number."""
    reestimate(network, train)
    device, losses = device_of(network), []
    for given in held_out:
        inputs, targets = (to_device(part, device) for part in (given[2].inputs, given[2].targets))
        with torch.no_grad(), steps_on(given):
            outputs = call(network, inputs)
            task.check(outputs, targets)
            losses.append(total_loss(task, outputs, targets))
    return torch.stack(losses).double().mean().nan_to_num(nan=1e6, posinf=1e6).item()
