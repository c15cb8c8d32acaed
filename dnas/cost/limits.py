"""Costs that a search holds at limits, as functions of its mixtures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from dnas.core.decision import Decision
from dnas.core.mixture import Mixture

# Expected costs of mixtures: one for each limit, in float64, differentiable.
Expected = Callable[[Mapping[str, Mixture]], Tensor]


class Limits(ABC):
    """Limits on costs of what will be kept."""

    @property
    @abstractmethod
    def units(self) -> Sequence[str]:
        """The unit of each limit."""

    @property
    @abstractmethod
    def most(self) -> Sequence[float]:
        """Each limit in its unit."""

    @abstractmethod
    def expected(self, decisions: Mapping[str, Decision], threshold: float | None) -> Expected:
        """The expected costs of what will be kept.

        Args:
            decisions: of the supernet.
            threshold: of independent gates; None if candidates compete.
        """
