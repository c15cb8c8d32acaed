"""The interface of a discretization, which turns mixtures into an architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from random import Random

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture

# The accuracy of the supernet on the search's own validation half when only these candidates take part. They are
# weighed by the relaxation's expected mixture; if only one whole architecture is left, each has weight 1, as in the
# derived network. The test part is never used.
Evaluate = Callable[[Mapping[str, Active]], float]

# Trains the supernet's weights for some more epochs, with only these candidates; None for all.
Train = Callable[[int, Mapping[str, Active] | None], None]


class Limits(ABC):
    """What a budget leaves of a space."""

    @abstractmethod
    def allow(self, active: Mapping[str, Active]) -> bool:
        """Whether some architecture of these candidates is within the budget."""

    @abstractmethod
    def random(self, random: Random) -> dict[str, Kept] | None:
        """A random architecture within the budget that uses most of it; None where there is no budget."""


class NoLimits(Limits):
    """No budget: everything may be kept."""

    def allow(self, active: Mapping[str, Active]) -> bool:
        return True

    def random(self, random: Random) -> dict[str, Kept] | None:
        return None


class Discretization(ABC):
    """Chooses the candidates that each decision keeps.

    `needs_training` says whether it evaluates or trains the supernet; one that does not is also asked after every
    epoch, to show what the search would find. `images_each` is the number of images of one evaluation, the next ones
    of the validation half each time; None for all of them.
    """

    needs_training = False  # not annotated: jsonargparse would look for the annotation's names in a subclass's file
    images_each = None

    @abstractmethod
    def __call__(
        self,
        decisions: Mapping[str, Decision],
        mixtures: Mapping[str, Mixture],
        *,
        evaluate: Evaluate,
        train: Train,
    ) -> dict[str, Kept]:
        """The kept candidates, by decision name.

        Args:
            decisions: the supernet's decisions; edge decisions belong to the operations of the same cell.
            mixtures: the relaxation's expected mixtures.
            evaluate: accuracy in [0, 1] of the supernet with only some candidates active. An empty row `()` of a cell
                leaves its edge out.
            train: trains the supernet's weights for a number of epochs with only some candidates active.
        """

    def check(self, decisions: Mapping[str, Decision]) -> None:  # noqa: B027, most fit any decisions
        """Check that this discretization can handle these decisions; called before the first step of a search.

        Raises:
            UserError: the decisions lack something that it needs.
        """

    def seeded(self, seed: int) -> Discretization:
        """This discretization with `seed` added to its own seed; unchanged if it draws no random numbers."""
        return self


class Trying(Discretization):
    """Tries candidates with the weights of the supernet; within a budget it passes over what does not fit."""

    needs_training = True

    @abstractmethod
    def decide(
        self,
        decisions: Mapping[str, Decision],
        mixtures: Mapping[str, Mixture],
        *,
        evaluate: Evaluate,
        train: Train,
        limits: Limits,
    ) -> dict[str, Kept]:
        """Return what is kept; it lies within `limits`.

        Args:
            decisions, mixtures, evaluate, train: as for a call.
            limits: what may be kept.
        """

    def __call__(
        self,
        decisions: Mapping[str, Decision],
        mixtures: Mapping[str, Mixture],
        *,
        evaluate: Evaluate,
        train: Train,
    ) -> dict[str, Kept]:
        return self.decide(decisions, mixtures, evaluate=evaluate, train=train, limits=NoLimits())
