"""The interface of observers, which may watch a search, end it or send it back, after every epoch or step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dnas.core.architecture import Architecture
from dnas.core.batch import Batch
from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.method.relaxation.base import Relaxation
from dnas.searching.supernet import Supernet


@dataclass(frozen=True)
class StepReport:
    """The search after one weight step.

    Args:
        step: number of weight steps done.
        epoch: number of whole epochs done before this step.
        supernet: the supernet with its current weights and alphas. The `.grad` of its weights holds the clipped
            gradient of the training loss that this step used.
        mixtures: the relaxation's expected mixtures.
        train_batch: the batch for the weights.
        val_batch: the batch for the alphas; None while they are not trained.
        memory: plain data and tensors that this observer keeps from call to call; it is part of the checkpoint.
    """

    step: int
    epoch: int
    supernet: Supernet
    mixtures: Mapping[str, Mixture]
    train_batch: Batch
    val_batch: Batch | None
    memory: dict[str, Any]


@dataclass(frozen=True)
class EpochReport:
    """The search at the end of an epoch.

    Args:
        epoch: number of epochs done.
        step: number of weight steps done.
        progress: progress from 0 to 1, a scalar tensor.
        supernet: the supernet with its current weights and alphas; an observer may compute gradients with
            `supernet.loss`.
        mixtures: the relaxation's expected mixtures.
        relaxation: the relaxation of the search.
        architecture: the architecture that would be kept now; None if finding it takes training (perturbation).
        train_batch: the last batch for the weights, for diagnostics.
        val_batch: the last batch for the alphas; None while the alphas are not trained.
        scalars: what will be logged for this epoch; an observer may add its own.
        weight_optimizer: the optimizer of the weights; its settings may be changed.
        evaluate: returns the supernet's accuracy on the validation images with only some candidates active.
        memory: plain data and tensors that this observer keeps from call to call; it is part of the checkpoint.
        attempt: 1, and one more each time the search has gone back.
    """

    epoch: int
    step: int
    progress: Tensor
    supernet: Supernet
    mixtures: Mapping[str, Mixture]
    relaxation: Relaxation
    architecture: Architecture | None
    train_batch: Batch
    val_batch: Batch | None
    scalars: dict[str, float]
    weight_optimizer: torch.optim.Optimizer
    evaluate: Callable[[Mapping[str, Active]], float]
    memory: dict[str, Any]
    attempt: int = 1


@dataclass(frozen=True)
class Stop:
    """Ends a search.

    Args:
        epoch: number of the epoch, counted from 1, whose alphas are the result; None for the current ones.
    """

    epoch: int | None = None


@dataclass(frozen=True)
class GoBack:
    """Lets a search continue from the end of an earlier epoch; everything after that epoch is given up.

    Weights, alphas, the states of both optimizers, generators and the memories of all observers return to their values
    of that epoch. So do progress, learning rate and batches, which follow from the number of epochs. The settings of
    the weights' optimizer stay as they are now, so that the repeated epochs can differ by them, and by nothing else.
    Rows of metrics then have an entry `attempt`, and their `step` keeps counting.

    Args:
        epoch: number of epochs done, counted from 1; an epoch that the observer `may_go_back_to`.
    """

    epoch: int


class Observer(ABC):
    """Is called after every epoch of a search, before its checkpoint is written, and optionally after every step.

    An observer may compute gradients with the supernet, freeze weights by `requires_grad_(False)` or rule out
    candidates by `supernet.allowed`; its changes are part of the search. The observer itself is not saved, so whatever
    it must remember goes into `memory`.
    """

    def step_ended(self, report: StepReport) -> None:  # noqa: B027, most observers have nothing to do here
        """Called after every step."""

    @abstractmethod
    def epoch_ended(self, report: EpochReport) -> Stop | GoBack | None:
        """Called after every epoch; a `Stop` ends the search, and takes precedence over another observer's `GoBack`."""

    def check(self, decisions: Mapping[str, Decision]) -> None:  # noqa: B027, most fit any decisions
        """Check, before the first step of a search, that it finds what it looks at in these decisions.

        Raises:
            UserError: names what it looks at and does not find.
        """

    def may_go_back_to(self, epoch: int) -> bool:
        """Whether it may ever ask to go back to the end of this epoch; only the states of such epochs are kept."""
        return False

    @property
    def watches_steps(self) -> bool:
        """Whether it does something in `step_ended`."""
        return type(self).step_ended is not Observer.step_ended
