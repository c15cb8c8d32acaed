"""Measure a trained network on one pass over its data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dnas.core.batch import arguments_of, map_tensors, to_device
from dnas.core.described import described
from dnas.data.batches import Batches
from dnas.data.iterable_batches import IterableBatches
from dnas.data.rank_rows import rows_of
from dnas.distributed.ranks import ranks
from dnas.system.accepted import accepted
from dnas.system.display import TERMINAL, Display
from dnas.system.errors import NonFiniteLoss, UserError, in_own_code
from dnas.system.processes import check_not_wrapped
from dnas.task.base import Task
from dnas.task.batch_check import BatchCheck, non_finite_samples, steps_on
from dnas.task.choose import chosen_task
from dnas.task.classification import Classification, Confusion
from dnas.task.measurement import Tally
from dnas.training.evaluation import Evaluation


def evaluate(
    network: nn.Module,
    batches: Batches | Iterable[Any],
    *,
    task: Task | None = None,
    intervals: bool = True,
    display: Display = TERMINAL,
    phase: str = "evaluate",
) -> Evaluation:
    """Measure a network on one pass over `batches`, in evaluation mode; afterwards its mode is as before.

    Within a search or a training of several ranks each evaluates its rows; elsewhere a process evaluates all by itself.

    Args:
        network: maps inputs to the task's outputs; logits `(batch, classes)` for a classification.
        batches: `(inputs, targets)`. Of `dnas.data.ContinuedBatches` each begins with the state that the network gave
            for the last.
        task: criterion and metrics; None for a classification.
        intervals: whether metrics get 95 % intervals, which take some time for metrics without a formula.
        display: where progress is shown, under the name `phase`: by default one line in a terminal, nothing elsewhere;
            `dnas.Silent()` shows nothing.

    Raises:
        UserError: outputs or targets do not fit the task.
        NonFiniteLoss: the network gives out NaN or infinity.

    Example:
        >>> network = nn.Linear(4, 3)
        >>> evaluation = evaluate(network, [(torch.randn(8, 4), torch.randint(0, 3, (8,)))])
        >>> evaluation.num_samples, evaluation.confusion.shape
        (8, torch.Size([3, 3]))
    """
    check_not_wrapped(network)
    display, task = accepted(display, Display, "display"), chosen_task(task, None, Classification())
    batches = rows_of(as_batches(batches))
    device, memory_format = device_of(network), memory_format_of(network)
    tally, check = Tally(task, intervals=intervals), BatchCheck("the data", len(batches))
    confusion = Confusion() if isinstance(task, Classification) else None
    carry: Any = None
    with evaluation_mode(network), torch.no_grad():
        for done, batch in enumerate(batches.epoch(0), start=1):
            inputs = in_format(to_device(batch.inputs, device), memory_format)
            with steps_on((check, done - 1, batch)):
                with in_own_code(lambda x=inputs: f"The network {type(network).__name__} cannot take {described(x)}"):
                    outputs, carry = call_carried(network, inputs, carry if batch.carry is None else batch.carry)
                outputs = ranks().rows(task.read(outputs))
                check.note(batch, outputs)
                targets = ranks().rows(to_device(batch.targets, device))
                tally.add(outputs, targets)
                if confusion is not None:
                    confusion.update(outputs, targets)
            display.update(phase, done, len(batches), {})
    try:
        measurement = tally.measurement()
    except NonFiniteLoss as error:
        raise NonFiniteLoss(f"{error}{_said_of_inputs(check, batches)}") from error
    return Evaluation(measurement, None if confusion is None else confusion.compute())


def _said_of_inputs(check: BatchCheck, batches: Batches) -> str:
    """A sentence on the first batch whose inputs are not finite."""
    for index, batch in enumerate(batches.epoch(0)):
        if non_finite_samples(batch.inputs):
            return check.said_of_inputs(index, batch)
    return " All inputs are finite."


# Shared by evaluation and training


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Within the block the network is in evaluation mode; afterwards every module is in the mode it was in."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def call(network: nn.Module, inputs: Any) -> Any:
    """The network's outputs for inputs as in `dnas.Batch`: a tensor, a packed sequence, a tuple or list, or a dict."""
    arguments, keywords = arguments_of(inputs)
    return network(*arguments, **keywords)


def call_carried(network: nn.Module, inputs: Any, carry: Any) -> tuple[Any, Any]:
    """The network's outputs, and its state for the next batch: None if there is no state before this one.

    Raises:
        UserError: with a state, the network does not return a pair.
    """
    if carry is None:
        return call(network, inputs), None
    arguments, keywords = arguments_of(inputs)
    returned = network(*arguments, to_device(carry, device_of(network)), **keywords)
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise UserError(
            f"With batches that carry a state, {type(network).__name__} must return the pair (outputs, new state); it "
            f"returned {described(returned)}."
        )
    outputs, carry = returned
    return outputs, map_tensors(torch.Tensor.detach, carry)


def in_format(inputs: Any, memory_format: torch.memory_format) -> Any:
    """`inputs` with every image tensor (of 4 dimensions) in the given memory format."""
    return map_tensors(lambda x: x.contiguous(memory_format=memory_format) if x.ndim == 4 else x, inputs)


def memory_format_of(network: nn.Module) -> torch.memory_format:
    """The memory format of the network's convolutions, which its inputs should also have."""
    for weight in network.parameters():
        if weight.ndim == 4 and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last):
            return torch.channels_last
    return torch.contiguous_format


def as_batches(data: Batches | Iterable[Any]) -> Batches:
    """Return batches as they are, or make them from a user's loader."""
    return data if isinstance(data, Batches) else IterableBatches(data)


def device_of(network: nn.Module) -> torch.device:
    """Device of the network's first parameter; the CPU if it has none."""
    return next(network.parameters(), torch.empty(0)).device
