"""One step of a training: a batch, its loss, and the new weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.batch import Batch, to_device
from dnas.core.described import described
from dnas.distributed.ranks import ranks
from dnas.method.hypergradient.precision import in_precision
from dnas.method.hypergradient.randomness import generators_of
from dnas.searching.capture import CudaRecorder, Recorder, StepCapture, optimizer_tensors
from dnas.searching.execution import is_recordable, make_capturable
from dnas.system.errors import UserError, in_own_code
from dnas.task.base import Task
from dnas.task.classification import Classification
from dnas.training.distillation import Teacher
from dnas.training.evaluate import call_carried, device_of, in_format
from dnas.training.losses import split_auxiliary, total_loss
from dnas.training.network_checks import takes_channels_last
from dnas.training.settings import RetrainSettings


class TrainingStep:
    """Trains a network on one batch at a time.

    Args:
        network: is trained in place.
        weights: those of its parameters that are trained.
        task: the criterion, and the weights of samples in means.
        settings: optimizer, precision and the auxiliary head's weight.
        say: is told what a person should know.
        recorder: records steps; None for CUDA graphs on a CUDA device, if the settings ask for them.
        teacher: whose outputs the network learns as well; None for none.
    """

    def __init__(
        self,
        network: nn.Module,
        weights: Sequence[nn.Parameter],
        task: Task,
        settings: RetrainSettings,
        *,
        say: Callable[[str], None],
        recorder: Recorder | None,
        teacher: Teacher | None = None,
    ):
        self.network, self.weights, self.task, self.settings, self.say = network, list(weights), task, settings, say
        self.teacher = teacher
        self.device = device_of(network)
        self.optimizer = settings.weights.build(self.weights)
        self.means_of = ("loss", "top1") if isinstance(task, Classification) else ("loss",)
        self.gradient_norm = torch.zeros(())  # of the latest step, before clipping
        self._memory_format: torch.memory_format | None = None  # determined at the first batch
        # Steps that are taken back, or whose rate is another each time, are not recorded; nor are messages of ranks.
        records = settings.capture and not settings.skip_non_finite and settings.lr_changes == "epoch"
        records = records and ranks().size == 1
        if recorder is None and records and self.device.type == "cuda" and is_recordable(self.optimizer):
            recorder = CudaRecorder()
        self._capture = recorder and StepCapture(
            recorder, state=self._moving, generators=generators_of({"": self.weights[0]}), say=say
        )
        self.carry: Any = None  # the state that the network left, where batches continue each other
        self._is_first = True

    def begin(self) -> None:
        """Prepare the optimizer, whose state may have been loaded, for steps that are recorded."""
        if self._capture is not None:
            make_capturable(self.optimizer, self.device)

    def take(self, batch: Batch, drop_path: float, *, is_first: bool) -> Tensor:
        """Train on one batch, of which each of several ranks has its rows.

        Args:
            batch: inputs and targets, on any device. If it has no carry, it continues the last one, where that had one.
            drop_path: the probability that the network drops an edge now.
            is_first: whether this is the first step of the training, in which more is checked.

        Returns:
            Its contribution to the sums of the epoch, `(1 + names,)` float64: the samples' weight, then a sum for each
            name in `means_of`.

        Raises:
            UserError: network, criterion and data do not fit, or the loss has no gradient.
        """
        self._is_first = is_first
        batch = to_device(batch, self.device)
        batch = batch._replace(carry=self.carry if batch.carry is None else batch.carry)
        if batch.carry is not None and self.teacher is not None:
            raise UserError("Networks that hand on a state from batch to batch have no teacher: leave the teacher out.")
        batch = batch._replace(inputs=self._formatted(batch))
        if self._capture is None or batch.carry is not None:
            return self._trained([batch])
        baked = (tuple(group["lr"] for group in self.optimizer.param_groups), drop_path)
        return self._capture([batch], baked, self._trained)

    def _trained(self, batches: Sequence[Batch]) -> Tensor:
        (batch,) = batches
        with in_precision(self.settings.precision, self.device):
            returned, self.carry = call_carried(self.network, batch.inputs, batch.carry)
            outputs, auxiliary = split_auxiliary(returned, self.task)
            outputs = self.task.read(outputs)
            self._check(outputs, batch.targets)
            loss = total_loss(self._criterion(outputs, batch.targets))
            if self.teacher is not None:
                loss = self.teacher.blended(loss, outputs, batch.inputs)
            if auxiliary is not None and self.settings.auxiliary:
                of_auxiliary = total_loss(self.task.criterion(auxiliary, batch.targets))
                loss = loss + self.settings.auxiliary_weight * of_auxiliary
        if not loss.requires_grad:
            raise UserError(
                f"The loss of {type(self.network).__name__} has no gradient, so that nothing would be trained: leave "
                "out detach(), no_grad() and whole numbers on the way from its weights to the loss."
            )
        weight = self.task.weights(outputs, batch.targets).sum().double()
        loss = ranks().mean(loss, weight)
        self.optimizer.zero_grad()
        loss.backward()
        moved = [weight for weight in self.weights if weight.grad is not None]
        gradients = ranks().add_up([weight.grad for weight in moved if weight.grad is not None])
        for moving, gradient in zip(moved, gradients, strict=True):
            moving.grad = gradient
        self.gradient_norm = nn.utils.get_total_norm(gradients)
        if self.settings.weights.clip is not None:
            nn.utils.clip_grads_with_norm_(self.weights, self.settings.weights.clip, self.gradient_norm)
        self.optimizer.step()
        with torch.no_grad():
            sums = [weight, loss.detach().double() * weight]
            if isinstance(self.task, Classification):
                sums.append((outputs.argmax(1) == batch.targets).sum().double())
            return ranks().add_up([torch.stack(sums)])[0]

    def _check(self, outputs: Any, targets: Any) -> None:
        """Check that outputs and targets fit the task: at each step on a CPU, at the first step on another device.

        A label out of range makes a CUDA device unusable, but checking every batch would wait for the device.
        """
        if self.device.type == "cpu" or self._is_first:
            self.task.check(outputs, targets)

    def _criterion(self, outputs: Any, targets: Any) -> Any:
        """The task's criterion; in the first step what it raises is told with what it was given."""
        if not self._is_first or self._capture is not None:
            return self.task.criterion(outputs, targets)
        came = f"outputs, {described(outputs)}, and targets, {described(targets)}"
        with in_own_code(lambda: f"The criterion of {self.task.name()} cannot take {came}"):
            return self.task.criterion(outputs, targets)

    def _moving(self) -> list[list[Tensor]]:
        """Everything that a step changes: weights and statistics, and the optimizer's momentum."""
        momentum = optimizer_tensors(self.optimizer)
        network = [*self.network.parameters(), *self.network.buffers()]
        return [network, momentum] if momentum else [network]

    def _formatted(self, batch: Batch) -> Any:
        """A batch's inputs as channels-last, which is about twice as fast, or contiguous if the network needs it."""
        if self._memory_format is None:
            named = type(self.network).__name__
            with in_own_code(lambda: f"The network {named} cannot take the inputs, {described(batch.inputs)}"):
                works = takes_channels_last(self.network, batch.inputs, batch.carry)
            self._memory_format = torch.channels_last if works else torch.contiguous_format
            self.network.to(memory_format=self._memory_format)  # pyright: ignore[reportCallIssue]
            if not works:
                self.say(
                    "Note: the network flattens with view(), so it is trained in contiguous memory format; with "
                    "flatten(1) or reshape() it would train faster."
                )
        return in_format(batch.inputs, self._memory_format)
