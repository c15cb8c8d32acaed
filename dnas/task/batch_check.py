"""What is wrong with a batch of a user's own loader, said with the loader and the number of the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from dnas.core.batch import Batch, tensors_in
from dnas.core.described import described
from dnas.system.errors import MISFITS, UserError, is_out_of_memory

IGNORED = -100  # the label that cross entropy leaves out


class BatchCheck:
    """Names the batches of one loader on which a step fails.

    Searches, trainings and evaluations take each step within `steps_on`. It costs nothing while nothing fails; then the
    batch is looked at, and compared with the first one.

    Args:
        loader: what messages call the data, such as 'train'.
        length: number of its batches in an epoch.
    """

    def __init__(self, loader: str, length: int) -> None:
        self.loader, self.length = loader, max(length, 1)
        self._first: Any = None  # shapes and types of the first batch
        self._num_classes: int | None = None

    def note(self, batch: Batch, outputs: Any = None) -> None:
        """Remember what the first batch is, and how many classes outputs `(batch, classes)` tell apart."""
        if self._first is None:
            self._first = _kind_of(batch)
        if isinstance(outputs, Tensor) and outputs.ndim == 2:
            self._num_classes = outputs.shape[1]

    def place(self, index: int) -> str:
        """Such as 'batch 3 of train (epoch 1)', both counted from 0."""
        epoch, at = divmod(index, self.length)
        return f"batch {at} of {self.loader} (epoch {epoch})"

    def wrong_with(self, batch: Batch) -> str:
        """What the batch holds that it should not, in words; empty where nothing is found."""
        bad = non_finite_samples(batch.inputs)
        if bad:
            return bad
        if self._first is not None and _kind_of(batch) != self._first:
            came = f"its inputs are {described(batch.inputs)} and its targets {described(batch.targets)}"
            return f"{came}, which differs from the first batch in more than the number of samples"
        return _labels_out_of_range(batch.targets, self._num_classes)

    def said_of_inputs(self, index: int, batch: Batch) -> str:
        """A sentence, after a blank, on whether the inputs of a batch at which a loss became NaN were finite."""
        bad = non_finite_samples(batch.inputs)
        return f" It came to {self.place(index)}: {bad}." if bad else f" The inputs of {self.place(index)} are finite."


Given = tuple[BatchCheck, int, Batch]  # a batch with its loader's check and its number from 0 over all epochs


@contextmanager
def steps_on(*given: Given) -> Iterator[None]:
    """Within the block a step is taken on batches of loaders.

    Raises:
        UserError: the step failed; the message names the batch, and what it holds that it should not.
    """
    for check, _, batch in given:
        check.note(batch)
    places = places_of(given)
    try:
        yield
    except UserError as error:
        if type(error) is not UserError:
            raise
        raise UserError(f"{error} This is {places}.") from error
    except MISFITS as error:
        wrong = "" if is_out_of_memory(error) else _first_wrong(given)
        if not wrong:
            error.add_note(f"This is {places}.")
            raise
        raise UserError(wrong) from error


def places_of(given: Sequence[Given]) -> str:
    """The batches in words, such as 'batch 3 of train (epoch 1) and batch 3 of val (epoch 1)'."""
    return " and ".join(check.place(index) for check, index, _ in given)


def bad_inputs(given: Sequence[Given]) -> str:
    """The first batch whose inputs hold NaN or infinity, in words; empty if there is none."""
    found = ((check.place(index), non_finite_samples(batch.inputs)) for check, index, batch in given)
    return next((f"{place}: {bad}" for place, bad in found if bad), "")


def _first_wrong(given: Sequence[Given]) -> str:
    for check, index, batch in given:
        wrong = check.wrong_with(batch)
        if wrong:
            return f"{check.place(index).capitalize()} cannot be used: {wrong}."
    return ""


def non_finite_samples(inputs: Any) -> str:
    """Where inputs hold NaN or infinity, in words; empty if they are finite."""
    for tensor in tensors_in(inputs):
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            samples = tensor.isfinite().reshape(len(tensor) if tensor.ndim else 1, -1).all(1)
            bad = (~samples).nonzero()[:, 0]
            return (
                f"its inputs hold NaN or infinity in {len(bad)} of {len(samples)} samples, the first is sample "
                f"{int(bad[0])}"
            )
    return ""


def _labels_out_of_range(targets: Any, num_classes: int | None) -> str:
    if num_classes is None or not isinstance(targets, Tensor) or targets.ndim != 1 or targets.is_floating_point():
        return ""
    outside = (((targets < 0) & (targets != IGNORED)) | (targets >= num_classes)).nonzero()[:, 0]
    if not len(outside):
        return ""
    first = int(outside[0])
    return (
        f"{len(outside)} of its {len(targets)} labels are no class of the network, the first is {int(targets[first])} "
        f"of sample {first}; its outputs stand for classes 0 to {num_classes - 1}"
    )


def _kind_of(value: Any) -> Any:
    """Shapes and types without the number of samples, in nested containers."""
    if isinstance(value, Tensor):
        return value.dtype, tuple(value.shape[1:])
    if isinstance(value, PackedSequence):
        return _kind_of(value.data)
    if isinstance(value, dict):
        return {name: _kind_of(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [_kind_of(part) for part in value]
    return type(value)
