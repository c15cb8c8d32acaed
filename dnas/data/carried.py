"""Batches of sequences that continue from batch to batch: the recurrent state is handed on without its gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.batch import Batch, map_tensors, tensors_in
from dnas.data.batches import Batches
from dnas.system.errors import UserError


class ContinuedBatches(Batches):
    """Batches each of which continues where the last one ended, as the pieces of a text do.

    The first batch of an epoch has `start` as its carry, and the others have none: whoever calls the model with them
    (`dnas.retrain`, `dnas.evaluate`, `dnas.search`) gives each the state that the model returned for the last one,
    without its gradient (truncated backpropagation through time, Williams and Peng 1990,
    https://doi.org/10.1162/neco.1990.2.4.490).

    Args:
        batches: batches in order, with the same rows at each step, on the device of the model.
        start: the state before the first batch: a tensor, or a tuple of tensors as of an LSTM.

    Example:
        >>> pieces = [Batch(torch.zeros(3, 2), torch.zeros(3, 2))] * 2
        >>> from dnas.data.iterable_batches import IterableBatches
        >>> [batch.carry for batch in ContinuedBatches(IterableBatches(pieces), torch.zeros(1)).epoch(0)]
        [tensor([0.]), None]
    """

    def __init__(self, batches: Batches, start: Any) -> None:
        self.batches = batches
        self.start = start

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for index, batch in enumerate(self.batches.epoch(epoch, start), start=start):
            yield batch._replace(carry=self.start if index == 0 else None)


@dataclass
class _Seen:
    """The inputs of the last batch, and the tensors that its new state is written to."""

    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    state: list[Tensor] | None = None


class CarriedBatches(Batches):
    """Batches with a carry each, for a search: the model's new state of the batch before it, without gradient.

    `dnas.search` makes them of `ContinuedBatches`. The state is a buffer of the model, so that a search that resumes in
    the middle of an epoch finds it in the checkpoint. A forward hook notices calls of the model with the inputs of the
    last batch. If a step makes several such calls, as unrolled hypergradients do, the last one counts: the weight step
    itself for the weights' batches, and the validation loss for the alphas', as in the official code of DARTS
    (https://github.com/quark0/darts, rnn/architect.py).

    A hypergradient that looks ahead over several training batches draws them before the model has seen those in
    between; they then get the newest state that there is.

    Args:
        batches: batches in order, with the same rows at each step.
        model: `model(inputs, carry)` returns `(outputs, new carry)`. It gets the buffer `carry_NAME` (for a state of
            several tensors, one each with a number) and the hook.
        name: name of this stream; training, validation and so on need one each.
        start: the state at the start of every epoch.

    Raises:
        UserError: the model already has a stream of this name.
    """

    def __init__(self, batches: Batches, model: nn.Module, *, name: str, start: Any) -> None:
        self.batches = batches
        self.model = model
        self.start = map_tensors(Tensor.clone, start)
        parts = list(tensors_in(self.start))
        self.buffers = [f"carry_{name}" if len(parts) == 1 else f"carry_{name}_{n}" for n in range(len(parts))]
        if set(self.buffers) & set(dict(model.named_buffers(recurse=False))):
            raise UserError(f"The model already carries the state of {name!r}; every stream needs its own name.")
        device = next(model.parameters(), torch.empty(0)).device
        for buffer, part in zip(self.buffers, parts, strict=True):
            model.register_buffer(buffer, part.clone().to(device))
        self._seen = _Seen()
        self._hook = model.register_forward_hook(_remember(self._seen), with_kwargs=True)

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        if start == 0:
            for buffer, part in zip(self.buffers, tensors_in(self.start), strict=True):
                self.model.get_buffer(buffer).copy_(part)
        for batch in self.batches.epoch(epoch, start):
            state = [self.model.get_buffer(buffer) for buffer in self.buffers]
            arguments, keywords = batch.arguments
            self._seen.arguments, self._seen.keywords, self._seen.state = arguments, keywords, state
            # A copy, since the state is overwritten before the step that started from it goes back through it.
            copies = iter(state)
            yield batch._replace(carry=map_tensors(lambda _, copies=copies: next(copies).clone(), self.start))

    def release(self) -> None:
        """Remove buffers and hook from the model."""
        self._hook.remove()
        for buffer in self.buffers:
            delattr(self.model, buffer)


def _remember(seen: _Seen) -> Any:
    """A forward hook that writes down the new state if the inputs are those of the last batch."""

    # Not a method of the batches: a copy of the model, as `derive` makes, would then copy all the data.
    def hook(module: nn.Module, arguments: tuple[Any, ...], keywords: Mapping[str, Any], output: Any) -> None:
        if seen.state is None or len(arguments) != len(seen.arguments) + 1:
            return
        came, asked = tensors_in((arguments[:-1], keywords)), tensors_in((seen.arguments, seen.keywords))
        if next(came, None) is next(asked, None):
            for state, new in zip(seen.state, tensors_in(output[1]), strict=True):
                state.copy_(new.detach())

    return hook
