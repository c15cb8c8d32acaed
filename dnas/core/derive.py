"""From a supernet's model and an architecture to a plain module that holds no trace of search."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import nn

from dnas.core.architecture import Architecture, Kept
from dnas.core.decision import Decision
from dnas.core.searchable import Searchable
from dnas.system.errors import UserError
from dnas.system.processes import check_not_wrapped


def find_decisions(model: nn.Module) -> dict[str, Decision]:
    """All decisions in a model by name, in the order of its modules.

    Raises:
        UserError: two choices of the same name differ, the model holds no choice, or a part is wrapped for several
            devices.
    """
    check_not_wrapped(model)
    found: dict[str, Decision] = {}
    for module in model.modules():
        if not isinstance(module, Searchable):
            continue
        for decision in module.decisions():
            difference = found.setdefault(decision.name, decision).difference(decision)
            if difference is not None:
                raise UserError(
                    f"Choices named {decision.name!r} differ in {difference}; "
                    "choices that share a name share one decision."
                )
    if not found:
        raise UserError(
            f"{type(model).__name__} holds no choice, so there is nothing to search: "
            "put a dnas.Choice, InputChoice or Cell where something may vary."
        )
    return found


def check_derived(network: nn.Module) -> None:
    """Check that no choice is left in a network.

    Raises:
        UserError: names the first one.
    """
    left = next((module for module in network.modules() if isinstance(module, Searchable)), None)
    if left is not None:
        name = left.decisions()[0].name
        raise UserError(
            f"{type(network).__name__} still has choices, such as {name!r}: derive what was found from it first, "
            "dnas.derive(model, result.architecture)."
        )


def derive(model: nn.Module, architecture: Architecture | Mapping[str, Kept]) -> nn.Module:
    """A copy of `model` in which every choice is replaced by what the architecture keeps of it.

    The copy holds the searched weights and none of the candidates that lost; `model` stays as it is. In train mode
    it computes what the supernet computes under the architecture's one-hot mixtures.

    Args:
        model: with choices inside.
        architecture: what is kept; also as a mapping of choices to what is kept of each.

    Raises:
        UserError: the architecture does not fit the model.
    """
    check_not_wrapped(model)
    if isinstance(architecture, Mapping):
        architecture = Architecture({n: tuple(k) if isinstance(k, list) else k for n, k in architecture.items()})
    if not isinstance(architecture, Architecture):
        raise UserError(
            "derive takes an Architecture, as search gives it in result.architecture, or a mapping such as "
            f"{{'kernel': '3x3'}}; got a {type(architecture).__name__}."
        )
    if not any(isinstance(module, Searchable) for module in model.modules()):
        raise UserError(f"{type(model).__name__} holds no choice, so there is nothing to derive.")
    architecture.check(find_decisions(model))
    return _plain(copy.deepcopy(model), architecture, {})


def _plain(module: nn.Module, architecture: Architecture, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """`module` with all choices below it replaced; `done` keeps a module that is used in several places shared."""
    if module not in done:
        if isinstance(module, Searchable):
            kept = architecture.decisions[module.decisions()[0].name]
            done[module] = _plain(module.plain(kept), architecture, done)
        else:
            done[module] = module
            for name, child in list(module._modules.items()):  # unlike named_children, with repeated modules
                if child is not None:
                    setattr(module, name, _plain(child, architecture, done))
    return done[module]
