"""`dnas profile`: time, memory and FLOPs of a search on this machine."""

from __future__ import annotations

import sys

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.parser import Command
from dnas.cli.recipes import (
    RECIPE,
    add_image_recipe,
    job_settings,
    notes_on_space,
    with_default,
    with_files,
    with_warmup_in_proportion,
)
from dnas.cli.shared import part_of
from dnas.jobs.job import Job


def _fill(parser: ArgumentParser) -> None:
    # A word that stands alone is the recipe: see _understood.
    parser.usage = "dnas profile [RECIPE] [options]"
    add_image_recipe(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_class_arguments(Job, None, sub_configs=False)


def _understood(given: Arguments) -> Arguments:
    if given.positionals:
        recipe = given.positionals[0]
        given = given.without(recipe).beginning_with(RECIPE, recipe)
    return with_warmup_in_proportion(with_files(with_default(given, "default"), job_settings()))


def _run(config: Namespace, given: Arguments) -> None:
    from dnas.jobs.profile.profile import profile_job
    from dnas.jobs.profile.text import profile_text

    job = part_of(config, Job)
    for note in notes_on_space(config, job):
        print(f"dnas: {note}", file=sys.stderr)
    profile = profile_job(job)
    print(profile.to_json() if config.json else profile_text(profile))


COMMAND = Command(
    "profile",
    _fill,
    _run,
    _understood,
    other_names={"--epochs": "--search.epochs"},
    sizes_to_lower="--batch_size, --image_size, --channels or --cells",
)
