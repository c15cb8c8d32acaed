"""Modules that hold a choice: among candidate modules, or among inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from dnas.core.architecture import Kept
from dnas.core.candidates import add_up, weighted_terms
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture, uniform
from dnas.core.searchable import Searchable, checked_names
from dnas.system.errors import UserError


class Choice(Searchable):
    """A choice among candidate modules of equal output shape: `sum_k mixture[k] * candidate_k(inputs)`.

    Args:
        name: name of the decision; choices of the same name share one decision.
        candidates: name -> module. Use `Zero()` for 'nothing' and `nn.Identity()` for a skip connection.
        excluded: candidates that discretization may not keep.

    Example:
        >>> import torch
        >>> choice = Choice("kernel", {"3x3": nn.Conv2d(8, 8, 3, padding=1), "5x5": nn.Conv2d(8, 8, 5, padding=2)})
        >>> choice(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(self, name: str, candidates: Mapping[str, nn.Module], *, excluded: Sequence[str] = ()):
        super().__init__()
        names = checked_names(name, tuple(candidates), excluded)
        self.decision = Decision(name, "choice", names, excluded=tuple(excluded))
        self.candidates = nn.ModuleList(candidates.values())
        self._mixture: Mixture | None = None

    def decisions(self) -> tuple[Decision, ...]:
        return (self.decision,)

    def bind(self, mixtures: Mapping[str, Mixture] | None) -> None:
        self._mixture = None if mixtures is None else mixtures[self.decision.name]

    def forward(self, *inputs: Tensor) -> Tensor:
        mixture = self._mixture or uniform(self.decision.shape, inputs[0])
        active = mixture.row(0)
        total = add_up(
            weighted_terms(
                self.candidates, active, mixture.values, lambda candidate, weight: weight * candidate(*inputs)
            )
        )
        return self.candidates[active[0]](*inputs) if total is None else total

    def plain(self, kept: Kept) -> nn.Module:
        assert isinstance(kept, str)
        return self.candidates[self.decision.candidates.index(kept)]

    def extra_repr(self) -> str:
        return f"{self.decision.name!r}, candidates={list(self.decision.candidates)}"


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


class InputChoice(Searchable):
    """A choice of connections: `num_chosen` of several inputs of equal shape are kept and added up.

    During search the result is `sum_i mixture[i] * input_i`; afterwards the kept inputs are added with weight 1.

    Args:
        name: name of the decision; choices of the same name share one decision.
        inputs: a name for each input, in the order of the call.
        num_chosen: number of inputs that are kept.
    """

    def __init__(self, name: str, inputs: Sequence[str], *, num_chosen: int = 1):
        super().__init__()
        names = checked_names(name, tuple(inputs))
        if not 1 <= num_chosen <= len(names):
            raise UserError(f"Choice {name!r} cannot keep {num_chosen} of {len(names)} inputs.")
        self.decision = Decision(name, "inputs", names, num_kept=num_chosen)
        self._mixture: Mixture | None = None

    def decisions(self) -> tuple[Decision, ...]:
        return (self.decision,)

    def bind(self, mixtures: Mapping[str, Mixture] | None) -> None:
        self._mixture = None if mixtures is None else mixtures[self.decision.name]

    def forward(self, *inputs: Tensor) -> Tensor:
        if len(inputs) != len(self.decision.candidates):
            raise UserError(
                f"{self.decision.name!r} chooses among {len(self.decision.candidates)} inputs, got {len(inputs)}."
            )
        mixture = self._mixture or uniform(self.decision.shape, inputs[0])
        terms = [mixture.values[i] * inputs[i] for i in mixture.row(0)]
        return sum(terms[1:], start=terms[0])

    def plain(self, kept: Kept) -> nn.Module:
        assert isinstance(kept, tuple)
        return InputSum([self.decision.candidates.index(name) for name in kept])

    def extra_repr(self) -> str:
        return f"{self.decision.name!r}, inputs={list(self.decision.candidates)}, num_chosen={self.decision.num_kept}"
