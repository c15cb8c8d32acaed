"""Modules that hold a choice: among candidate modules, or among inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from dnas.core.architecture import Kept
from dnas.core.batch import first_tensor
from dnas.core.candidates import add_up, weighted_terms
from dnas.core.decision import Decision
from dnas.core.described import described
from dnas.core.mixing import scaled, shifted
from dnas.core.mixture import uniform
from dnas.core.searchable import OneDecision, checked_names
from dnas.system.errors import UserError


class Choice(OneDecision):
    """A choice among candidate modules of equal output shape: `sum_k mixture[k] * candidate_k(inputs)`.

    Candidates that give tuples, lists or dicts, such as an LSTM's `(output, state)`, are mixed entry by entry.

    Args:
        name: name of the decision; choices of the same name share one decision.
        candidates: name -> module, or a list of modules, which are then called by their classes. Use `Zero()` for
            'nothing' and `nn.Identity()` for a skip connection.
        excluded: candidates that discretization may not keep.

    Raises:
        UserError: a candidate is no module, or names and exclusions do not fit.

    Example:
        >>> import torch
        >>> choice = Choice("kernel", {"3x3": nn.Conv2d(8, 8, 3, padding=1), "5x5": nn.Conv2d(8, 8, 5, padding=2)})
        >>> choice(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(
        self, name: str, candidates: Mapping[str, nn.Module] | Sequence[nn.Module], *, excluded: Sequence[str] = ()
    ):
        candidates = checked_candidates(name, candidates)
        names = checked_names(name, tuple(candidates), excluded)
        super().__init__(Decision(name, "choice", names, excluded=tuple(excluded)))
        self.candidates = nn.ModuleList(candidates.values())

    def forward(self, *inputs: Any) -> Any:
        mixture = self._mixture or uniform(self.decision.shape, first_tensor(inputs))
        active = mixture.row(0)
        total = add_up(
            weighted_terms(
                self.candidates, active, mixture.values, lambda candidate, weight: scaled(weight, candidate(*inputs))
            )
        )
        output = self.candidates[active[0]](*inputs) if total is None else total
        return shifted(output, mixture.inactive_sum([0]))

    def plain(self, kept: Kept) -> nn.Module:
        assert isinstance(kept, str)
        return self.candidates[self.decision.candidates.index(kept)]

    def extra_repr(self) -> str:
        return f"{self.decision.name!r}, candidates={list(self.decision.candidates)}"


def checked_candidates(name: str, candidates: object) -> dict[str, nn.Module]:
    """The candidates of a choice by name; those of a list are called 0_ReLU, 1_Tanh and so on.

    Raises:
        UserError: they are no mapping and no list, or one of them is no module.
    """
    if isinstance(candidates, Sequence) and not isinstance(candidates, str):
        candidates = {f"{index}_{type(module).__name__}": module for index, module in enumerate(candidates)}
    if not isinstance(candidates, Mapping):
        raise UserError(
            f"Choice {name!r} needs a mapping of names to modules, such as {{'relu': nn.ReLU(), 'tanh': nn.Tanh()}}; "
            f"got a {type(candidates).__name__}."
        )
    for candidate, module in candidates.items():
        if not isinstance(module, nn.Module):
            hint = " Put it into nn.Sequential(...)." if isinstance(module, tuple | list) else ""
            raise UserError(
                f"Candidate {candidate!r} of choice {name!r} must be an nn.Module; got {described(module)}.{hint}"
            )
    return dict(candidates)


class InputSum(nn.Module):
    """The sum of the kept inputs, which is what `InputChoice.plain` gives."""

    def __init__(self, indices: Sequence[int]):
        super().__init__()
        self.indices = tuple(indices)

    def forward(self, *inputs: Tensor) -> Tensor:
        total = inputs[self.indices[0]]
        for index in self.indices[1:]:
            total = total + inputs[index]
        return total

    def extra_repr(self) -> str:
        return f"indices={list(self.indices)}"


class InputChoice(OneDecision):
    """A choice of connections: `num_chosen` of several inputs of equal shape are kept and added up.

    During search the result is `sum_i mixture[i] * input_i`; afterwards the kept inputs are added with weight 1.

    Args:
        name: name of the decision; choices of the same name share one decision.
        inputs: a name for each input, in the order of the call.
        num_chosen: number of inputs that are kept.
    """

    def __init__(self, name: str, inputs: Sequence[str], *, num_chosen: int = 1):
        names = checked_names(name, tuple(inputs))
        if not 1 <= num_chosen <= len(names):
            raise UserError(f"Choice {name!r} cannot keep {num_chosen} of {len(names)} inputs.")
        super().__init__(Decision(name, "inputs", names, num_kept=num_chosen))

    def forward(self, *inputs: Tensor) -> Tensor:
        if len(inputs) != len(self.decision.candidates):
            raise UserError(
                f"{self.decision.name!r} chooses among {len(self.decision.candidates)} inputs, got {len(inputs)}."
            )
        mixture = self._mixture or uniform(self.decision.shape, inputs[0])
        terms = [mixture.values[i] * inputs[i] for i in mixture.row(0)]
        return shifted(sum(terms[1:], start=terms[0]), mixture.inactive_sum([0]))

    def plain(self, kept: Kept) -> nn.Module:
        assert isinstance(kept, tuple)
        return InputSum([self.decision.candidates.index(name) for name in kept])

    def extra_repr(self) -> str:
        return f"{self.decision.name!r}, inputs={list(self.decision.candidates)}, num_chosen={self.decision.num_kept}"
