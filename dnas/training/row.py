"""One network of a comparison: what it is, how good it is, and how long its training took."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dnas.core.architecture import Architecture
from dnas.system.errors import UserError

_TYPES = {
    "name": str,
    "parameters": int,
    "metric": str,
    "better": str,
    "validation": float,
    "test": float,
    "test_interval_95": list | None,
    "seconds": float,
    "architecture": dict,
}
# Rows of classifiers had these entries before there were other metrics.
_OLD = {"validation_top1": "validation", "test_top1": "test"}


@dataclass(frozen=True)
class Row:
    """One network that was trained.

    Args:
        name: the network's name in the table.
        architecture: the network's architecture.
        parameters: number of parameters, without those that only training uses.
        validation: value of the metric on samples held out from its training; networks are chosen by it.
        test: value of the metric on the test part; it is only reported.
        seconds: duration of its training.
        metric: name of the metric that decides which network is best.
        better: which values of it are better.
        test_interval: 95 % interval of `test` for samples of the same kind; None if it is not known.

    Raises:
        UserError: a value is not finite, or the time is not over 0.
    """

    name: str
    architecture: Architecture
    parameters: int
    validation: float
    test: float
    seconds: float
    metric: str = "top1"
    better: Literal["higher", "lower"] = "higher"
    test_interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise UserError(f"{name} of {self.name!r}, its {self.metric}, must be a finite number; got {value}.")
        if self.better not in ("higher", "lower"):
            raise UserError(f"better of {self.name!r} must be 'higher' or 'lower'; got {self.better!r}.")
        if not 0 < self.seconds < math.inf:
            raise UserError(f"seconds of {self.name!r} must be over 0; got {self.seconds}.")

    def is_better(self, value: float, other: float) -> bool:
        """Whether one value of the metric is strictly better than another."""
        return value > other if self.better == "higher" else value < other

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "metric": self.metric,
            "better": self.better,
            "validation": self.validation,
            "test": self.test,
            "test_interval_95": None if self.test_interval is None else list(self.test_interval),
            "seconds": self.seconds,
            "architecture": self.architecture.to_data(),
        }

    @staticmethod
    def from_data(data: Any, *, source: str) -> Row:
        """Read and check what `to_data` gives, or gave for classifiers before it named the metric.

        Args:
            data: contents of a JSON file.
            source: what messages call it.

        Raises:
            UserError: an entry is missing or of a wrong type.
        """
        if isinstance(data, Mapping) and set(_OLD) <= set(data):
            data = {_OLD.get(name, name): value for name, value in data.items()}
            data = {"metric": "top1", "better": "higher", "test_interval_95": None, **data}
        if not isinstance(data, Mapping) or set(data) != set(_TYPES):
            raise UserError(f"{source} must hold the entries {list(_TYPES)}; got {data!r}.")
        for name, kind in _TYPES.items():
            if not isinstance(data[name], kind) or isinstance(data[name], bool):
                raise UserError(
                    f"{source}: {name} must be of type {getattr(kind, '__name__', kind)}; got {data[name]!r}."
                )
        interval = data["test_interval_95"]
        if interval is not None and not (len(interval) == 2 and all(isinstance(end, float) for end in interval)):
            raise UserError(f"{source}: test_interval_95 must be two numbers; got {interval!r}.")
        return Row(
            name=data["name"],
            architecture=Architecture.from_json(json.dumps(data["architecture"]), source=f"{source}, architecture"),
            parameters=data["parameters"],
            validation=data["validation"],
            test=data["test"],
            seconds=data["seconds"],
            metric=data["metric"],
            better=data["better"],
            test_interval=None if interval is None else (interval[0], interval[1]),
        )
