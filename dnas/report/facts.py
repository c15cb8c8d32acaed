"""What the files of a run folder say, as plain data for a report.

All of it may have been written by anybody: files are read through `dnas.system.reading`, entries through `plain`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnas.core.architecture import Architecture
from dnas.core.run import RETRAIN, Run
from dnas.report.plain import items
from dnas.searching.mixture_history import EpochMixtures
from dnas.system.errors import UserError
from dnas.system.reading import read_text

MOST_EPOCHS = 60  # that a report shows; of more it takes evenly spaced ones
# A run folder holds one of these files: those that Python functions write have no settings.
_ANY_OF = ("config.yaml", "metrics.jsonl", "architecture.json", "shrink.json", "table.csv")
_MOST_CLASSES = 40  # of a confusion matrix that is drawn


@dataclass(frozen=True)
class Confusion:
    """Class names, and how many samples of each true class (row) were taken for each class (column)."""

    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Facts:
    """What is known of a run.

    Args:
        name: of its folder.
        folder: its path, as it was given.
        config: of config.yaml; empty where there is none.
        epochs: the rows of metrics at the end of each epoch of the search.
        architecture: what was found; None before the search has ended.
        evolution: by epoch, what would have been found after it.
        mixtures: of epochs, in order; empty where they are not known.
        retraining: the rows of metrics at the end of each epoch of the retraining.
        search, evaluation, comparison, budget, shrinking: of the JSON files of these names; empty where there are none.
        confusion: of the test part; None where there is none.
        mistakes: misclassified images of the test part.
        fronts: unit -> the places of a front.
        compared: the rows of table.csv of a comparison of recipes, the first with the names; empty where there is none.
        caption: what its table.md says above the table.
        trajectory: the rows of its trajectory.csv, likewise.
        cells: the table of a language run, comparison.txt; empty where there is none.
    """

    name: str
    folder: str
    config: Mapping[str, Any]
    epochs: Sequence[Mapping[str, Any]]
    architecture: Architecture | None
    evolution: Sequence[tuple[int, Architecture]]
    mixtures: Sequence[EpochMixtures]
    retraining: Sequence[Mapping[str, Any]]
    search: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    comparison: Mapping[str, Any]
    budget: Mapping[str, Any]
    shrinking: Mapping[str, Any]
    confusion: Confusion | None
    mistakes: Sequence[Any]
    fronts: Mapping[str, Sequence[Any]]
    compared: Sequence[Sequence[str]]
    caption: str = ""
    trajectory: Sequence[Sequence[str]] = ()
    cells: str = ""

    @property
    def is_language(self) -> bool:
        """Whether it is a run of `dnas language`."""
        return "language" in self.config


def facts_of(run: Run, mixtures: Sequence[EpochMixtures] = ()) -> Facts:
    """Read a run folder.

    Args:
        run: folder of a search, a shrinking, or a comparison of recipes.
        mixtures: of its epochs, where the caller knows them.

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it is of a run.
        UserError: a file in it is damaged.
    """
    if not run.path.is_dir():
        raise FileNotFoundError(f"There is no run folder {run.path}.")
    if not any((run.path / name).exists() for name in _ANY_OF):
        raise FileNotFoundError(f"{run.path} is not a run folder: it holds none of {', '.join(_ANY_OF)}.")
    front = run.path / "front"
    units = sorted(path.name for path in front.iterdir() if path.is_dir()) if front.is_dir() else []
    return Facts(
        name=run.path.resolve().name,
        folder=str(run.path),
        config=run.read_config() if run.config_path.exists() else {},
        epochs=_epochs(run),
        architecture=Architecture.load(run.architecture_path) if run.architecture_path.exists() else None,
        evolution=_evolution(run),
        mixtures=some(mixtures),
        retraining=_epochs(run.child(RETRAIN)),
        search=_json(run, "search"),
        evaluation=_json(run.child("evaluation"), "evaluation"),
        comparison=_json(run.child("baseline"), "comparison"),
        budget=_json(run, "budget"),
        shrinking=_json(run, "shrink"),
        confusion=_confusion(run.path / "evaluation" / "confusion.csv"),
        mistakes=items(_json(run.child("evaluation"), "mistakes"), "mistakes"),
        fronts={unit: _list(run.child("front").child(unit), "front") for unit in units},
        compared=_table(run.path / "table.csv"),
        caption=_caption(run.path / "table.md"),
        trajectory=_table(run.path / "trajectory.csv"),
        cells=_text(run.path / "comparison.txt"),
    )


def some(values: Sequence[Any]) -> list[Any]:
    """At most `MOST_EPOCHS` of them, evenly spaced, with the first and the last."""
    if len(values) <= MOST_EPOCHS:
        return list(values)
    step = (len(values) - 1) / (MOST_EPOCHS - 1)
    return [values[round(index * step)] for index in range(MOST_EPOCHS)]


def _json(run: Run, name: str) -> Mapping[str, Any]:
    if not (run.path / f"{name}.json").exists():
        return {}
    data = run.load_json(name)
    return data if isinstance(data, Mapping) else {}


def _list(run: Run, name: str) -> Sequence[Any]:
    return items({"x": run.load_json(name)}, "x") if (run.path / f"{name}.json").exists() else []


def _epochs(run: Run) -> list[dict[str, Any]]:
    """Rows at the end of epochs; of an epoch that was repeated the last one."""
    rows = {row.get("epoch"): row for row in run.metrics() if row.get("phase") == "epoch"}
    return [row for epoch, row in rows.items() if isinstance(epoch, int)]


def _evolution(run: Run) -> list[tuple[int, Architecture]]:
    found = []
    for path in sorted((run.path / "architectures").glob("epoch_*.json")):
        number = path.stem.removeprefix("epoch_")
        if number.isdecimal() and len(number) < 10:
            found.append((int(number), path))
    return [(epoch, Architecture.load(path)) for epoch, path in some(sorted(found))]


def _table(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    try:
        return [row for row in csv.reader(io.StringIO(read_text(path))) if row]
    except csv.Error as error:
        raise UserError(f"{path} is no table of comma-separated values: {error}.") from error


def _caption(path: Path) -> str:
    return _text(path).partition("\n")[0]


def _text(path: Path) -> str:
    return read_text(path) if path.exists() else ""


def _confusion(path: Path) -> Confusion | None:
    """The matrix of a file; None where there is none, or where it has too many classes to be drawn.

    Raises:
        UserError: it is no square of whole numbers.
    """
    rows = _table(path)
    if not rows or len(rows) > _MOST_CLASSES + 1:
        return None
    names = tuple(rows[0][1:])
    try:
        counts = tuple(tuple(int(field) for field in row[1:]) for row in rows[1:])
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.") from error
    if len(counts) != len(names) or any(len(row) != len(names) or min(row, default=-1) < 0 for row in counts):
        raise UserError(f"{path} is damaged: expected {len(names)} rows of {len(names)} counts, none below 0.")
    return Confusion(names, counts) if names else None
