"""A supernet, its task and the data are tried on one batch, before anything is trained."""

from __future__ import annotations

from typing import Any

from torch import nn

from dnas.core.batch import Batch
from dnas.core.candidate_trial import check_candidates
from dnas.core.described import described
from dnas.searching.supernet import Supernet
from dnas.system.errors import in_own_code


def try_batch(supernet: Supernet, batch: Batch) -> None:
    """Check that the model takes a batch, that candidates can be mixed, and that the criterion takes the outputs.

    No trace is left: weights, buffers and torch's random generators are afterwards as before.

    Raises:
        UserError: names what does not fit, and what came.
    """
    check_candidates(supernet.model, lambda model: _try(model, supernet, batch))


def _try(model: nn.Module, supernet: Supernet, batch: Batch) -> None:
    outputs = _outputs(model, batch)
    if supernet.task is not None:
        supernet.task.check(outputs, batch.targets)
    named = getattr(supernet.criterion, "__qualname__", type(supernet.criterion).__qualname__)
    came = f"outputs, {described(outputs)}, and targets, {described(batch.targets)}"
    with in_own_code(lambda: f"The criterion {named} cannot take two arguments, {came}"):
        supernet.criterion(outputs, batch.targets)


def _outputs(model: nn.Module, batch: Batch) -> Any:
    arguments, keywords = batch.arguments
    if batch.carry is not None:
        arguments = (*arguments, batch.carry)
    with in_own_code(lambda: f"The model {type(model).__name__} cannot take the inputs, {described(batch.inputs)}"):
        outputs = model(*arguments, **keywords)
        return outputs if batch.carry is None else outputs[0]
