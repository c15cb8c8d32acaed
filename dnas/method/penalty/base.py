"""The interface of a penalty, which shapes the loss of the architecture step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from torch import Tensor

from dnas.core.decision import edges_name
from dnas.core.mixture import Mixture

# The cost of each candidate of the supernet, by decision name, in a unit: 'flops' or 'parameters'.
MeasureCosts = Callable[[str], Mapping[str, list]]


class Penalty(ABC):
    """Turns the validation loss into the outer loss, as a function of alphas and mixtures.

    It may add a term (a cost, a regulariser) or multiply the loss. Gradients flow through `alphas` (by decision
    name) and through `mixtures`; both are given so that a penalty can act on either. The alphas include those of
    candidates that were ruled out, with finite values.
    """

    @abstractmethod
    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor: ...

    def measured(self, measure: MeasureCosts) -> Penalty:
        """This penalty with the costs that it needs, measured before the first step; itself if it needs none."""
        return self


def of_operations(alphas: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The alphas that weigh candidates, without those that weigh the edges of a cell."""
    edges = {edges_name(name) for name in alphas}
    return {name: alpha for name, alpha in alphas.items() if name not in edges}
