"""A supernet, its task and the data are tried on one batch, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dnas.core.batch import Batch
from dnas.core.candidate_trial import check_candidates
from dnas.core.described import described
from dnas.data.batches import Batches
from dnas.searching.seeded_batches import first_of_own
from dnas.searching.supernet import Supernet
from dnas.system.errors import in_own_code
from dnas.task.batch_check import IGNORED, BatchCheck, steps_on
from dnas.task.classification import check_labels
from dnas.task.measurement import Tally


class FirstBatches:
    """The checks of the loaders of a search; before the first step everything is tried on a batch of each.

    Args:
        loaders: batches by the name that messages call them, 'train' first.
    """

    def __init__(self, loaders: Mapping[str, Batches]) -> None:
        self.loaders = dict(loaders)
        self.checks = {name: BatchCheck(name, len(batches)) for name, batches in loaders.items()}

    def try_all(self, supernet: Supernet, step: int, batch: Batch) -> None:
        """Try the first training batch, and the first batch of every other loader of the user's own.

        Raises:
            UserError: names what does not fit, and the batch.
        """
        self.try_one(supernet, "train", step, batch)
        for name, batches in self.loaders.items():
            first = None if name == "train" else first_of_own(batches)
            if first is not None:
                self.try_one(supernet, name, 0, first)

    def try_one(self, supernet: Supernet, name: str, index: int, batch: Batch) -> None:
        """Check that the model takes a batch, that candidates can be mixed, and that the criterion takes the outputs.

        No trace is left: weights, buffers and torch's random generators are afterwards as before.

        Raises:
            UserError: names what does not fit, and what came.
        """
        check = self.checks[name]
        with steps_on((check, index, batch)):
            check_candidates(supernet.model, lambda model: check.note(batch, _try(model, supernet, batch)))


def _try(model: nn.Module, supernet: Supernet, batch: Batch) -> Any:
    """The outputs, after task and criterion have taken them."""
    outputs = supernet.read(_outputs(model, batch))
    if supernet.task is not None:
        supernet.task.check(outputs, batch.targets)
    elif supernet.criterion is nn.functional.cross_entropy and _are_labels(outputs, batch.targets):
        # A label out of range would make a GPU unusable; the criterion leaves out samples of class -100.
        check_labels(batch.targets[batch.targets != IGNORED], outputs.shape[1])
    named = getattr(supernet.criterion, "__qualname__", type(supernet.criterion).__qualname__)
    came = f"outputs, {described(outputs)}, and targets, {described(batch.targets)}"
    with in_own_code(lambda: f"The criterion {named} cannot take two arguments, {came}"):
        supernet.criterion(outputs, batch.targets)
    if supernet.task is not None:  # its metrics take the outputs too
        Tally(supernet.task, intervals=False).add(outputs, batch.targets)
    return outputs


def _are_labels(outputs: Any, targets: Any) -> bool:
    return all(isinstance(value, Tensor) for value in (outputs, targets)) and (outputs.ndim, targets.ndim) == (2, 1)


def _outputs(model: nn.Module, batch: Batch) -> Any:
    arguments, keywords = batch.arguments
    if batch.carry is not None:
        arguments = (*arguments, batch.carry)
    with in_own_code(lambda: f"The model {type(model).__name__} cannot take the inputs, {described(batch.inputs)}"):
        outputs = model(*arguments, **keywords)
        return outputs if batch.carry is None else outputs[0]
