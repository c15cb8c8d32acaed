"""Which widths and blocks become finalists: the decision, uniform widths, and networks near these."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, starmap
from random import Random
from types import MappingProxyType

import torch

from dnas.core.architecture import Architecture
from dnas.data.keyed_random import stream_key
from dnas.finalists.proposals import Proposal
from dnas.shrinking.expected import own_values
from dnas.shrinking.program import Bound, Program
from dnas.shrinking.rivals import BAND, largest_within, random_widths, uniform_widths
from dnas.shrinking.searchable import Narrowable

# The standard deviation of the log of a width that is changed: two thirds of the changes are by less than 1.4.
_CHANGE = 0.35
# Changes that are tried for each that is wanted.
_TRIES = 50

# Values with what they are; None where the budget allows none.
_Named = tuple[str, Mapping[str, int] | None]


@dataclass
class WidthProposals:
    """Proposes values of all decisions, which use 95 to 100 % of a limit and pass none; each once.

    Args:
        searchable: the model.
        program: its decisions and their values.
        bounds: the limits.
        decided: the values that were decided on, which need not reach the band, and those for looser budgets.
        fits: whether values keep limits that only a measurement tells.
        seed: of what is drawn.
    """

    searchable: Narrowable
    program: Program
    bounds: Sequence[Bound]
    decided: Sequence[Mapping[str, int]]
    fits: Callable[[Mapping[str, int]], bool]
    seed: int
    _seen: set[str] = field(default_factory=set)

    def first(self, num: int, random_share: float) -> list[Proposal]:
        """What was decided, what was decided for looser budgets scaled down, uniform widths, these with single blocks
        as narrow as they can be, without or with single blocks, changes of all these in turn, and random ones.

        Args:
            num: how many; fewer where the model has no more within the band.
            random_share: share of random ones.
        """
        decided, *looser = self.decided
        self._seen.add(architecture_of(decided).to_json())
        found, wanted = [Proposal(architecture_of(decided), "the decision")], num - round(random_share * num)
        uniform = uniform_widths(self.searchable, self.bounds)
        bases: list[_Named] = [("the decision", decided)]
        bases += [
            (f"the decision of a looser budget ({i})", self._scaled(v, {})) for i, v in enumerate(looser, start=1)
        ]
        bases += [("uniform widths", uniform)]
        bases = [(name, values) for name, values in bases if values is not None]
        found += self._new(bases, wanted - len(found))
        for neighbours in (self._with_narrow_blocks, self._without_blocks):
            found += self._new(chain(*starmap(neighbours, bases)), wanted - len(found))
        random = Random(stream_key(self.seed, 0))
        drawn = (
            (f"a change of {name}", self._changed(values, random))
            for _ in range(_TRIES * num)
            for name, values in bases
            if values is not None
        )
        found += self._new(drawn, wanted - len(found))
        return found + self._new(self._random_ones(_TRIES * num), num - len(found))

    def changes(self, best: Architecture, num: int, *, rung: int) -> list[Proposal]:
        """Up to `num` networks with all widths of the best one a little changed."""
        random, values = Random(stream_key(self.seed, 1, rung)), values_of(best)
        return self._new((("a change of the best", self._changed(values, random)) for _ in range(_TRIES * num)), num)

    def guided(self, ranked: Sequence[Architecture]) -> list[Proposal]:
        """None: there is no model of widths."""
        return []

    def _new(self, drawn: Iterable[_Named], count: int) -> list[Proposal]:
        found: list[Proposal] = []
        for source, values in drawn if count > 0 else ():
            if values is None or not any(bound.cost.of(values) >= BAND * bound.most for bound in self.bounds):
                continue
            architecture = architecture_of(values)
            if architecture.to_json() not in self._seen and self.fits(values):
                self._seen.add(architecture.to_json())
                found.append(Proposal(architecture, source))
                if len(found) == count:
                    break
        return found

    def _with_narrow_blocks(self, name: str, values: Mapping[str, int]) -> Iterator[_Named]:
        """The same with one block, which may have been left out, at the smallest widths inside of it.

        Other widths are as much wider or narrower as the budget says; then only one of them is narrower.
        """
        assert values is not None
        for block in self.searchable.structure.blocks:
            inner = {group: min(own_values(self.program, group)) for group in self._groups_inside(block.name)}
            narrow = {**values, block.name: 1, **inner}
            if not inner or narrow == values:
                continue
            word = f"{name} with {block.name} as narrow as it can be"
            yield word, self._scaled(narrow, {}, stay=inner)
            for group in self.searchable.structure.groups:
                if narrow[group.name] and group.name not in inner:
                    yield f"{word} and {group.name} narrower", self._with_one_narrower(narrow, group.name)

    def _groups_inside(self, block: str) -> list[str]:
        return [group for group, outer in self.program.inside.items() if outer == block]

    def _with_one_narrower(self, values: Mapping[str, int], group: str) -> dict[str, int] | None:
        """The same with this width as large as the budget allows, at most as it was."""

        def at(share: float) -> dict[str, int]:
            return {**values, group: max(1, int(values[group] * share + 0.5))}

        return largest_within(at, self.bounds)

    def _without_blocks(self, name: str, values: Mapping[str, int]) -> Iterator[_Named]:
        """The same without one block or with it, other widths as much wider or narrower as the budget says."""
        assert values is not None
        for block in self.searchable.structure.blocks:
            other = {**values, block.name: 1 - values[block.name]}
            word = "without" if values[block.name] else "with"
            yield f"{name} {word} {block.name}", self._scaled(other, {})

    def _changed(self, values: Mapping[str, int], random: Random) -> dict[str, int] | None:
        groups = self.searchable.structure.groups
        return self._scaled(values, {group.name: math.exp(random.gauss(0.0, _CHANGE)) for group in groups})

    def _scaled(
        self, values: Mapping[str, int], by: Mapping[str, float], stay: Mapping[str, int] = MappingProxyType({})
    ) -> dict[str, int] | None:
        """Widths times a number each, all by one factor but for those that stay, the largest within the budget."""
        groups = self.searchable.structure.groups
        # A width inside of a block that was out has no value to begin with: it gets the mean share of the others.
        shares = {group.name: values[group.name] / len(group) for group in groups if values[group.name]}
        mean = sum(shares.values()) / len(shares) if shares else 1.0

        def at(power: float) -> dict[str, int]:
            factor = power / (1 - power) if power < 1 else math.inf
            widths = {}
            for group in groups:
                wanted = shares.get(group.name, mean) * by.get(group.name, 1.0) * factor * len(group)
                widths[group.name] = max(1, min(len(group), int(min(wanted, len(group)) + 0.5)))
            return self.searchable.consistent({**values, **widths, **stay})

        return largest_within(at, self.bounds)

    def _random_ones(self, tries: int) -> Iterator[_Named]:
        """Random widths; a small model may have fewer different ones than are wanted."""
        generator = torch.Generator().manual_seed(stream_key(self.seed, 2))
        for _ in range(tries):
            drawn = random_widths(self.searchable, self.bounds, generator)
            if drawn is None:
                return
            yield "random", drawn


def architecture_of(values: Mapping[str, int]) -> Architecture:
    """Values of decisions as an architecture, as files hold it, always in one order."""
    return Architecture({name: str(values[name]) for name in sorted(values)})


def values_of(architecture: Architecture) -> dict[str, int]:
    """The values again."""
    return {name: int(str(kept)) for name, kept in architecture.decisions.items()}
