"""Batches from any iterable of (inputs, targets), such as a `torch.utils.data.DataLoader`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import Dataset

from dnas.core.batch import Batch, to_device
from dnas.data.batches import Batches, check_start
from dnas.system.errors import UserError

# Under which names a batch that is one dict may hold its labels.
LABELS = ("labels", "label", "targets", "target")


class IterableBatches(Batches):
    """A user's own loader as batches.

    Whether an epoch that is started in the middle goes on with the same batches is up to the loader: it is iterated
    from its beginning and the first ones are passed over. One that shuffles with the global generator of torch gives
    another order each time.

    Args:
        loader: can be iterated again and again, has a length, and yields `(inputs, targets)`, one dict with the inputs
            and its labels under one of the names in `LABELS`, or a `Batch`; inputs and targets are tensors or numpy
            arrays, or tuples, lists or dicts of them.
        device: where batches come out.

    Raises:
        UserError: the loader has no length or can be iterated only once, or is a data set of single samples.
    """

    def __init__(self, loader: Iterable[Any], *, device: torch.device | str = "cpu") -> None:
        if isinstance(loader, Dataset):
            raise UserError(
                f"A {type(loader).__name__} gives single samples; expected batches. Put it into a loader: "
                "torch.utils.data.DataLoader(dataset, batch_size=64, shuffle=True)."
            )
        if isinstance(loader, Iterator):
            raise UserError(
                f"A {type(loader).__name__} can be iterated only once; expected a list, a DataLoader or an object "
                "whose __iter__ starts anew."
            )
        try:
            self._length = len(loader)  # pyright: ignore[reportArgumentType]
        except TypeError as error:
            raise UserError(
                f"A {type(loader).__name__} without a length cannot be used; give it a __len__ that returns its number "
                "of batches."
            ) from error
        if self._length == 0:
            raise UserError(f"The {type(loader).__name__} holds no batches.")
        self.loader = loader
        self.device = torch.device(device)

    def __len__(self) -> int:
        return self._length

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The loader's batches from batch `start` on; the loader does not learn the number of the epoch.

        Raises:
            UserError: `start` is not 0 to the number of batches, the loader yields fewer batches than its length
                says, or something else than pairs of tensors.
        """
        check_start(start, self._length)
        count = start
        for item in islice(self.loader, start, self._length):
            yield to_device(as_batch(item), self.device)
            count += 1
        if count < self._length:
            raise UserError(f"The loader's length is {self._length}, but it yielded {count} batches.")


def as_batch(item: Any) -> Batch:
    """What a loader yielded as a `Batch`, numpy arrays as tensors that share their memory.

    Raises:
        UserError: it is no pair, or holds something that is no tensor.
    """
    if isinstance(item, Batch):
        return Batch(_tensors(item.inputs), _tensors(item.targets), item.carry)
    if isinstance(item, Mapping):
        return _labelled(item)
    if not isinstance(item, tuple | list) or len(item) != 2:
        got = f"{type(item).__name__} of length {len(item)}" if isinstance(item, tuple | list) else type(item).__name__
        raise UserError(
            f"A loader must yield pairs (inputs, targets), or one dict with the inputs and {' or '.join(LABELS)}; "
            f"got a {got}."
        )
    return Batch(_tensors(item[0]), _tensors(item[1]))


def _labelled(item: Mapping[str, Any]) -> Batch:
    """A dict that holds inputs and labels, as the inputs by name and the labels."""
    labels = [name for name in LABELS if name in item]
    if len(labels) != 1 or len(item) < 2:
        raise UserError(
            f"A batch that is one dict must hold its labels under one of the names {', '.join(LABELS)}, beside the "
            f"inputs; it holds {', '.join(map(str, item)) or 'nothing'}. Or yield pairs (inputs, targets)."
        )
    return Batch({name: _tensors(part) for name, part in item.items() if name != labels[0]}, _tensors(item[labels[0]]))


def _tensors(value: Any) -> Any:
    """Tensors and arrays in nested containers as tensors; lists, which a DataLoader makes of tuples, as tuples."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, PackedSequence):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return torch.as_tensor(value)
    if isinstance(value, Mapping):
        return {key: _tensors(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_tensors(part) for part in value)
    raise UserError(
        f"Inputs and targets must be tensors or numpy arrays, or tuples, lists or dicts of them; got a "
        f"{type(value).__name__}."
    )
