"""How long a shrinking takes, and the epochs of fine-tuning that fit a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from dnas.cost.budget import Budget
from dnas.data.sample_kind import SampleKind
from dnas.jobs.planning.fit import Measured
from dnas.jobs.planning.measure import measure_training
from dnas.jobs.planning.time_budget import MARGIN, START_AND_END, TooShort, enough_time
from dnas.shrinking.budget import has_milliseconds, limits_of
from dnas.shrinking.milliseconds import seconds_to_predict
from dnas.shrinking.rivals import uniform_widths
from dnas.shrinking.rules import Rule
from dnas.shrinking.searchable import make_searchable
from dnas.shrinking.settings import ShrinkSettings
from dnas.system.words import number_of, readable_time, seconds_in

# A step of the masked search trains on one batch and takes the alphas' gradient on another, with masks.
_SEARCH_STEP = 2.5
# What a refusal names must do when steps are measured again: on a busy machine they took 1.2 times as long then.
_RESERVE = 1.5


@dataclass(frozen=True)
class Lengths:
    """Numbers of batches.

    Args:
        train: of an epoch of training.
        held_out: of the data that decide.
        test: of the data on which rows are measured.
    """

    train: int
    held_out: int
    test: int


@dataclass(frozen=True)
class Steps:
    """What was measured.

    Args:
        original: a step of training the model as it is, and an evaluation of a batch.
        small: the same of the uniform network within the budget, which learns from the model.
        trials: values of decisions whose loss is measured.
        predicting: seconds in which milliseconds are measured; 0 without a limit in them.
        scratch_epochs: epochs of the network from scratch; 0 without one.
    """

    original: Measured
    small: Measured
    trials: int
    predicting: float
    scratch_epochs: float


@dataclass(frozen=True)
class ShrinkPlan:
    """Settings that fit, and the seconds that they take.

    Args:
        settings: with the epochs of fine-tuning and the number of random networks that fit.
        seconds: of all that is left to do, with a margin for a busy machine.
    """

    settings: ShrinkSettings
    seconds: float

    def __str__(self) -> str:
        epochs, random = self.settings.fine_tuning.epochs, self.settings.random
        return (
            f"Shrinking: {number_of(epochs, 'epoch')} of fine-tuning, {number_of(random, 'random network')}: "
            f"about {readable_time(self.seconds)}"
        )


def measured_steps(
    model: nn.Module,
    kind: SampleKind,
    budget: Budget,
    settings: ShrinkSettings,
    *,
    rules: Sequence[Rule] = (),
    device: torch.device,
) -> Steps:
    """Measures steps of the model and of the uniform network within the budget, on random samples.

    Args:
        model: the trained model.
        kind: what the samples are like.
        budget: as the user gave it; of one in milliseconds the other limits alone make the uniform network.
        settings: of the shrinking.
        rules: what must stay.
        device: of the trainings.

    Raises:
        UserError: as `make_searchable` and `limits_of`, or nothing may vary.
    """
    example = kind.zeros(1).to(device)
    searchable = make_searchable(model, example, rules=rules)
    searchable.check_something_varies()
    program = searchable.program(settings.steps)
    others = tuple(one for one in budget.limits if not has_milliseconds(Budget((one,))))
    bounds = limits_of(Budget(others), searchable, program).bounds if others else ()
    uniform = uniform_widths(searchable, bounds) or program.cheapest(searchable.flops, bounds) or searchable.largest
    ranking = {group.name: range(len(group)) for group in searchable.structure.groups}
    small = searchable.derive(searchable.selection(uniform, ranking))

    def measured(network: nn.Module, teacher: nn.Module | None) -> Measured:
        tuning = settings.fine_tuning
        return measure_training(network, tuning, kind, batch_size=tuning.batch_size, device=device, teacher=teacher)

    epochs = settings.from_scratch * searchable.flops.of(searchable.largest) / searchable.flops.of(uniform)
    original = measured(searchable.derive(searchable.selection(searchable.largest, ranking)), None)
    return Steps(
        original=original,
        small=measured(small, model if settings.distill else None),
        trials=sum(len(some) for some in program.values.values()),
        predicting=seconds_to_predict(searchable, example) if has_milliseconds(budget) else 0.0,
        scratch_epochs=math.ceil(epochs),
    )


def plan_shrinking(
    settings: ShrinkSettings, steps: Steps, lengths: Lengths, *, search_epochs: int, budget: float, time: str
) -> ShrinkPlan:
    """As many epochs of fine-tuning as fit, up to those asked for; where not even one fits, fewer random networks.

    Args:
        settings: as the user gave them.
        steps: what was measured.
        lengths: of the data.
        search_epochs: of the masked search.
        budget: seconds that are left of the time.
        time: as it was given.

    Raises:
        TooShort: not even one epoch without random networks fits.
    """
    fits: Sequence[ShrinkSettings] = [
        replace(settings, fine_tuning=replace(settings.fine_tuning, epochs=epochs), random=random)
        for random in range(settings.random, -1, -1)
        for epochs in (range(settings.fine_tuning.epochs, 0, -1) if random == settings.random else [1])
    ]
    for chosen in fits:
        seconds = _seconds(chosen, steps, lengths, search_epochs)
        if seconds <= budget:
            return ShrinkPlan(chosen, seconds)
    least = _seconds(fits[-1], steps, lengths, search_epochs)
    behind = seconds_in(time) - budget  # reading the data took it, and will again
    enough = enough_time(behind + _RESERVE * least)
    scratch = (
        " The network from scratch takes most of it: leave out --settings.from_scratch." if steps.scratch_epochs else ""
    )
    raise TooShort(
        f"{time} is too short: shrinking needs --time {enough} for one epoch of fine-tuning and no random networks. "
        f"Give that, or use fewer images or a smaller --image_size.{scratch}",
        enough,
    )


def _seconds(settings: ShrinkSettings, steps: Steps, lengths: Lengths, search_epochs: int) -> float:
    """Seconds of all that a shrinking does, with a margin."""
    original, small = steps.original, steps.small
    statistics = min(settings.batches, lengths.train) * small.evaluation
    of_trial = min(settings.statistics_batches, lengths.train) + min(settings.batches, lengths.held_out)
    deciding = min(settings.batches, lengths.train) * original.step + steps.trials * of_trial * original.evaluation
    deciding += search_epochs * lengths.train * _SEARCH_STEP * original.step + steps.predicting
    epoch = lengths.train * small.step
    row = statistics + settings.fine_tuning.epochs * epoch + lengths.test * small.evaluation
    rows = (2 + settings.random) * row + lengths.test * original.evaluation
    if steps.scratch_epochs:
        rows += (steps.scratch_epochs + settings.fine_tuning.epochs) * epoch + lengths.test * small.evaluation
    finalists = 0.0
    if settings.finalists.num:
        finalists = settings.finalists.epochs_in_all * epoch / settings.finalist_pieces
        finalists += settings.finalists.num_trainings * (statistics + lengths.held_out * small.evaluation)
    return START_AND_END + MARGIN * (deciding + finalists + rows)
