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


def chosen_network(path: Path, name: str | None) -> ChosenNetwork:
    """The network that is asked for.

    After `dnas baseline` the default is the best of the found one and the random ones by held-out samples; the found
    one where several are equal. The test part takes no part in the choice.

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
    data = run.child(FOLDER).load_json("comparison")
    compared = _rows(data, "found", source) + _rows(data, "random", source)
    rows = compared + _rows(data, "beside", source)
    if name in (None, BEST):
        best = compared[0]
        for row in compared[1:]:
            best = row if row.is_better(row.validation, best.validation) else best
        if name is None and not _is_kept(path, best, compared):
            return ChosenNetwork(
                path, f"Network: the found one; {best.name} was better on held-out samples, but not kept."
            )
        return ChosenNetwork(_folder(path, best, compared), _why_best(best, compared))
    named = next((row for row in rows if row.name == name), None)
    if named is None:
        raise UserError(f"--network {name}: no network of {source} is called so; it has {[row.name for row in rows]}.")
    return ChosenNetwork(_folder(path, named, compared), "")


def _rows(data: object, kind: str, source: Path) -> list[Row]:
    """Rows of a comparison."""
    entries = data.get(kind, []) if isinstance(data, dict) else None
    entries = [entries] if kind == "found" else entries
    if not isinstance(entries, list):
        raise UserError(f"{source} does not hold a comparison: expected rows under {kind!r}.")
    return [Row.from_data(entry, source=f"{source}, {kind} {index}") for index, entry in enumerate(entries)]


def _folder(path: Path, row: Row, compared: list[Row]) -> Path:
    """Where the network of a row lies."""
    folder = _place(path, row, compared)
    if not _is_kept(path, row, compared):
        raise UserError(
            f"{folder} holds no {SPEC_FILE}: it was trained when the networks of a comparison were not kept. Move "
            f"{path / FOLDER / 'results.json'} away and give `dnas baseline {path}` again, which measures what is "
            "trained and keeps it; or take --network found."
        )
    return folder


def _place(path: Path, row: Row, compared: list[Row]) -> Path:
    if row == compared[0]:
        return path / RETRAIN
    return path / FOLDER / (f"{compared.index(row) - 1:03d}" if row in compared else row.name)


def _is_kept(path: Path, row: Row, compared: list[Row]) -> bool:
    return row == compared[0] or (_place(path, row, compared) / SPEC_FILE).exists()


def _why_best(best: Row, compared: list[Row]) -> str:
    found, metric = compared[0], best.metric
    by = f"the best of {len(compared)} by held-out {called(metric)}"
    if best == found:
        return f"Network: the found one, {by} ({shown(metric, found.validation)})."
    return (
        f"Network: {best.name}, {by} ({shown(metric, best.validation)}; the found one has "
        f"{shown(metric, found.validation)}). --network found takes that."
    )
