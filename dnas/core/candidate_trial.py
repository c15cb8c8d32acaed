"""Try every candidate of every choice on one batch: all of a choice must give the same shapes and types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dnas.core.candidates import Zero
from dnas.core.choice import Choice
from dnas.core.described import described
from dnas.core.mixing import structure, unmixable
from dnas.system.errors import UserError, in_own_code
from dnas.system.random_state import random_state, restore_random_state


def check_candidates(model: nn.Module, call: Callable[[nn.Module], Any]) -> None:
    """Check that the candidates of each `Choice` give the same structure, shapes and types on one batch.

    Weights, buffers and torch's random generators are afterwards as before. What `call` computes has no gradient.

    Args:
        model: with choices inside.
        call: calls the model on a batch.

    Raises:
        UserError: names the choice, its candidates and what each gave.
    """
    hooks = [
        module.register_forward_pre_hook(_try_each, with_kwargs=False)
        for module in model.modules()
        if isinstance(module, Choice)
    ]
    try:
        with torch.no_grad(), _without_traces(model):
            call(model)
    finally:
        for hook in hooks:
            hook.remove()


def _try_each(choice: nn.Module, inputs: tuple[Any, ...]) -> None:
    assert isinstance(choice, Choice)
    decision, given = choice.decision, {}
    for name, candidate in zip(decision.candidates, choice.candidates, strict=True):
        if not isinstance(candidate, Zero):  # adds nothing, whatever its shape
            given[name] = _given(decision.name, name, candidate, inputs)
            if (bad := unmixable(given[name])) is not None:
                raise UserError(
                    f"Candidate {name!r} of choice {decision.name!r} gives {described(bad)}, which cannot be mixed: a "
                    "candidate must give tensors, or tuples, lists, dicts or packed sequences of them."
                )
    first = next(iter(given), None)
    if any(structure(given[name]) != structure(given[first]) for name in given):
        each = "; ".join(f"{name!r} gives {described(output)}" for name, output in given.items())
        raise UserError(
            f"The candidates of choice {decision.name!r} must give the same shapes and types, so that they can be "
            f"mixed: {each}. Change them, or put a layer after those that differ."
        )


def _given(choice: str, name: str, candidate: nn.Module, inputs: tuple[Any, ...]) -> Any:
    def what() -> str:
        took = ", ".join(map(described, inputs))
        return f"Candidate {name!r} of choice {choice!r} cannot take what the choice is given ({took})"

    with in_own_code(what):
        return candidate(*inputs)


@contextmanager
def _without_traces(model: nn.Module) -> Iterator[None]:
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    before = random_state()
    try:
        yield
    finally:
        restore_random_state(before)
        for buffer, value in buffers:
            buffer.copy_(value)
