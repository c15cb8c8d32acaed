"""What may watch a search after every epoch, and stop it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dnas.architecture import Architecture
from dnas.batch import Batch
from dnas.mixture import Mixture
from dnas.supernet import Supernet


@dataclass(frozen=True)
class EpochReport:
    """The search at the end of an epoch.

    Args:
        epoch: number of epochs done.
        step: number of weight steps done.
        progress: from 0 to 1, a scalar tensor.
        supernet: with its weights and alphas as they are; an observer may compute gradients with `supernet.loss`.
        mixtures: the relaxation's expected mixtures.
        architecture: what would be kept now; None where finding out would take training (perturbation).
        train_batch: the last batch of the weights' half, for diagnostics.
        val_batch: the last batch of the alphas' half; None while the alphas are not trained.
        scalars: what was logged.
    """

    epoch: int
    step: int
    progress: Tensor
    supernet: Supernet
    mixtures: Mapping[str, Mixture]
    architecture: Architecture | None
    train_batch: Batch
    val_batch: Batch | None
    scalars: Mapping[str, float]


class Observer(ABC):
    """Called after every epoch of a search, between its last step and its checkpoint.

    An observer may compute gradients with the supernet, or freeze weights by `requires_grad_(False)`; what it changes
    is part of the search. One that must remember something across epochs recomputes it from the run's metrics.
    """

    @abstractmethod
    def epoch_ended(self, report: EpochReport) -> bool:
        """True stops the search here."""
