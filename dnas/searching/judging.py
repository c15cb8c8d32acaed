"""What is measured after an epoch and at the end of a search: the supernet, its mixtures, and its architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NoReturn

from dnas.core.architecture import Architecture, Kept
from dnas.core.batch import Batch
from dnas.core.mixture import Active, Mixture
from dnas.core.progress import set_progress
from dnas.cost.bounds import Bounds
from dnas.data.batches import Batches
from dnas.method.discretization import Argmax
from dnas.method.discretization.genome import is_whole
from dnas.method.discretization.genome import kept as kept_of
from dnas.method.discretization.within import WithinBudget
from dnas.searching.course import Course
from dnas.searching.decidedness import Decidedness, decidedness, is_open
from dnas.searching.execution import Stepper
from dnas.searching.measured_budget import within_measured
from dnas.searching.observer import skip_share
from dnas.searching.settings import SearchSettings
from dnas.searching.supernet import relaxed_mixtures
from dnas.searching.supernet_measures import evaluate_supernet, goodness, mean_entropy
from dnas.system.display import Display


def nothing_to_heed() -> None:
    """Do nothing: a discretization between epochs is not interrupted."""


class Judging:
    """Measures a supernet, and finds the architecture in it.

    Args:
        stepper: holds the supernet, its weights' optimizer and the budget.
        course: how far the search has come.
        settings: the settings of the search.
        train_on: trains the weights alone on the training batch of a number, for a discretization that needs it.
        validation: batches on which the supernet is measured.
        bounds: limits of the settings' budget; None without one.
        stamp: turns what is kept into an `Architecture`.
        display: where the progress of a discretization is shown.
    """

    def __init__(
        self,
        stepper: Stepper,
        course: Course,
        settings: SearchSettings,
        *,
        train_on: Callable[[int], None],
        validation: Batches,
        bounds: Bounds | None,
        stamp: Callable[[dict[str, Kept]], Architecture],
        display: Display,
    ):
        self.stepper = stepper
        self.supernet = stepper.supernet
        self.course = course
        self.settings = settings
        self.train_on = train_on
        self.validation = validation
        self.bounds = bounds
        self.stamp = stamp
        self.display = display
        self._tuning_steps = 0  # steps of a discretization that trains; they are not part of a checkpoint

    # After an epoch

    def mixtures(self) -> dict[str, Mixture]:
        """The current expected mixtures."""
        return self.supernet.expected(self.settings.relaxation, self.course.progress_tensor)

    def epoch_scalars(self, mixtures: Mapping[str, Mixture]) -> dict[str, float]:
        """The supernet's validation measures with these mixtures, if they are due, and how decided the mixtures are."""
        every, scalars = self.settings.validate_every, dict[str, float]()
        if every and self.course.epoch % every == 0:
            scalars = {f"validation_{name}": value for name, value in self._measure(mixtures).items()}
        gates = self.settings.relaxation.gates
        scalars["entropy"] = mean_entropy(self.supernet.decisions, mixtures, gates=gates)
        if self.stepper.held is not None:
            scalars |= self.stepper.held.scalars(mixtures)
        scalars["learning_rate"] = self.stepper.weight_optimizer.param_groups[0]["lr"]
        return scalars

    def architecture_of_epoch(self, mixtures: Mapping[str, Mixture]) -> Architecture | None:
        """The architecture after an epoch; None if the discretization trains or evaluates, thus decides at the end."""
        return None if self.settings.discretization.needs_training else self.architecture(mixtures)

    def skip_share(self, mixtures: Mapping[str, Mixture], architecture: Architecture | None) -> dict[str, float]:
        """Share of skip connections in an epoch's architecture or, if it has none, among the strongest candidates.

        Empty if no alphas are trained, or if no operation is kept.
        """
        if architecture is None and self.settings.relaxation.trains_alphas:
            architecture = Architecture(self._strongest(mixtures))
        share = None if architecture is None else skip_share(architecture)
        return {} if share is None else {"skip_share": share}

    def draft(self) -> Architecture:
        """The strongest candidates now as an architecture, in the form in which the search will write its result."""
        return self.stamp(self._strongest(self.mixtures()))

    def _strongest(self, mixtures: Mapping[str, Mixture]) -> dict[str, Kept]:
        return Argmax()(self.supernet.decisions, mixtures, evaluate=_not_needed, train=_not_needed)

    def _measure(self, mixtures: Mapping[str, Mixture], batches: Iterable[Batch] | None = None) -> dict[str, float]:
        set_progress(self.supernet.model, self.course.progress_tensor)
        return evaluate_supernet(self.supernet, mixtures, self.validation.epoch(0) if batches is None else batches)

    def accuracy_with(self, active: Mapping[str, Active], batches: Iterable[Batch] | None = None) -> float:
        """How good the supernet is on these batches, or on all validation data, with only these candidates.

        Larger is better.
        """
        decisions = self.supernet.decisions
        if is_whole(active, decisions):  # judged as it will be derived: gates open, edges without weights
            mixtures = self.supernet.one_hot(Architecture(kept_of(active, decisions)))
        else:
            with self.supernet.only(active):
                mixtures = self.mixtures()
        return goodness(self._measure(mixtures, batches), self.supernet.task)

    # Discretization

    def final_architecture(self, heed: Callable[[], None]) -> Architecture:
        """The architecture at the end; within a limit on milliseconds as measured.

        Args:
            heed: as for `architecture`.

        Raises:
            UserError: no network was found that is as fast as its budget asks.
        """
        mixtures = self.mixtures()
        if self.bounds is None:
            return self.architecture(mixtures, heed)
        return within_measured(self.bounds, lambda bounds: self.architecture(mixtures, heed, bounds), self.display.say)

    def architecture(
        self,
        mixtures: Mapping[str, Mixture],
        heed: Callable[[], None] = nothing_to_heed,
        bounds: Bounds | None = None,
    ) -> Architecture:
        """The architecture that the discretization keeps.

        Args:
            mixtures: the expected mixtures.
            heed: called before each evaluation and each step; it may raise `Interrupted`.
            bounds: other limits than those of the settings' budget.
        """

        images = self.settings.discretization.images_each
        parts = None if images is None else in_turns(self.validation, images)

        def evaluate(active: Mapping[str, Active]) -> float:
            heed()
            return self.accuracy_with(active, None if parts is None else next(parts))

        def train(epochs: int, active: Mapping[str, Active] | None = None) -> None:
            self._train_weights(epochs, active or {}, heed)

        discretization = self.settings.discretization.seeded(self.settings.seed)
        limits = bounds or self.bounds
        if limits is not None:
            held = self.stepper.held
            discretization = WithinBudget(discretization, limits, is_pushed=held is not None and held.has_pushed)
        kept = discretization(self.supernet.decisions, mixtures, evaluate=evaluate, train=train)
        return self.stamp(kept)

    def decidedness(self, architecture: Architecture) -> Decidedness | None:
        """How decided the search is that ends in this architecture; None if mixtures do not decide, or nothing is open.

        The last quarter of the epochs in which alphas moved is looked at.
        """
        settings, course = self.settings, self.course
        if settings.discretization.needs_training or not settings.relaxation.trains_alphas:
            return None
        decisions = self.supernet.decisions.values()
        if not any(is_open(one, gates=settings.relaxation.gates) for one in decisions if one.kind != "edges"):
            return None
        last = course.result_epoch or len(course.alphas_by_epoch)
        moving = max(last - course.part.warmup_end, 0)
        first = max(last - math.ceil(moving / 4), course.part.first + 1)
        before = [self.architecture(self._mixtures_of(epoch)).decisions for epoch in range(first, last)]
        return decidedness(
            architecture.decisions,
            before,
            self.mixtures(),
            self.supernet.decisions,
            gates=settings.relaxation.gates,
        )

    def _mixtures_of(self, epoch: int) -> dict[str, Mixture]:
        """The expected mixtures after an epoch, counted from 1."""
        relaxation, progress = self.settings.relaxation, self.course.progress_tensor
        alphas, supernet = self.course.alphas_by_epoch[epoch - 1], self.supernet
        return relaxed_mixtures(
            supernet.decisions, alphas, supernet.allowed, lambda alpha: relaxation.expected(alpha, progress)
        )

    def _train_weights(self, epochs: int, active: Mapping[str, Active], heed: Callable[[], None]) -> None:
        """Train only the weights for more epochs, at a constant learning rate; the batches continue where they were."""
        settings, course = self.settings.weights, self.course
        if self.settings.tuning_afresh and not self._tuning_steps:
            self.stepper.weight_optimizer.state.clear()
        settings.assign_lr(self.stepper.weight_optimizer, 0.0, self.settings.tuning_lr)
        total = epochs * course.steps_per_epoch
        with self.supernet.only(active):
            for step in range(total):
                heed()
                self.train_on(course.step + self._tuning_steps)
                self._tuning_steps += 1
                self.display.update("tuning", step + 1, total, {})


def in_turns(batches: Batches, num_images: int) -> Iterator[list[Batch]]:
    """Batches in order that hold at least so many samples together, again and again; the last of a pass may hold fewer.

    Args:
        batches: batches of an evaluation.
        num_images: at least 1.
    """
    while True:
        part: list[Batch] = []
        for batch in batches.epoch(0):
            part.append(batch)
            if sum(each.num_samples for each in part) >= num_images:
                yield part
                part = []
        if part:
            yield part


def _not_needed(*arguments: object) -> NoReturn:
    raise AssertionError("the strongest candidates are found without evaluation or training")
