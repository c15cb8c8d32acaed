"""The option --recipe: names become files, and the warm-up keeps its share of the epochs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from jsonargparse import (
    ActionConfigFile,  # pyright: ignore[reportPrivateImportUsage]
    ArgumentParser,
    Namespace,
)

from dnas.cli.arguments import Arguments
from dnas.jobs.job import Job, fitted_to_space
from dnas.jobs.recipe import (
    FOLDER,
    check_recipe,
    recipe_names,
    recipe_path,
    search_epochs,
    space_arguments,
    what_its_space_lacks,
)
from dnas.searching.stage import scaled_warmup
from dnas.system.errors import UserError

RECIPE = "--recipe"


def add_recipe(parser: ArgumentParser, help: str) -> None:
    """The option from whose file settings are taken."""
    parser.add_argument(RECIPE, action=ActionConfigFile, help=help)


def add_image_recipe(parser: ArgumentParser) -> None:
    """The option --recipe of a search on images."""
    add_recipe(parser, f"a method: {', '.join(recipe_names())}, or a YAML file of settings")


def with_default(given: Arguments, recipe: str) -> Arguments:
    """`given`, and a recipe where none is named, nor a run to go on with."""
    if given.names & {RECIPE, "--resume", "--repeat", "--help", "-h"}:
        return given
    return given.beginning_with(RECIPE, recipe)


def with_files(given: Arguments, hints: Mapping[str, Any], folder: Path = FOLDER) -> Arguments:
    """`given` with the files of its recipes in place of their names.

    Args:
        given: on the command line.
        hints: name and type of each setting that a recipe may hold.
        folder: of the recipes that come with dnas.

    Raises:
        UserError: neither a recipe nor a file, or a setting in it does not exist.
    """

    def checked(name: str) -> str:
        path = recipe_path(name, folder)
        check_recipe(path, hints)
        return str(path)

    return given.with_values(RECIPE, checked)


def job_settings(*options: type) -> dict[str, Any]:
    """Name and type of each setting that a recipe of a search on images may hold: a `Job`'s and a command's own."""
    return {name: kind for settings in (Job, *options) for name, kind in get_type_hints(settings).items()}


def with_warmup_in_proportion(given: Arguments) -> Arguments:
    """`--recipe R --search.epochs N` with the warm-up of the recipe in proportion, where it is not given.

    Stages, and the warm-up of each, are scaled by `SearchSettings` itself.

    Args:
        given: with files as recipes.
    """
    # What a recipe says goes over what is written before it.
    number = given.after_last(RECIPE).last("--search.epochs")
    if RECIPE not in given.names or "--search.warmup_epochs" in given.names or not number.isdecimal():
        return given
    warmup, epochs = search_epochs(Path(given.last(RECIPE)))
    if not 0 < warmup <= epochs or int(number) < 1:
        return given
    return given.ending_with("--search.warmup_epochs", str(scaled_warmup(warmup, epochs, int(number))))


def fitted(job: Job, given: Arguments) -> Job:
    """The job as its space's networks can be retrained.

    Raises:
        UserError: an auxiliary head is asked for, and they have none.
    """
    found = fitted_to_space(job)
    if "--retrain.auxiliary" in given.names and found != job:
        raise UserError(
            f"--retrain.auxiliary: the networks of {type(job.space).__name__} have no auxiliary head; leave it out."
        )
    return found


def notes_on_space(config: Namespace, job: Job) -> list[str]:
    """What to say of the recipes of a command, whose space may be another one than theirs.

    Raises:
        UserError: as `what_its_space_lacks`.
    """
    return [note for recipe in config.recipe or [] for note in notes_on_recipe(Path(recipe), job)]


def notes_on_recipe(recipe: Path, job: Job) -> list[str]:
    """The same of one recipe."""
    if job.model is not None:
        _check_needs_no_space(recipe, job.model)
        return []
    note = what_its_space_lacks(recipe, job.space)
    return [note] if note else []


def _check_needs_no_space(recipe: Path, model: str) -> None:
    """See that a recipe sets nothing of a space, which a module of the user's own has not."""
    names = space_arguments(recipe)
    if names:
        raise UserError(
            f"Recipe {recipe.stem} sets {', '.join(names)} of its space, and {model} is a module of your own: use "
            "another recipe."
        )
