"""One finished run of a comparison: what was found, under which settings, and how good it is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dnas.core.architecture import Architecture
from dnas.formats import architecture_text
from dnas.system.atomic import write_text
from dnas.system.errors import UserError
from dnas.system.reading import read_json

# Entries that a row's file has where they are known, and their names here.
_ADDED = {"kendall_tau": "agreement", "compute": "compute", "flops": "flops"}


@dataclass(frozen=True)
class Found:
    """An architecture and its accuracies.

    Args:
        architecture: an architecture of the space that was searched.
        values: accuracy in percent by column of a table.
        epoch: epoch after which the search would have given it; 0 for the end of the search.
    """

    architecture: Architecture
    values: Mapping[str, float] = field(default_factory=dict)
    epoch: int = 0

    @property
    def string(self) -> str:
        """NAS-Bench-201 string, genotype, or JSON."""
        return architecture_text(self.architecture)

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {
            "epoch": self.epoch,
            "string": self.string,
            "values": dict(self.values),
            "architecture": self.architecture.to_data(),
        }

    @staticmethod
    def from_data(data: Any, *, source: str) -> Found:
        """Validate what `to_data` gives.

        Raises:
            UserError: an entry is missing or of a wrong type.
        """
        _check_entries(data, {"epoch": int, "string": str, "values": dict, "architecture": dict}, source)
        for column, value in data["values"].items():
            if not isinstance(value, int | float):
                raise UserError(f"{source}: the value of {column!r} must be a number; got {value!r}.")
        architecture = Architecture.from_json(json.dumps(data["architecture"]), source=f"{source}, architecture")
        return Found(architecture, {name: float(value) for name, value in data["values"].items()}, data["epoch"])


@dataclass(frozen=True)
class CompareRow:
    """The result of one search of a comparison.

    Args:
        recipe: name of the recipe.
        seed: seed of the search.
        settings: the job as plain data.
        environment: versions, commit, device and threads under which the search ran.
        seconds: duration of the search.
        found: the architecture at the end; None if the search failed.
        trajectory: the architecture that the search would have given after each epoch.
        table: digest of the table in which values were looked up; empty if they are measured.
        failure: why there is no result; empty if there is one.
        agreement: Kendall's tau between the supernet's ranking and the table's at the end; None if not measured.
        compute: seconds of compute of the search (`dnas.system.compute`); None where it was not counted.
        flops: FLOPs of an opponent's trainings (`Contest.training_flops`); None of a search, which are not counted.
    """

    recipe: str
    seed: int
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    seconds: float
    found: Found | None
    trajectory: tuple[Found, ...] = ()
    table: str = ""
    failure: str = ""
    agreement: float | None = None
    compute: float | None = None
    flops: float | None = None

    @property
    def values(self) -> Mapping[str, float]:
        """Values of the architecture that was found, by column; empty where the search failed."""
        return {} if self.found is None else self.found.values

    @property
    def device(self) -> str:
        """Where the search ran, such as 'cpu, 1 thread'."""
        return re.sub(r"\b1 threads$", "1 thread", str(self.environment.get("device", "unknown")))

    def with_values(self, values: Mapping[str, float]) -> CompareRow:
        """The row with more values of what was found."""
        assert self.found is not None
        return replace(self, found=replace(self.found, values={**self.found.values, **values}))

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        # Files from before they were measured have no such entries, and those without them need none.
        added = {name: getattr(self, entry) for name, entry in _ADDED.items() if getattr(self, entry) is not None}
        return {
            **added,
            "recipe": self.recipe,
            "seed": self.seed,
            "failure": self.failure,
            "seconds": self.seconds,
            "table": self.table,
            "settings_digest": digest(self.settings),
            "environment": dict(self.environment),
            "settings": dict(self.settings),
            "found": None if self.found is None else self.found.to_data(),
            "trajectory": [found.to_data() for found in self.trajectory],
        }

    def save(self, path: Path) -> None:
        """Write the row, whole or not at all."""
        write_text(path, json.dumps(self.to_data(), indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> CompareRow:
        """Read what `save` wrote.

        Raises:
            UserError: names the file and what is wrong in it.
        """
        try:
            data = read_json(path, finite=False)  # Kendall's tau of equal accuracies is NaN
        except UserError as error:
            raise UserError(f"{path} is damaged: {error} Remove it to have the row made anew.") from error
        texts = dict.fromkeys(("recipe", "failure", "table", "settings_digest"), str)
        kinds = {**texts, "seed": int, "seconds": float, "environment": dict, "settings": dict, "trajectory": list}
        source = f"{path} is damaged, remove it to have the row made anew"
        is_found = isinstance(data, Mapping) and data.get("found") is not None
        added = {name: float for name in _ADDED if isinstance(data, Mapping) and name in data}
        _check_entries(data, {**kinds, **added, "found": dict if is_found else type(None)}, source)
        if digest(data["settings"]) != data["settings_digest"]:
            raise UserError(f"{source}: the settings in it are not those that it was made under.")
        if (data["found"] is None) == (not data["failure"]):
            raise UserError(f"{source}: it must hold either what was found or a failure.")
        return CompareRow(
            recipe=data["recipe"],
            seed=data["seed"],
            settings=data["settings"],
            environment=data["environment"],
            seconds=data["seconds"],
            found=None if data["found"] is None else Found.from_data(data["found"], source=f"{source}: found"),
            trajectory=tuple(
                Found.from_data(part, source=f"{source}: trajectory, entry {index}")
                for index, part in enumerate(data["trajectory"])
            ),
            table=data["table"],
            failure=data["failure"],
            agreement=data.get("kendall_tau"),
            compute=data.get("compute"),
            flops=data.get("flops"),
        )


def _check_entries(data: Any, kinds: Mapping[str, type], source: str) -> None:
    if not isinstance(data, Mapping) or set(data) != set(kinds):
        got = sorted(data) if isinstance(data, Mapping) else data
        raise UserError(f"{source}: expected the entries {list(kinds)}; got {got!r}.")
    for name, kind in kinds.items():
        if type(data[name]) is not kind:
            raise UserError(f"{source}: {name} must be of type {kind.__name__}; got {data[name]!r}.")


def digest(settings: Mapping[str, Any]) -> str:
    """A text that changes with any setting."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
