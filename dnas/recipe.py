"""Recipes: files of settings that name a method."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

FOLDER = Path(__file__).parent / "recipes"
LANGUAGE = FOLDER / "language"  # those of `dnas language`


def recipe_names(folder: Path = FOLDER) -> list[str]:
    """Names of the recipes that come with dnas."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def recipe_path(name: str, folder: Path = FOLDER) -> Path:
    """The file of a recipe.

    Args:
        name: of one that comes with dnas, or the path of a YAML file.
        folder: of those that come with dnas.

    Raises:
        ValueError: neither.
    """
    known = recipe_names(folder)
    if name in known:
        return folder / f"{name}.yaml"
    if not Path(name).is_file():
        raise ValueError(
            f"There is no recipe {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}, "
            "or give a YAML file of settings."
        )
    return Path(name)


def check_recipe(path: Path, hints: Mapping[str, Any]) -> None:
    """See that a file is YAML and that its settings exist, at every level.

    Args:
        path: of the recipe.
        hints: name and type of each setting at the top.

    Raises:
        ValueError: names the file and the first setting that does not fit.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable YAML: {error}") from error
    check_names(data, hints, str(path))


def space_arguments(path: Path) -> list[str]:
    """Names of the arguments that a recipe gives its space.

    Args:
        path: of a recipe that has been checked.
    """
    space = _read(path).get("space")
    arguments = space.get("init_args") if isinstance(space, Mapping) else None
    return list(arguments) if isinstance(arguments, Mapping) else []


def search_epochs(path: Path) -> tuple[int, int]:
    """Warm-up epochs and epochs that a recipe gives its search; 0 where it does not say them.

    Args:
        path: of a recipe that has been checked.
    """
    search = _read(path).get("search")
    numbers = [search.get(name) if isinstance(search, Mapping) else 0 for name in ("warmup_epochs", "epochs")]
    warmup, epochs = (number if isinstance(number, int) else 0 for number in numbers)
    return warmup, epochs


def _read(path: Path) -> Mapping[str, Any]:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def check_names(data: Any, hints: Mapping[str, Any], source: str, place: str = "") -> None:
    """See that settings are a mapping of known names, those of a dataclass within likewise, and none is empty.

    The values themselves, and the arguments of parts, are for who builds objects of them.

    Args:
        data: what a YAML file holds.
        hints: name and type of each setting.
        source: what messages call the file.
        place: of `data` in it.

    Raises:
        ValueError: names the first setting that does not fit.
    """
    if not isinstance(data, Mapping):
        raise ValueError(
            f"{source}: expected settings{f' under {place}' if place else ''}, such as `{next(iter(hints))}: VALUE`; "
            f"got {'nothing' if data is None else repr(data)}."
        )
    for name, value in data.items():
        full = f"{place}.{name}" if place else str(name)
        if name not in hints:
            raise ValueError(
                f"{source}: there is no setting {full!r}{did_you_mean(str(name), hints)}; "
                f"{f'under {place!r}' if place else 'at the top'} there are {', '.join(hints)}."
            )
        hint = hints[name]
        if value is None and type(None) not in get_args(hint):
            raise ValueError(f"{source}: {full} is empty; give a value, or leave it out for the default.")
        if isinstance(hint, type) and is_dataclass(hint) and not issubclass(hint, ABC):
            check_names(value, get_type_hints(hint), source, full)


def did_you_mean(name: str, known: Any) -> str:
    """`, did you mean 'x'?` where a known name is close; else nothing.

    Args:
        name: what was written.
        known: an iterable of names.
    """
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
