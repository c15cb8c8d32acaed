"""Recipes: files of settings that name a method."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from dnas.space import DartsSpace, NasBench201Space, ReducedDartsSpace, Space
from dnas.system.errors import UserError
from dnas.system.reading import read_yaml
from dnas.system.words import did_you_mean

FOLDER = Path(__file__).parents[1] / "recipes"
LANGUAGE = FOLDER / "language"  # recipes of `dnas language`
# Arguments of a space that are parts of a method: partial channels and edge normalisation of PC-DARTS, the auxiliary
# skip connection of DARTS-, dropout after skip connections of P-DARTS, drop path of RobustDARTS; and who has them.
OF_METHODS = ("partial_channels", "edge_weights", "auxiliary_skip", "skip_dropout", "drop_path")
WITH_CELLS = (DartsSpace, ReducedDartsSpace, NasBench201Space)


def recipe_names(folder: Path = FOLDER) -> list[str]:
    """Names of the recipes that come with dnas."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def recipe_path(name: str, folder: Path = FOLDER) -> Path:
    """The file of a recipe.

    Args:
        name: name of a recipe that comes with dnas, or path of a YAML file.
        folder: folder of the recipes that come with dnas.

    Raises:
        UserError: there is neither such a recipe nor such a file.
    """
    known = recipe_names(folder)
    if name in known:
        return folder / f"{name}.yaml"
    if not Path(name).is_file():
        raise UserError(
            f"There is no recipe {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}, "
            "or give a YAML file of settings."
        )
    return Path(name)


def check_recipe(path: Path, hints: Mapping[str, Any]) -> None:
    """Check that a file is YAML and that its settings exist, at every level.

    Args:
        path: file of the recipe.
        hints: name and type of each setting at the top.

    Raises:
        UserError: it is not; the message names the file and the first setting that does not fit.
    """
    check_names(read_yaml(path), hints, str(path))


def space_arguments(path: Path) -> dict[str, Any]:
    """The arguments that a recipe gives its space, as plain data.

    Args:
        path: file of a recipe that has been checked.
    """
    space = _read(path).get("space")
    arguments = space.get("init_args") if isinstance(space, Mapping) else None
    return dict(arguments) if isinstance(arguments, Mapping) else {}


def what_its_space_lacks(path: Path, space: Space) -> str:
    """A note on the arguments that a recipe gives its space and another space does not have; empty where it has all.

    The parser of the command line leaves them out without a word.

    Args:
        path: file of a recipe that has been checked.
        space: the space that is searched.

    Raises:
        UserError: without them the method would be another one.
    """
    known = [field.name for field in fields(space)]  # pyright: ignore[reportArgumentType], spaces are dataclasses
    lost = {name: value for name, value in space_arguments(path).items() if name not in known}
    kind = type(space).__name__
    needed = [name for name in OF_METHODS if name in lost and lost[name] != getattr(DartsSpace(), name)]
    if needed:
        *others, last = (f"dnas.{one.__name__}" for one in WITH_CELLS)
        raise UserError(
            f"Recipe {path.stem} sets {' and '.join(needed)} of its space, which {kind} does not have, and would be "
            f"another method without: use {', '.join(others)} or {last}, or another recipe."
        )
    return f"Note: {kind} has no {', '.join(lost)}, which recipe {path.stem} sets; left out." if lost else ""


def search_epochs(path: Path) -> tuple[int, int]:
    """Warm-up epochs and epochs that a recipe gives its search; 0 for those that it does not give.

    Args:
        path: file of a recipe that has been checked.
    """
    search = _read(path).get("search")
    numbers = [search.get(name) if isinstance(search, Mapping) else 0 for name in ("warmup_epochs", "epochs")]
    warmup, epochs = (number if isinstance(number, int) else 0 for number in numbers)
    return warmup, epochs


def _read(path: Path) -> Mapping[str, Any]:
    return read_yaml(path) or {}


def check_names(data: Any, hints: Mapping[str, Any], source: str, place: str = "") -> None:
    """Check that settings are a mapping of known names, also those of a dataclass within, and that none is empty.

    Values, and arguments of parts, are checked where objects are built from them.

    Args:
        data: contents of a YAML file.
        hints: name and type of each setting.
        source: name of the file in messages.
        place: place of `data` in the file, such as search.weights.

    Raises:
        UserError: they are not; the message names the first setting that does not fit.
    """
    if not isinstance(data, Mapping):
        raise UserError(
            f"{source}: expected settings{f' under {place}' if place else ''}, such as `{next(iter(hints))}: VALUE`; "
            f"got {'nothing' if data is None else repr(data)}."
        )
    for name, value in data.items():
        full = f"{place}.{name}" if place else str(name)
        if name not in hints:
            raise UserError(
                f"{source}: there is no setting {full!r}{did_you_mean(str(name), hints)}; "
                f"{f'under {place!r}' if place else 'at the top'} there are {', '.join(hints)}."
            )
        hint = hints[name]
        if value is None and type(None) not in get_args(hint):
            raise UserError(f"{source}: {full} is empty; give a value, or leave it out for the default.")
        if isinstance(hint, type) and is_dataclass(hint) and not issubclass(hint, ABC):
            check_names(value, get_type_hints(hint), source, full)
