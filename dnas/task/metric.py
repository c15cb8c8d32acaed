"""A number by which networks are judged, and its direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from dnas.system.errors import UserError


@runtime_checkable
class StatefulMetric(Protocol):
    """A metric that cannot be averaged over batches, such as an area under a curve; torchmetrics' objects are such."""

    def reset(self) -> None:
        """Forget all samples."""
        ...

    def update(self, outputs: Any, targets: Any, /) -> None:
        """Take in one batch."""
        ...

    def compute(self) -> Any:
        """The value over all samples since `reset`: a number or a tensor of one element."""
        ...


@dataclass(frozen=True)
class Metric:
    """How one number is made from outputs and targets, and which values of it are better.

    Args:
        measure: a function of `(outputs, targets)` that gives one value per sample, `(batch,)`, or the mean over the
            batch, a scalar; values are then averaged over all samples. Or an object with `reset`, `update` and
            `compute`, for what is no mean over samples.
        better: which values are better, 'higher' or 'lower'.

    Raises:
        UserError: `measure` is neither of these, or the direction is unknown.

    Example:
        >>> error = Metric(lambda outputs, targets: (outputs - targets).abs(), better="lower")
        >>> error.is_better(0.1, 0.2)
        True
    """

    measure: Callable[[Any, Any], Tensor | float] | StatefulMetric
    better: Literal["higher", "lower"]

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise UserError(f"better must be 'higher' or 'lower'; got {self.better!r}.")
        if not callable(self.measure) and not isinstance(self.measure, StatefulMetric):
            raise UserError(
                "A metric must be a function of (outputs, targets), or an object with reset, update and compute; "
                f"got {type(self.measure).__name__}."
            )

    def is_better(self, value: float, other: float) -> bool:
        """Whether `value` is strictly better than `other`."""
        return value > other if self.better == "higher" else value < other


def as_metric(name: str, given: object) -> Metric:
    """A metric itself, or one made from an object that says by `higher_is_better` which values are better.

    Raises:
        UserError: nothing says which values are better.
    """
    if isinstance(given, Metric):
        return given
    higher = getattr(given, "higher_is_better", None)  # of torchmetrics' objects
    if isinstance(higher, bool):
        return Metric(given, "higher" if higher else "lower")  # pyright: ignore[reportArgumentType]
    raise UserError(
        f"Which values of the metric {name!r} are better? Write dnas.Metric(measure, better='higher') or 'lower'; "
        f"got {type(given).__name__}."
    )
