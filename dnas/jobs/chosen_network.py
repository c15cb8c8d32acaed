"""Which trained network of a run a command takes: the one that was found, or a better one of its comparison."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dnas.core.run import RETRAIN, Run
from dnas.shipping.package import SPEC_FILE
from dnas.system.errors import UserError
from dnas.task.words import called, shown
from dnas.training.baseline import FOLDER
from dnas.training.row import Row

FOUND, BEST = "found", "best"


class ChosenNetwork(NamedTuple):
    """A trained network of a run.

    Args:
        folder: holds its network.json, or is the run where that was not compared.
        why: a sentence on which one it is; empty where it was named or there was nothing to choose.
    """

    folder: Path
    why: str


class _Compared(NamedTuple):
    """A network of a comparison, where it lies, and whether that is the run's own retraining."""

    row: Row
    folder: Path
    is_found: bool = False

    @property
    def is_kept(self) -> bool:
        return self.is_found or (self.folder / SPEC_FILE).exists()


def chosen_network(path: Path, name: str | None) -> ChosenNetwork:
    """The network that is asked for.

    After `dnas baseline` the default is the best by held-out samples of the found one, the random ones and those that
    opponents found; the first of equal ones in this order. Architectures that were named, such as published ones, and
    the test part take no part in the choice.

    Args:
        path: a run, or what else `dnas.load` reads.
        name: 'found', 'best', or the name of a row of the comparison, such as 'random 3'; None for the best where there
            is a comparison, else the found one.

    Raises:
        UserError: there is no comparison, it has no such row, or the network was not kept.
    """
    run = Run(path)
    source = path / FOLDER / "comparison.json"
    if not source.exists():
        if name in (None, FOUND):
            return ChosenNetwork(path, "")
        raise UserError(f"--network {name} chooses among networks that were compared: `dnas baseline {path}` does it.")
    if name == FOUND:
        return ChosenNetwork(path, "")
    searched, named = _compared(path, run.child(FOLDER).load_json("comparison"), source)
    if name in (None, BEST):
        best = searched[0]
        for one in searched[1:]:
            best = one if one.row.is_better(one.row.validation, best.row.validation) else best
        if name is None and not best.is_kept:
            return ChosenNetwork(
                path, f"Network: the found one; {best.row.name} was better on held-out samples, but not kept."
            )
        return ChosenNetwork(_folder(path, best), _why_best(best, searched))
    one = next((one for one in (*searched, *named) if one.row.name == name), None)
    if one is None:
        known = [one.row.name for one in (*searched, *named)]
        raise UserError(f"--network {name}: no network of {source} is called so; it has {known}.")
    return ChosenNetwork(_folder(path, one), "")


def _compared(path: Path, data: object, source: Path) -> tuple[list[_Compared], list[_Compared]]:
    """The networks of a comparison that were searched for, the found one first, and those that were named."""
    folder = path / FOLDER
    found = [_Compared(row, path / RETRAIN, is_found=True) for row in _rows(data, "found", source)]
    random = [_Compared(row, folder / f"{index:03d}") for index, row in enumerate(_rows(data, "random", source))]
    beside = [_Compared(row, folder / row.name) for row in _rows(data, "beside", source)]
    # Comparisons of earlier versions do not say who is an opponent.
    names = data.get("opponent_seconds", {}) if isinstance(data, dict) else {}
    if not isinstance(names, dict):
        raise UserError(f"{source} does not hold a comparison: expected names under 'opponent_seconds'.")
    opponents = [one for one in beside if one.row.name in names]
    return [*found, *random, *opponents], [one for one in beside if one.row.name not in names]


def _rows(data: object, kind: str, source: Path) -> list[Row]:
    """Rows of a comparison."""
    entries = data.get(kind, []) if isinstance(data, dict) else None
    entries = [entries] if kind == "found" else entries
    if not isinstance(entries, list):
        raise UserError(f"{source} does not hold a comparison: expected rows under {kind!r}.")
    return [Row.from_data(entry, source=f"{source}, {kind} {index}") for index, entry in enumerate(entries)]


def _folder(path: Path, one: _Compared) -> Path:
    """Where a network lies that was kept."""
    if not one.is_kept:
        raise UserError(
            f"{one.folder} holds no {SPEC_FILE}: it was trained when the networks of a comparison were not kept. Move "
            f"{path / FOLDER / 'results.json'} away and give `dnas baseline {path}` again, which measures what is "
            "trained and keeps it; or take --network found."
        )
    return one.folder


def _why_best(best: _Compared, searched: list[_Compared]) -> str:
    found, metric = searched[0].row, best.row.metric
    by = f"the best of {len(searched)} by held-out {called(metric)}"
    if best.is_found:
        return f"Network: the found one, {by} ({shown(metric, found.validation)})."
    return (
        f"Network: {best.row.name}, {by} ({shown(metric, best.row.validation)}; the found one has "
        f"{shown(metric, found.validation)}). --network found takes that."
    )
