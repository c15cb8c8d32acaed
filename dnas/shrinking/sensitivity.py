"""What each decision alone does to the loss on held-out data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dnas.core.batch import Batch, to_device
from dnas.shrinking.importance import total_loss
from dnas.shrinking.program import Program, Value
from dnas.shrinking.searchable import Narrowable
from dnas.shrinking.statistics import reestimate
from dnas.system.display import Display
from dnas.task.base import Task
from dnas.training.evaluate import call, device_of

# So small a share of the largest rise of the loss that it only decides between equals: for more of what is important.
_BETWEEN_EQUALS = 1e-4


def scores(
    searchable: Narrowable,
    program: Program,
    importance: Mapping[str, Tensor],
    ranking: Mapping[str, Sequence[int]],
    *,
    train: Sequence[Batch],
    held_out: Sequence[Batch],
    task: Task,
    display: Display,
) -> dict[Value, float]:
    """For each value of each decision minus the rise of the loss when that decision alone takes it.

    Batch norm is measured anew on `train` each time; the loss is on `held_out`. What is narrower is taken to lose no
    less (rises are made monotone in the width), and a small share of the importance kept decides between equals.

    Args:
        searchable: the model.
        program: the values.
        importance: of each class, by group.
        ranking: of each group's classes, the most important first.
        train: batches for statistics of batch norm.
        held_out: batches for the loss.
        task: whose criterion is the loss.
        display: where progress is shown.
    """
    largest = searchable.largest
    base = _loss(searchable.derive(searchable.selection(largest, ranking)), train, held_out, task)
    trials = [(name, value) for name, some in program.values.items() for value in some if value != largest[name]]
    trials = [(name, value) for name, value in trials if not (value == 0 and name in program.inside)]
    rises: dict[Value, float] = {}
    for done, (name, value) in enumerate(trials, start=1):
        values = searchable.consistent({**largest, name: value})
        rises[name, value] = (
            _loss(searchable.derive(searchable.selection(values, ranking)), train, held_out, task) - base
        )
        display.update("sensitivity", done, len(trials), {"loss": base + rises[name, value]})
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


def _loss(network: nn.Module, train: Sequence[Batch], held_out: Sequence[Batch], task: Task) -> float:
    """The mean loss over batches, with batch norm measured anew; infinity counts as a large number."""
    reestimate(network, train)
    device = device_of(network)
    with torch.no_grad():
        losses = [
            total_loss(task, call(network, to_device(batch.inputs, device)), to_device(batch.targets, device))
            for batch in held_out
        ]
    return torch.stack(losses).double().mean().nan_to_num(nan=1e6, posinf=1e6).item()
