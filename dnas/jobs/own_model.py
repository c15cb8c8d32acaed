"""A user's own module that a command names by its import path."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dnas.core.candidate_trial import check_candidates
from dnas.core.derive import derive, find_decisions
from dnas.core.own_module import made_model
from dnas.core.run import Run
from dnas.data.sample_kind import SampleKind
from dnas.jobs.job import Job, seeded_retrain
from dnas.system.errors import UserError, in_own_code
from dnas.system.random_state import seeded
from dnas.training.evaluate import device_of, evaluation_mode
from dnas.training.own_baseline import fresh_model


def imported(target: str) -> nn.Module | Callable[..., Any]:
    """What 'package.module:name' names, found from the current folder: a module, or a class or function that makes one.

    Raises:
        UserError: there is no such module, nothing of this name in it, or it is neither.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise UserError(f"The model is given as package.module:name, such as mypackage.net:Net; got {target!r}.")
    with _current_folder_first():
        try:
            found = getattr(import_module(module_name), name)
        except Exception as error:  # whatever the user's file raises when it is imported
            raise UserError(f"The model {target} cannot be imported: {type(error).__name__}: {error}.") from error
    if not isinstance(found, nn.Module) and not callable(found):
        raise UserError(
            f"{target} must be a torch.nn.Module, or a class or function that makes one; got a {type(found).__name__}."
        )
    return found


def imported_model(target: str, given: Mapping[str, Any] = {}) -> nn.Module:
    """The module that an import path names or makes.

    Args:
        target: 'package.module:name'.
        given: arguments that a class or function gets if it has parameters of these names.

    Raises:
        UserError: as `imported`, or no module is made.
    """
    found = imported(target)
    if isinstance(found, nn.Module):
        return found
    try:
        known = inspect.signature(found).parameters
    except ValueError:  # of a builtin
        known = {}
    arguments = {name: value for name, value in given.items() if name in known}
    with in_own_code(lambda: f"{target} cannot make a model of {arguments or 'no arguments'}"), _current_folder_first():
        return made_model(partial(found, **arguments))


def model_arguments(kind: SampleKind) -> dict[str, Any]:
    """What a class or function of the user's own is given, if it has parameters of these names."""
    return {
        "num_classes": kind.num_outputs,
        "num_outputs": kind.num_outputs,
        "in_channels": kind.in_channels,
        "image_size": kind.image_size,
        "input_shape": kind.shape,
        "num_tokens": kind.num_tokens,
    }


def searchable_model(job: Job, kind: SampleKind) -> nn.Module:
    """The module of a job, which has choices; new for every call unless the path names a module itself.

    Raises:
        UserError: as `imported_model`, or it has no choice.
    """
    assert job.model is not None
    model = imported_model(job.model, model_arguments(kind))
    find_decisions(model)
    return model


def kind_taken(job: Job, kind: SampleKind) -> SampleKind:
    """The samples on which a job's module is tried: the given ones, or images of one channel if it takes no colour.

    Images that are not decoded yet are taken for those of three channels.

    Raises:
        UserError: it takes neither, or candidates of a choice differ in what they give.
    """
    problem = _problem_with(job, kind)
    if problem is None:
        return kind
    is_colour = kind.inputs == "pixels" and kind.in_channels == 3
    if is_colour and _problem_with(job, kind.with_channels(1)) is None:
        return kind.with_channels(1)
    sides = ", ".join(map(str, kind.shape))
    what = f"neither colour nor grey images of {kind.image_size} pixels" if is_colour else f"no inputs (batch, {sides})"
    with in_own_code(lambda: f"{job.model} takes {what}"):
        model = searchable_model(job, kind)
        check_candidates(model, lambda model: model(kind.zeros(2).to(device_of(model))))  # names the choice to mend
        raise problem


def _problem_with(job: Job, kind: SampleKind) -> RuntimeError | None:
    """What the module raises for samples of this kind; None where it takes them."""
    model = searchable_model(job, kind)
    try:
        with evaluation_mode(model), torch.no_grad(), seeded(0):
            model(kind.zeros(2).to(device_of(model)))
    except RuntimeError as error:  # as convolutions raise for another number of channels
        return error
    return None


def model_to_load(job: Job, kind: SampleKind) -> Callable[[], nn.Module] | None:
    """What `dnas.load` needs besides the files of a job's network; None for one of a space."""
    if job.model is None:
        return None
    return partial(searchable_model, job, kind)


def own_fresh_model(run: Run, job: Job, kind: SampleKind) -> nn.Module:
    """The module of a job with the weights that it came with, which its search has kept."""
    return fresh_model(partial(searchable_model, job, kind), run, seeded_retrain(job).seed)


def own_network(run: Run, job: Job, kind: SampleKind) -> nn.Module:
    """The network that was found in the module of a job, with the weights that the module came with."""
    return derive(own_fresh_model(run, job, kind), run.load_architecture())


@contextmanager
def _current_folder_first() -> Iterator[None]:
    """Modules of the current folder can be imported, as with `python -m`."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
