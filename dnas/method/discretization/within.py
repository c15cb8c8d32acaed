"""What a discretization keeps within a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import NamedTuple

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.cost.band import band, largest_use
from dnas.cost.bounds import Bounds
from dnas.cost.drawing import BandDraws
from dnas.cost.layout import Item, items_of
from dnas.cost.program import Bound, Cap, Program
from dnas.method.discretization.argmax import edge_weights
from dnas.method.discretization.base import Discretization, Evaluate, Limits, Train, Trying
from dnas.method.discretization.eligible import eligible_rows
from dnas.method.discretization.genome import is_whole
from dnas.method.discretization.genome import kept as kept_of
from dnas.method.discretization.limited_skips import LimitedSkips
from dnas.method.discretization.threshold import Threshold

# Mixtures and gates nearer to 0 or 1 count as this far from them.
_LEAST = 1e-12


class Rules(NamedTuple):
    """What a discretization by strength asks of an architecture.

    Args:
        threshold: threshold of independent gates; None if candidates compete.
        caps: limits on candidates in cells.
        one_per_edge: whether independent gates keep one candidate of an edge at most.
    """

    threshold: float | None = None
    caps: tuple[Cap, ...] = ()
    one_per_edge: bool = False


def rules_of(discretization: Discretization) -> Rules:
    """The rules of a discretization; any other than Threshold and LimitedSkips has those of Argmax."""
    match discretization:
        case Threshold():
            return Rules(discretization.threshold, one_per_edge=discretization.one_per_edge)
        case LimitedSkips():
            caps = (Cap(name, discretization.candidate, discretization.most) for name in discretization.decisions)
            inner = rules_of(discretization.rule)
            return inner._replace(caps=(*inner.caps, *caps))
        case _:
            return Rules()


def program_of(decisions: Mapping[str, Decision], options: Mapping[str, Active], rules: Rules) -> Program:
    """What may be kept by these rules."""
    independent = rules.threshold is not None
    return Program(decisions, options, independent, rules.caps, rules.one_per_edge)


def scores(
    decisions: Mapping[str, Decision], mixtures: Mapping[str, Mixture], items: list[Item], rules: Rules
) -> dict[Item, float]:
    """How much it speaks for an architecture that it keeps an item.

    Candidates that compete have log(mixture x weight of the edge), gates logit(gate) - logit(threshold). Where edges
    are weighed, gates are ordered by their product with these: gates that pass have log(product) raised above 0, the
    others log(product).
    """
    weights = {name: edge_weights(decision, mixtures) for name, decision in decisions.items()}
    values = {name: mixture.values.reshape(-1, mixture.values.shape[-1]).tolist() for name, mixture in mixtures.items()}
    found: dict[Item, float] = {}
    for item in items:
        value, weight = values[item.decision][item.row][item.candidate], weights[item.decision][item.row]
        found[item] = math.log(max(value * weight, _LEAST))
        if rules.threshold is not None and decisions[item.decision].kind != "choice":
            passes = _logit(value) - _logit(rules.threshold)
            if any(w != 1 for w in weights[item.decision]):
                # log(product) lies between log(_LEAST) and 0.
                found[item] += -math.log(_LEAST) if passes > 0 else 0.0
            else:
                found[item] = passes
    return found


def _logit(gate: float) -> float:
    gate = min(max(gate, _LEAST), 1 - _LEAST)
    return math.log(gate / (1 - gate))


@dataclass(frozen=True)
class WithinBudget(Discretization):
    """What `rule` keeps, where that is within the budget; otherwise the best architecture that is and that uses it.

    The best has the highest sum of `scores`, found by integer programming: without a budget, it is what Argmax,
    Threshold and LimitedSkips keep. Alphas that a budget has pushed to cheap candidates, by a price on the mean of the
    mixture, would often keep much less than it allows; so then only what uses 85 % of one of its limits or more is
    looked at (`dnas.cost.band`). A rule that tries candidates (`Trying`) is told what fits.

    Args:
        rule: what decides without a budget.
        bounds: what is allowed.
        is_pushed: whether the budget has changed the alphas; if not, what `rule` keeps is what it would keep without a
            budget, however little that uses.
    """

    rule: Discretization
    bounds: Bounds
    is_pushed: bool = False

    @property
    def needs_training(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.rule.needs_training

    @property
    def images_each(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.rule.images_each

    def seeded(self, seed: int) -> WithinBudget:
        return replace(self, rule=self.rule.seeded(seed))

    def check(self, decisions: Mapping[str, Decision]) -> None:
        self.rule.check(decisions)

    def __call__(
        self,
        decisions: Mapping[str, Decision],
        mixtures: Mapping[str, Mixture],
        *,
        evaluate: Evaluate,
        train: Train,
    ) -> dict[str, Kept]:
        if isinstance(self.rule, Trying):
            limits = _Limits(self.bounds)
            return self.rule.decide(decisions, mixtures, evaluate=evaluate, train=train, limits=limits)
        kept = self.rule(decisions, mixtures, evaluate=evaluate, train=train)
        if self.bounds.fits(kept) and (not self.is_pushed or self.bounds.use(kept) >= self._least_use):
            return kept
        return self.best(decisions, mixtures, uses_it=True)

    def best(
        self, decisions: Mapping[str, Decision], mixtures: Mapping[str, Mixture], *, uses_it: bool = False
    ) -> dict[str, Kept]:
        """The architecture of the highest scores within the budget.

        Candidates that the search has ruled out are kept where nothing else fits.

        Args:
            decisions, mixtures: as for a call.
            uses_it: only what uses the budget.
        """
        rules = rules_of(self.rule)
        options = {
            name: eligible_rows(decision, mixtures[name])
            for name, decision in decisions.items()
            if decision.kind != "edges"
        }
        for program in (program_of(decisions, options, rules), self.bounds.program):
            score = scores(decisions, mixtures, program.items, rules)
            choices = self._using() if uses_it else [self.bounds.all]
            found = [kept for bounds in choices if (kept := program.best(score, bounds)) is not None]
            if found:
                return max(found, key=lambda kept: sum(score[item] for item in items_of(kept, decisions)))
        raise AssertionError("a budget that nothing is within is refused before the search")

    @cached_property
    def _least_use(self) -> float:
        return band(self.bounds, largest_use(self.bounds))[0]

    def _using(self) -> list[list[Bound]]:
        """The bounds, each time with another one of them that has to be used."""
        bounds = self.bounds.all
        return [
            [*bounds[:index], one._replace(least=self._least_use * one.most), *bounds[index + 1 :]]
            for index, one in enumerate(bounds)
        ]


def _eligible(active: Active, allowed: Active) -> Active:
    """For each row the candidates that take part and may be kept; all that may, where none of these takes part."""
    return tuple(
        (tuple(k for k in row if k in may) or may) if row else () for row, may in zip(active, allowed, strict=True)
    )


@dataclass(frozen=True)
class _Limits(Limits):
    bounds: Bounds

    def allow(self, active: Mapping[str, Active]) -> bool:
        program = self.bounds.program
        if is_whole(active, program.decisions):
            return self.bounds.fits(kept_of(active, program.decisions))
        options = {name: _eligible(rows, program.options[name]) for name, rows in active.items()}
        return Program(program.decisions, options, program.independent).best({}, self.bounds.all) is not None

    def random(self, random: Random) -> dict[str, Kept] | None:
        return self._draws(random)

    @cached_property
    def _draws(self) -> BandDraws:
        return BandDraws(self.bounds)
