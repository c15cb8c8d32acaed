"""The result of a search."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.derive import derive
from dnas.searching.decidedness import Decidedness
from dnas.searching.notebook import result_html
from dnas.searching.start import Start
from dnas.searching.supernet import Supernet
from dnas.system.errors import UserError


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Args:
        architecture: the architecture that the discretization keeps.
        supernet: the supernet with its final weights and alphas.
        metrics: one row of scalars per epoch. If an observer has sent the search back, the rows of the epochs that were
            given up are still there, and later rows have an entry `attempt`.
        seconds: time spent in steps, evaluation and discretization, over all parts of a resumed run.
        start: the weights that the model came with; None after a search in stages, whose models are built for it.
        decidedness: how decided the search was; None where it is not the strength of mixtures that decides, or where
            there is a single architecture.
    """

    architecture: Architecture
    supernet: Supernet
    metrics: list[dict[str, float]]
    seconds: float
    start: Start | None = None
    decidedness: Decidedness | None = None

    def _repr_html_(self) -> str:
        """What a notebook shows: the architecture as a picture, and the accuracies over the epochs."""
        return result_html(self.architecture, self.metrics)

    def network(self) -> nn.Module:
        """The network that was found, with the weights that the model came with, ready to be trained.

        `dnas.derive(result.supernet.model, result.architecture)` has the searched weights instead.

        Raises:
            UserError: after a search in stages.
        """
        if self.start is None:
            raise UserError(
                "After a search in stages no weights are kept that a model came with: make a new model and use "
                "dnas.derive(model, result.architecture)."
            )
        return derive(self.start.of(self.supernet.model), self.architecture)
