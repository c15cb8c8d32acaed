"""Which channels matter: the first-order effect of taking each away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dnas.core.batch import to_device
from dnas.core.described import described
from dnas.shrinking.groups import Structure
from dnas.shrinking.trace import copied
from dnas.system.errors import UserError, in_own_code
from dnas.task.base import Task
from dnas.task.batch_check import Given, steps_on
from dnas.training.evaluate import call, device_of


def importance(model: nn.Module, structure: Structure, batches: Iterable[Given], task: Task) -> dict[str, Tensor]:
    """For each group by name, how much each of its classes matters, (classes,), 0 or more.

    I_c = sum over batches and over tensors t of (sum over entries i of class c in t of g_i w_i)^2, with the gradient g
    of the loss: the squared first-order effect of setting the class's part of a tensor to 0 (Molchanov et al. 2019,
    "Importance Estimation for Neural Network Pruning", https://arxiv.org/abs/1906.10771, eq. 8, there for the weights
    of one layer; here summed over all tensors that the channel takes part in).

    Args:
        model: in its own mode; it is not changed.
        structure: its groups.
        batches: of training data, with their places in messages.
        task: whose criterion is the loss.

    Raises:
        UserError: model, data and task do not fit, or the loss is not finite.
    """
    copy = copied(model)
    parameters = dict(copy.named_parameters())
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    owners = {label: (group.name, index) for group in structure.groups for index, label in enumerate(group.classes)}
    found = {group.name: np.zeros(len(group)) for group in structure.groups}
    for given in batches:
        batch = given[2]
        inputs, targets = (to_device(part, device_of(copy)) for part in (batch.inputs, batch.targets))
        with steps_on(given):
            loss = _checked_loss(task, copy, inputs, targets)
            gradients = torch.autograd.grad(loss, [*parameters.values()], allow_unused=True)
        for (name, weight), gradient in zip(parameters.items(), gradients, strict=True):
            if gradient is None:
                continue
            effect = (weight.detach() * gradient).double()
            for labels in structure.trace.labels[name]:
                axis = int(np.argmax(labels.shape))
                others = [other for other in range(weight.ndim) if other != axis]
                along = (effect.sum(others) if others else effect).cpu().numpy()
                roots = structure.trace.book.channels.roots(labels).reshape(-1)
                classes, places = np.unique(roots, return_inverse=True)
                sums = np.bincount(places, weights=along, minlength=len(classes))
                for label, value in zip(classes.tolist(), sums.tolist(), strict=True):
                    if label in owners:
                        group, index = owners[label]
                        found[group][index] += value**2
    return {name: torch.from_numpy(values) for name, values in found.items()}


def _checked_loss(task: Task, network: nn.Module, inputs: Any, targets: Any) -> Tensor:
    with in_own_code(lambda: f"The model {type(network).__name__} cannot take the inputs, {described(inputs)}"):
        outputs = call(network, inputs)
    task.check(outputs, targets)
    came = f"outputs, {described(outputs)}, and targets, {described(targets)}"
    with in_own_code(lambda: f"The criterion of {task.name()} cannot take {came}"):
        loss = total_loss(task, outputs, targets)
    if not loss.requires_grad:
        raise UserError(f"The loss of {type(network).__name__} has no gradient: leave out detach() and no_grad().")
    if not bool(loss.isfinite()):
        raise UserError(f"The loss of the model on the training data is {loss.item()}: look at its inputs and targets.")
    return loss


def ranking(scores: dict[str, Tensor]) -> dict[str, list[int]]:
    """For each group, the indices of its classes, the most important first."""
    return {name: values.argsort(descending=True, stable=True).tolist() for name, values in scores.items()}


def total_loss(task: Task, outputs: object, targets: object) -> Tensor:
    """The criterion; named terms are added up."""
    loss = task.criterion(outputs, targets)
    return loss if isinstance(loss, Tensor) else torch.stack([*loss.values()]).sum()
