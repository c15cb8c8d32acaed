"""The first batches of a loader, on which a shrinking decides before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from dnas.core.batch import Batch
from dnas.data.batches import Batches
from dnas.shrinking.settings import ShrinkSettings
from dnas.system.errors import NonFiniteLoss
from dnas.task.batch_check import BatchCheck, Given, bad_inputs


def first_batches(
    batches: Batches, count: int, *, loader: str, skips: bool, say: Callable[[str], None] = lambda text: None
) -> list[Given]:
    """Up to `count` batches of the first epoch, for `steps_on`.

    Args:
        batches: the loader's.
        count: at least 1.
        loader: what messages call the data, such as 'train'.
        skips: whether batches are left out whose inputs hold NaN or infinity.
        say: is told which these are.

    Raises:
        NonFiniteLoss: inputs hold NaN or infinity; the message names the batch.
    """
    check, found = BatchCheck(loader, len(batches)), list[Given]()
    for index, batch in enumerate(islice(batches.epoch(0), count)):
        given = (check, index, batch)
        bad = bad_inputs([given])
        if not bad:
            found.append(given)
        elif skips:
            say(f"A batch is left out: {bad}.")
        else:
            advice = "Mend the data, or leave such batches out with settings.fine_tuning.skip_non_finite."
            raise NonFiniteLoss(f"The shrinking cannot use {bad}. {advice}")
    if not found:
        raise NonFiniteLoss(f"The inputs of the first {count} batches of {loader} all hold NaN or infinity.")
    return found


def for_statistics(train: Batches, settings: ShrinkSettings) -> list[Batch]:
    """The batches of training data on which statistics of batch norm are measured.

    Raises:
        NonFiniteLoss: as `first_batches`.
    """
    return only_batches(first_batches(train, settings.batches, loader="train", skips=settings.skips_non_finite))


def only_batches(given: list[Given]) -> list[Batch]:
    """The batches alone."""
    return [batch for _, _, batch in given]
