"""Batches that carry a recurrent state from one to the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.batch import Batch
from dnas.data.batches import Batches
from dnas.system.errors import UserError


@dataclass
class _Seen:
    """The inputs of the last batch, and the tensor that its new state is written to."""

    inputs: Any = None
    state: Tensor | None = None


class CarriedBatches(Batches):
    """Batches with a carry: each gets the model's new state of the batch before it, without gradient.

    The state is 0 at the start of every epoch. It is a buffer of the model, so that a search that resumes in the middle
    of an epoch finds it in the checkpoint. A forward hook notices calls of the model with the inputs of the last batch.
    If a step makes several such calls, as unrolled hypergradients do, the last one counts: the weight step itself for
    the weights' batches, and the validation loss for the alphas', as in the official code of DARTS
    (https://github.com/quark0/darts, rnn/architect.py).

    A hypergradient that looks ahead over several training batches draws them before the model has seen those in
    between; they then get the newest state that there is.

    Args:
        batches: batches in order, with the same rows at each step.
        model: `model(inputs, carry)` returns `(outputs, new carry)`. It gets the buffer `carry_NAME` and the hook.
        name: name of this stream; training, validation and so on need one each.
        shape: shape of the state, (batch, hidden).

    Raises:
        UserError: the model already has a stream of this name.
    """

    def __init__(self, batches: Batches, model: nn.Module, *, name: str, shape: tuple[int, ...]) -> None:
        self.batches = batches
        self.model = model
        self.buffer = f"carry_{name}"
        if self.buffer in dict(model.named_buffers(recurse=False)):
            raise UserError(f"The model already carries the state of {name!r}; every stream needs its own name.")
        like = next(model.parameters())
        model.register_buffer(self.buffer, torch.zeros(shape, dtype=like.dtype, device=like.device))
        self._seen = _Seen()
        self._hook = model.register_forward_hook(_remember(self._seen))

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        if start == 0:
            self.model.get_buffer(self.buffer).zero_()
        for batch in self.batches.epoch(epoch, start):
            state = self.model.get_buffer(self.buffer)
            self._seen.inputs, self._seen.state = batch.inputs, state
            # A copy, since the state is overwritten before the step that started from it goes back through it.
            yield batch._replace(carry=state.clone())

    def release(self) -> None:
        """Remove buffer and hook from the model."""
        self._hook.remove()
        delattr(self.model, self.buffer)


def _remember(seen: _Seen) -> Any:
    """A forward hook that writes down the new state if the inputs are those of the last batch."""

    # Not a method of the batches: a copy of the model, as `derive` makes, would then copy all the data.
    def hook(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        if seen.state is not None and len(arguments) == 2 and arguments[0] is seen.inputs:
            seen.state.copy_(output[1].detach())

    return hook
