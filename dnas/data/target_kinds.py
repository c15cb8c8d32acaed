"""Which targets an array holds: its task says it, or, where none is named, its type and its shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnas.data.sample_kind import SampleKind, Targets
from dnas.system.errors import UserError
from dnas.task.base import Task
from dnas.task.classification import Classification
from dnas.task.language import LanguageModelling
from dnas.task.multilabel import MultiLabel
from dnas.task.regression import Regression
from dnas.task.segmentation import Segmentation

MOST_CLASSES = 65_536  # of a class for each place; only a damaged file has more

_OF_TASKS: tuple[tuple[type[Task], Targets], ...] = (
    (Classification, "class"),
    (Regression, "numbers"),
    (MultiLabel, "labels"),
    (Segmentation, "map"),
    (LanguageModelling, "map"),
)
_EXPECTED: dict[Targets, str] = {
    "class": "one whole number from 0 up for each sample",
    "numbers": "one or more numbers for each sample",
    "labels": "0 or 1 for each label, (samples, labels)",
    "map": "a whole number from 0 up for each place, such as (samples, height, width)",
}


def targets_of(task: Task | None, array: NDArray[Any]) -> Targets:
    """What the targets `(samples, ...)` are.

    Without a task that says it, real numbers are numbers; whole ones are a class where there is one for each sample,
    labels where `(samples, labels)` holds 0 and 1 alone, else a class for each place.
    """
    for kind, targets in _OF_TASKS:
        if isinstance(task, kind):
            return targets
    if array.dtype.kind == "f":
        return "numbers"
    if array.ndim == 1 or array.shape[1:] == (1,):
        return "class"
    return "labels" if array.ndim == 2 and set(np.unique(array).tolist()) <= {0, 1} else "map"


def task_of(kind: SampleKind) -> Task:
    """The task that samples of this kind stand for, where none is named."""
    if kind.targets == "map":
        return LanguageModelling() if kind.inputs == "tokens" else Segmentation()
    return {"class": Classification(), "numbers": Regression(), "labels": MultiLabel()}[kind.targets]


def ignored_by(task: Task | None) -> int:
    """The target of places that do not count."""
    return task.ignored if isinstance(task, Segmentation) else Segmentation().ignored


def check_targets(name: str, array: NDArray[Any], targets: Targets, *, ignored: int) -> None:
    """Check that an array `(samples, ...)` holds such targets.

    Raises:
        UserError: names the array, what it holds and what was expected.
    """
    is_real, each = array.dtype.kind == "f", array.ndim == 1 or array.shape[1:] == (1,)
    counted = array[array != ignored] if targets == "map" else array
    problem = ""
    if targets == "numbers":
        problem = "" if not is_real or bool(np.isfinite(array).all()) else "it holds NaN or infinity"
    elif targets == "labels":
        wrong = np.setdiff1d(array, (0, 1))
        problem = f"it holds {wrong[0]}" if len(wrong) else "" if array.ndim == 2 else "it has no labels"
    elif is_real or each != (targets == "class"):
        problem = "its type or its shape is another"
    elif counted.size and counted.min() < 0:
        problem = f"it holds {counted.min()}"
    if problem:
        raise UserError(
            f"{name} is {array.dtype} of shape {array.shape}: {problem}; expected {_EXPECTED[targets]}. The targets "
            "decide the task unless --task names another."
        )


def num_outputs_of(name: str, array: NDArray[Any], targets: Targets, *, ignored: int) -> int:
    """How many classes, labels or numbers the targets of training tell apart.

    Raises:
        UserError: more classes than any data have.
    """
    if targets in ("numbers", "labels"):
        return array.shape[1] if array.ndim > 1 else 1
    counted = array[array != ignored] if targets == "map" else array
    if not counted.size:
        raise UserError(f"{name} holds no target but {ignored}, which is ignored.")
    count = int(counted.max()) + 1
    if count > (MOST_CLASSES if targets == "map" else array.size):
        raise UserError(
            f"{name} has classes up to {count - 1}, for {array.size} targets. Number the classes from 0, without gaps."
        )
    return count
