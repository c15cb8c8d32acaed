"""What every searchable module offers to a search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import nn

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.system.errors import UserError


class Searchable(nn.Module, ABC):
    """A module that contains decisions. Without bound mixtures it weighs all candidates equally."""

    @abstractmethod
    def decisions(self) -> tuple[Decision, ...]:
        """The decisions that this module leaves to a search."""

    @abstractmethod
    def bind(self, mixtures: Mapping[str, Mixture] | None) -> None:
        """Use these mixtures (by decision name) in the forward passes that follow; None for equal weights."""

    @abstractmethod
    def plain(self, kept: Kept) -> nn.Module:
        """The module with only the `kept` part of this one; both share the kept candidates."""


class OneDecision(Searchable):
    """A searchable module that leaves a single decision to a search, which all of it follows.

    Args:
        decision: the decision.
    """

    def __init__(self, decision: Decision):
        super().__init__()
        self.decision = decision
        self._mixture: Mixture | None = None

    def decisions(self) -> tuple[Decision, ...]:
        return (self.decision,)

    def bind(self, mixtures: Mapping[str, Mixture] | None) -> None:
        self._mixture = None if mixtures is None else mixtures[self.decision.name]


def checked_names(name: str, names: Sequence[str], excluded: Sequence[str] = ()) -> tuple[str, ...]:
    """The candidates' names of a choice, after checking them.

    Raises:
        UserError: the choice has no name or no candidates, two candidates share a name, or no candidate may be kept.
    """
    if not name:
        raise UserError("A choice needs a name; choices of one name share one decision.")
    if not names or len(set(names)) != len(names):
        raise UserError(f"Choice {name!r} needs one or more candidates of different names; got {list(names)}.")
    unknown = [candidate for candidate in excluded if candidate not in names]
    if unknown or set(names) <= set(excluded):
        raise UserError(
            f"Choice {name!r} excludes {list(excluded)}: excluded must name candidates, and leave one that may be "
            f"kept; the candidates are {list(names)}."
        )
    return tuple(names)
