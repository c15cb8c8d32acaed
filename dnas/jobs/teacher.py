"""The teacher of a retraining, by the path of its run or by its import path."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from dnas.jobs.own_model import imported_model
from dnas.shipping.load import load, load_spec
from dnas.shipping.spec import AnyInterface, ModuleBuilder
from dnas.system.errors import UserError


def teacher_network(given: str, interface: AnyInterface) -> nn.Module:
    """The trained network that another one is to learn from.

    Args:
        given: a run that was retrained (or any folder that `dnas.load` reads), or 'package.module:name' of a trained
            network, or of a function that returns it.
        interface: of the network that is to learn; a run must have the same classes, input and normalisation.

    Raises:
        UserError: there is no such network, or its interface is another one.
    """
    path = Path(given)
    if not path.exists() and ":" in given:
        return imported_model(given)
    if not path.exists():
        raise UserError(
            f"The teacher {given} is no run folder: give a run that was retrained, or package.module:name of a trained "
            "network."
        )
    spec = load_spec(path)
    if isinstance(spec.builder, ModuleBuilder):
        raise UserError(
            f"The teacher {given} is a module of your own, which no file holds: give package.module:name of a function "
            "that returns it with its weights."
        )
    ours, theirs = interface.to_data(), spec.interface.to_data()
    other = next((name for name, value in ours.items() if theirs.get(name) != value), None)
    if other is not None:
        raise UserError(
            f"The teacher {given} has another {other} than the network that is to learn from it: {theirs.get(other)}, "
            f"and here {ours[other]}. Both must be for the same data."
        )
    return load(path)
