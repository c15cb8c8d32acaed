"""A network that learns from a teacher besides its targets."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.batch import tensors_in
from dnas.core.described import described
from dnas.system.accepted import accept
from dnas.system.errors import UserError, in_own_code
from dnas.task.base import Task
from dnas.training.evaluate import call, device_of
from dnas.training.network_checks import digest_of_weights


@dataclass(frozen=True)
class Distillation:
    """How much a network learns from its teacher (Hinton et al. 2015, https://arxiv.org/abs/1503.02531).

        L = (1 - weight) L(targets) + weight D(outputs, teacher's outputs),
        D = T^2 KL(softmax(teacher / T) || softmax(outputs / T))    for classes

    The factor T^2 keeps gradients of the same size at every temperature (section 2). What D is in another task:
    `Task.distance_to_teacher`.

    Args:
        temperature: T, above 0; it has an effect on tasks with classes or labels.
        weight: from 0 to 1; 1 leaves the targets out.

    Raises:
        UserError: a value out of its range.
    """

    temperature: float = 4.0
    weight: float = 0.5

    def __post_init__(self) -> None:
        accept(self)
        if not 0 < self.temperature < float("inf"):
            raise UserError(f"temperature must be above 0; got {self.temperature}.")
        if not 0 <= self.weight <= 1:
            raise UserError(f"weight of a distillation must be from 0 to 1; got {self.weight}.")


class Teacher:
    """A trained network whose outputs another one learns.

    Args:
        network: it is copied, put into evaluation mode, and never trained.
        settings: temperature and weight.
        task: says how far outputs are from the teacher's.
        device: of the training.
    """

    def __init__(self, network: nn.Module, settings: Distillation, task: Task, device: torch.device) -> None:
        self._network = copy.deepcopy(network).to(device).eval().requires_grad_(False)
        self._settings = settings
        self._task = task

    def blended(self, loss: Tensor, outputs: Any, inputs: Any) -> Tensor:
        """The loss of the targets with that of the teacher.

        Args:
            loss: of the targets.
            outputs: of the network, for these inputs.
            inputs: of the batch.

        Raises:
            UserError: the teacher cannot take the inputs, or its outputs have other shapes.
        """
        with torch.no_grad(), in_own_code(lambda: f"The teacher {self._name} cannot take {described(inputs)}"):
            taught = self._task.read(call(self._network, inputs))
        if [one.shape for one in tensors_in(taught)] != [one.shape for one in tensors_in(outputs)]:
            raise UserError(
                f"A teacher must give outputs of the network's shapes: the teacher {self._name} gives "
                f"{described(taught)}, the network {described(outputs)}."
            )
        distance = self._task.distance_to_teacher(outputs, taught, self._settings.temperature)
        return (1 - self._settings.weight) * loss + self._settings.weight * distance

    def to_data(self) -> dict[str, Any]:
        """What a training with this teacher depends on, as plain data."""
        return {
            "temperature": self._settings.temperature,
            "weight": self._settings.weight,
            "weights_sha256": digest_of_weights(self._network),
        }

    @property
    def _name(self) -> str:
        return type(self._network).__name__


def teacher_of(network: nn.Module | None, student: nn.Module, settings: Distillation, task: Task) -> Teacher | None:
    """The teacher of a training, on the student's device; None without one.

    Raises:
        UserError: the teacher is no module.
    """
    if network is None:
        return None
    if not isinstance(network, nn.Module):
        raise UserError(f"teacher must be a trained torch.nn.Module; got {described(network)}.")
    return Teacher(network, settings, task, device_of(student))
