"""All settings of a search: the parts of the method, its two optimizers, and its length. A recipe fills these in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dnas.cost.budget import Budget
from dnas.method.discretization import Argmax, Discretization
from dnas.method.hypergradient import FiniteDifference, FirstOrder, Hypergradient, OneStep
from dnas.method.penalty import Penalty
from dnas.method.relaxation import Relaxation, Softmax
from dnas.method.smoothing import Smoothing
from dnas.searching.combination import check_budget, check_discretization, check_penalties, check_without_alphas
from dnas.searching.observer import Observer, check_length, check_observers
from dnas.searching.stage import Part, Stage, check_stages, parts, scaled
from dnas.searching.weight_optimizer import WeightOptimizer
from dnas.searching.weight_optimizer import WeightSGD as WeightSGD
from dnas.system.accepted import accept
from dnas.system.difference import free
from dnas.system.errors import UserError


@dataclass(frozen=True)
class AlphaAdam:
    """Adam for the alphas, with the settings of DARTS (Liu et al. 2019, appendix A.1).

    Args:
        lr: learning rate.
        betas: decay of the first and second moment.
        weight_decay: coupled, as in `torch.optim.Adam`.
    """

    lr: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        accept(self)
        if not 0 <= self.lr < math.inf:
            raise UserError(f"lr of the alphas must be 0 or more; got {self.lr}.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"betas must be from 0 up to below 1; got {list(self.betas)}.")
        if not 0 <= self.weight_decay < math.inf:
            raise UserError(f"weight_decay of the alphas must be 0 or more; got {self.weight_decay}.")

    def build(self, alphas: list[Tensor]) -> torch.optim.Optimizer:
        """The optimizer at the start of the search."""
        return torch.optim.Adam(alphas, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Args:
        relaxation: how alphas become a mixture.
        hypergradient: how the gradient of the validation loss is found.
        discretization: how the search ends in an architecture.
        penalties: what is added to, or multiplies, the validation loss, in this order.
        smoothing: how the mixtures of the weight steps are disturbed; null for not at all.
        observers: what watches the search after every epoch, and may stop it.
        weights: optimizer of the weights.
        alphas: optimizer of the architecture parameters.
        epochs: passes over the weights' half of the data.
        warmup_epochs: epochs at the start in which only the weights are trained; stages have their own.
        stages: parts of the search, each with a supernet of its own; none for a search that is one.
        weight_steps: weight steps for each architecture step.
        one_level: whether alphas and weights are trained on the same batches, all of the data, both from one pass.
        weights_first: whether the weights of a step move before the alphas.
        clip_over: whose gradients of the training loss count in the norm by which those of the weights are clipped: the
            weights' alone ('weights'), or those of the alphas ('alphas') or the mixtures ('mixtures') too.
        tuning_lr: learning rate, as a share of the first one, when a discretization trains the weights on.
        tuning_afresh: whether it trains them with a new optimizer, without the momentum of the search.
        validate_every: epochs between two measurements of the supernet's validation accuracy; 0 for none.
        precision: precision of products in a search step: 'float32'; 'tf32', which on a CPU is the same; or 'bf16', by
            autocast with float32 weights. The passes of a finite difference are always in float32.
        capture: whether on a CUDA device whole search steps are recorded and replayed as a CUDA graph, where they can.
        seed: seed of alphas and samples.
        log_every: steps between two rows of step metrics.
        checkpoint_minutes: time between two checkpoints, besides the one after each epoch.
        skip_non_finite: steps that may be left out, in all, because inputs, loss or gradient of their batches are NaN
            or infinite; the search stops at the next one. With 0, the default, it stops at the first one.
        synchronise_batch_norm: whether several processes (docs/clusters.md) normalise by the statistics of the whole
            batch, at the price of two messages for each batch norm and pass. If not, each uses those of its own rows:
            steps are then no longer those of one process. With one process it has no effect.
        budget: what the network may cost that is delivered; null for any cost.
    """

    relaxation: Relaxation = Softmax()
    hypergradient: Hypergradient = FirstOrder()
    discretization: Discretization = Argmax()
    penalties: tuple[Penalty, ...] = ()
    smoothing: Smoothing | None = None
    observers: tuple[Observer, ...] = ()
    weights: WeightOptimizer = WeightSGD()
    alphas: AlphaAdam = AlphaAdam()
    epochs: int = 50
    warmup_epochs: int = 0
    stages: tuple[Stage, ...] = ()
    weight_steps: int = 1
    one_level: bool = False
    weights_first: bool = False
    clip_over: Literal["weights", "alphas", "mixtures"] = "weights"
    tuning_lr: float = 0.1
    tuning_afresh: bool = False
    validate_every: int = 1
    precision: Literal["float32", "tf32", "bf16"] = "tf32"
    capture: bool = free(True)
    seed: int = 0
    log_every: int = free(50)
    checkpoint_minutes: float = free(10.0)
    skip_non_finite: int = free(0)
    synchronise_batch_norm: bool = free(True)  # as the number of processes, which may change too
    budget: Budget | None = None

    def __post_init__(self) -> None:
        accept(self)
        self._check_numbers()
        hypergradient = self.hypergradient
        differs = isinstance(hypergradient, OneStep) and isinstance(hypergradient.mixed, FiniteDifference)
        if self.precision == "bf16" and differs:
            raise UserError(
                "precision bf16 does not go with a finite difference: its passes need float32, and the vector that "
                "they are taken along would be rounded to three digits. Use precision tf32, or mixed dnas.ExactProduct."
            )
        if self.weights_first and not isinstance(hypergradient, FirstOrder):
            raise UserError(
                f"weights_first does not go with {type(hypergradient).__name__}, which looks ahead to the weights' "
                "step: leave one of them out."
            )
        if self.clip_over != "weights" and self.smoothing is not None:
            raise UserError(f"clip_over {self.clip_over} does not go with smoothing: leave one of them out.")
        if self.one_level:
            self._check_one_level()
        if self.smoothing is not None and _draws_one_candidate(self.relaxation):
            raise UserError(
                f"{type(self.smoothing).__name__} has no effect with {type(self.relaxation).__name__}, which draws one "
                "candidate per edge: there is nothing around it to smooth. Use dnas.Softmax, or leave smoothing out."
            )
        if self.stages:
            self._set_stages()
        check_without_alphas(self.relaxation, self._of_alphas())
        check_penalties(self.penalties, self.relaxation)
        if self.budget is not None:
            check_budget(self.budget, self.penalties)
        tuning_lr = None if self.tuning_lr == SearchSettings.tuning_lr else self.tuning_lr
        if self.tuning_afresh and not self.discretization.needs_training:
            raise UserError(
                f"tuning_afresh has no effect with {type(self.discretization).__name__}, which trains nothing."
            )
        check_discretization(self.discretization, self.relaxation, tuning_lr=tuning_lr)
        self.check_observers(self.observers)

    def _check_numbers(self) -> None:
        """See that each number is in its range."""
        if self.epochs < 1:
            raise UserError(f"epochs must be at least 1; got {self.epochs}.")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise UserError(
                f"warmup_epochs must lie between 0 and epochs = {self.epochs}; got {self.warmup_epochs}. In a shorter "
                "search set it too (--search.warmup_epochs)."
            )
        if self.log_every < 1:
            raise UserError(f"log_every must be at least 1; got {self.log_every}.")
        if self.skip_non_finite < 0:
            raise UserError(f"skip_non_finite must be 0 (none) or more; got {self.skip_non_finite}.")
        if self.weight_steps < 1:
            raise UserError(f"weight_steps must be at least 1; got {self.weight_steps}.")
        if not self.tuning_lr > 0:
            raise UserError(f"tuning_lr must be above 0; got {self.tuning_lr}.")
        if self.validate_every < 0:
            raise UserError(f"validate_every must be 0 (never) or more; got {self.validate_every}.")

    def _of_alphas(self) -> list[str]:
        """Names of settings that differ from their defaults and say nothing but how alphas are trained."""
        said = {
            "penalties": bool(self.penalties),
            "hypergradient": not isinstance(self.hypergradient, FirstOrder),
            "alphas": self.alphas != AlphaAdam(),
            "weight_steps": self.weight_steps > 1,
            "weights_first": self.weights_first,
            "clip_over": self.clip_over != "weights",
            "warmup_epochs": any(stage.warmup_epochs for stage in self.all_stages),
            "num_candidates of a stage": any(stage.num_candidates for stage in self.stages),
        }
        return [name for name, is_said in said.items() if is_said]

    def check_observers(self, observers: Sequence[Observer]) -> None:
        """Check that observers have something to see in this search.

        Raises:
            UserError: as `dnas.searching.observer.check_observers`.
        """
        check_observers(
            observers,
            trains_alphas=self.relaxation.trains_alphas,
            one_level=self.one_level,
            needs_training=self.discretization.needs_training,
            weight_decay=self.weights.weight_decay,
            in_stages=len(self.stages) > 1,
            validate_every=self.validate_every,
        )

    def check_length(self) -> None:
        """Check, before the first step, that the search is long enough for its observers to act.

        Raises:
            UserError: as `dnas.searching.observer.check_length`.
        """
        trained = [part.warmup_end + 1 for part in self.parts if part.warmup_end < part.end]
        check_length(self.observers, first=min(trained, default=self.epochs + 1), last=self.epochs)

    def _set_stages(self) -> None:
        check_stages(self.stages)
        if self.warmup_epochs:
            raise UserError(
                f"warmup_epochs = {self.warmup_epochs} has no effect beside stages; give each stage its own."
            )
        object.__setattr__(self, "stages", scaled(self.stages, self.epochs))

    @property
    def all_stages(self) -> tuple[Stage, ...]:
        """The stages; one where none are said."""
        return self.stages or (Stage(self.epochs, self.warmup_epochs),)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Which epochs each of them is."""
        return parts(self.all_stages)

    def _check_one_level(self) -> None:
        if self.weights_first or self.clip_over != "weights":
            setting = "weights_first" if self.weights_first else f"clip_over {self.clip_over}"
            raise UserError(f"{setting} has no effect with one_level, where there is no weight step of its own.")
        if not isinstance(self.hypergradient, FirstOrder):
            raise UserError(
                f"one_level takes both gradients from one pass, so {type(self.hypergradient).__name__} would have no "
                "effect: use hypergradient dnas.FirstOrder, or two levels."
            )
        if self.smoothing is not None or self.weight_steps > 1:
            setting = "smoothing" if self.smoothing is not None else "weight_steps"
            raise UserError(f"{setting} has no effect with one_level, where there is no weight step of its own.")


def _draws_one_candidate(relaxation: Relaxation) -> bool:
    """Whether in a weight step the others are not computed."""
    with torch.no_grad():
        mixture = relaxation.sample(torch.zeros(1, 2), torch.zeros(()), torch.Generator().manual_seed(0))
    return mixture.active is not None and all(len(row) == 1 for row in mixture.active)
