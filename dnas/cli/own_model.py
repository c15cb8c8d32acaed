"""The options --model and --trust of commands on a run whose network was found in a module of the user's own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.shared import add_trust
from dnas.system.errors import UserError

if TYPE_CHECKING:  # they need torch, which the help of a command does not
    from dnas.core.own_module import OwnModule
    from dnas.core.run import Run


def add_model(parser: ArgumentParser) -> None:
    """The options that let a module of the user's own be imported."""
    add_trust(parser)
    parser.add_argument(
        "--model",
        type=str | None,
        default=None,
        help="package.module:name of the run's module of your own; what is named here is imported without --trust",
    )


def check_own_sizes(given: Arguments) -> None:
    """See that no size of a space's networks is given with a module of the user's own.

    Raises:
        UserError: names what would have no effect.
    """
    idle = [name for name in ("--channels", "--cells", "--space") if name in given.names]
    if "--model" in given.names and idle:
        raise UserError(
            f"{', '.join(idle)} would have no effect on the model {given.last('--model')}, a module of your own. Leave "
            "it out."
        )


def model_for(path: Path, config: Namespace) -> OwnModule | None:
    """What `dnas.load` needs for a network of the user's own module; None for one of a space or without a network.json.

    Raises:
        UserError: the module is neither named nor trusted.
    """
    from dnas.jobs.own_model import imported_model, model_arguments
    from dnas.shipping.load import find_network, load_spec
    from dnas.shipping.spec import SpaceBuilder

    if find_network(path) is None:
        return None
    spec = load_spec(path)
    if isinstance(spec.builder, SpaceBuilder):
        if config.model is not None:
            raise UserError(f"--model would have no effect: the network in {path} is of a space. Leave it out.")
        return None
    return partial(imported_model, _target(path, config), model_arguments(spec.interface.kind))


def _target(path: Path, config: Namespace) -> str:
    from dnas.core.run import Run

    if config.model is not None:
        return config.model
    folders = (path, *path.absolute().parents[:2])  # retrain/ and baseline/000/ lie in the run
    recorded = next((model for folder in folders if (model := recorded_model(Run(folder)))), None)
    if recorded is None:
        raise UserError(
            f"The network in {path} was found in a module of your own: name it, --model package.module:name."
        )
    if not config.trust:
        raise UserError(not_trusted(f"The config.yaml of {path}", recorded))
    return recorded


def recorded_model(run: Run) -> str | None:
    """The import path in a run's config.yaml; None if there is none."""
    job = run.read_config().get("job") if run.config_path.exists() else None
    model = job.get("model") if isinstance(job, dict) else None
    return model if isinstance(model, str) else None


def not_trusted(source: str, model: str) -> str:
    """The message that refuses to import a module that only a file names."""
    return (
        f"{source} names a module of your own, {model}; a file that may come from anybody is not followed. If you "
        f"trust this run, add --trust, or name the module: --model {model}."
    )
