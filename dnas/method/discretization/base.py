"""What a discretization is: from mixtures to what is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture

# The accuracy of the supernet on the search's own validation half when only these candidates take part: weighed by the
# relaxation's expected mixture of what is left, or, where that is one whole architecture, with weight 1 each, as in the
# network that would be derived. Never the test part.
Evaluate = Callable[[Mapping[str, Active]], float]

# Some more epochs of training the supernet's weights, in which only these candidates take part; None for all.
Train = Callable[[int, Mapping[str, Active] | None], None]


class Discretization(ABC):
    """Decides what each decision keeps.

    `needs_training` says whether it evaluates or trains the supernet; one that does not is also asked after every
    epoch, to show what the search would find.
    """

    needs_training = False  # not annotated: jsonargparse would look for the annotation's names in a subclass's file

    @abstractmethod
    def __call__(
        self,
        decisions: Mapping[str, Decision],
        mixtures: Mapping[str, Mixture],
        *,
        evaluate: Evaluate,
        train: Train,
    ) -> dict[str, Kept]:
        """What is kept, by decision name.

        Args:
            decisions: the supernet's decisions; edge decisions belong to the operations of the same cell.
            mixtures: the relaxation's expected mixtures.
            evaluate: accuracy in [0, 1] of the supernet with only some candidates active. An empty row `()` of a cell
                leaves its edge out.
            train: trains the supernet's weights for a number of epochs with only some candidates active.
        """

    def check(self, decisions: Mapping[str, Decision]) -> None:  # noqa: B027, most go with any decisions
        """See that it can decide about these; asked before the first step of a search.

        Raises:
            UserError: what it needs and is not there.
        """

    def seeded(self, seed: int) -> Discretization:
        """The same for a search of this seed, which is added to its own; itself where nothing is drawn."""
        return self
