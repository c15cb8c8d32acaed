"""What may watch a search, end it or send it back: after every epoch, and after every step."""

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
        supernet: with its weights and alphas as they are now; in the `.grad` of its weights is the clipped gradient of
            the training loss that this step has used.
        mixtures: the relaxation's expected mixtures.
        train_batch: of the weights.
        val_batch: of the alphas; None while they are not trained.
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
        progress: from 0 to 1, a scalar tensor.
        supernet: with its weights and alphas as they are; an observer may compute gradients with `supernet.loss`.
        mixtures: the relaxation's expected mixtures.
        relaxation: of the search.
        architecture: what would be kept now; None where finding out would take training (perturbation).
        train_batch: the last batch of the weights' half, for diagnostics.
        val_batch: the last batch of the alphas' half; None while the alphas are not trained.
        scalars: what will be logged for this epoch; an observer adds its own.
        weight_optimizer: of the weights; its settings may be changed.
        evaluate: accuracy of the supernet on the search's validation images with only some candidates active.
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
        epoch: number of the epoch, counted from 1, whose alphas are the result; None for the present ones.
    """

    epoch: int | None = None


@dataclass(frozen=True)
class GoBack:
    """Lets a search go on from the end of an earlier epoch; what came after it is given up.

    Weights, alphas, both optimizers' states, generators and the memories of all observers are as they were then, and
    with the number of epochs the progress, the learning rate and the batches are those of then. Settings of the
    weights' optimizer stay as they are now, so that the repeated epochs can differ by them, and by nothing else. Rows
    of metrics have `attempt` from there on, and their `step` counts on.

    Args:
        epoch: number of epochs done, counted from 1; one that the observer `may_go_back_to`.
    """

    epoch: int


class Observer(ABC):
    """Called after every epoch of a search, before its checkpoint, and where it wants so after every step.

    An observer may compute gradients with the supernet, freeze weights by `requires_grad_(False)` or rule candidates
    out by `supernet.allowed`; what it changes is part of the search. What it must remember goes into `memory`, since
    the observer itself is not saved.
    """

    def step_ended(self, report: StepReport) -> None:  # noqa: B027, most observers have nothing to do here
        """Called after every step."""

    @abstractmethod
    def epoch_ended(self, report: EpochReport) -> Stop | GoBack | None:
        """Called after every epoch; a `Stop` ends the search here, which goes before a `GoBack` of another one."""

    def check(self, decisions: Mapping[str, Decision]) -> None:  # noqa: B027, most go with any decisions
        """See that it has something to look at among these; asked before the first step of a search.

        Raises:
            UserError: what it looks at and is not there.
        """

    def may_go_back_to(self, epoch: int) -> bool:
        """Whether it may ever ask to go back to the end of this epoch; only states of such epochs are kept."""
        return False

    @property
    def watches_steps(self) -> bool:
        """Whether it does something in `step_ended`."""
        return type(self).step_ended is not Observer.step_ended
