"""Whether a model is one that can be shrunk, before anything of it is run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from dnas.core.batch import tensors_in
from dnas.core.described import described
from dnas.core.searchable import Searchable
from dnas.system.errors import UserError
from dnas.system.processes import check_not_wrapped


def check_model(model: nn.Module) -> None:
    """Check that this is one plain module with weights, on one device and of one dtype.

    Raises:
        UserError: says what it is, and what to give.
    """
    if isinstance(model, Mapping):
        raise UserError(
            f"The model must be a trained torch.nn.Module; got a {type(model).__name__}: load it into a model first, "
            "model.load_state_dict(it)."
        )
    if not isinstance(model, nn.Module):
        named = f"the class {model.__name__}" if isinstance(model, type) else described(model)
        raise UserError(f"The model must be a trained torch.nn.Module; got {named}.")
    check_not_wrapped(model)
    for name, module in model.named_modules():
        of = f"The model's part {name!r}" if name else "The model"
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError(f"{of} is compiled by torch.jit, so that nothing of it can be cut: give the Python module.")
        if hasattr(module, "_orig_mod"):
            raise UserError(f"{of} is compiled by torch.compile: give the module inside, its _orig_mod.")
        if isinstance(module, Searchable):
            raise UserError(
                f"{of} still has choices ({module.decisions()[0].name!r}): derive what was found first, "
                "dnas.derive(model, result.architecture)."
            )
    weights = [*model.parameters()]
    if not weights:
        raise UserError(f"{type(model).__name__} has no parameters, so nothing of it may become smaller.")
    for what, found in (
        ("devices", {str(weight.device) for weight in weights}),
        ("dtypes", {str(weight.dtype) for weight in weights}),
    ):
        if len(found) > 1:
            raise UserError(f"The model has parameters of several {what} ({', '.join(sorted(found))}); expected one.")
    if weights[0].is_meta:
        raise UserError("The model is on the device meta, where it has no weights: load them first.")
    if any(map(is_lazy, weights)):
        raise UserError("The model has lazy layers without weights yet: run it once on inputs, and train it.")
    _check_finite(model)


def check_example(example: object) -> None:
    """Check that these may be inputs of a model.

    Raises:
        UserError: they hold no tensor.
    """
    if next(tensors_in(example), None) is None:
        raise UserError(
            "example must be inputs as the model takes them: a tensor, a tuple of arguments or a dict of named ones; "
            f"got {described(example)}."
        )


def _check_finite(model: nn.Module) -> None:
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise UserError(f"The model's {name} holds NaN or infinity, so there is nothing to compare with.")
