"""Which architectures become finalists: proposals of several sources, each function once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Protocol

from dnas.core.architecture import Architecture, Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.data.keyed_random import stream_key
from dnas.finalists.changes import Neighbourhood
from dnas.finalists.guide import Guide
from dnas.finalists.same_function import SeenFunctions

# Draws, from a mixture or at random, for each new architecture that is wanted, before a source counts as exhausted.
TRIES = 50
# Random architectures among which a guide chooses, and the best ones so far whose changes it considers.
_DRAWN, _BEST = 200, 3
# Numbers that keep the random streams of one seed apart.
_SAMPLES, _CHANGES = range(2)


@dataclass(frozen=True)
class Proposal:
    """An architecture, and who proposes it.

    Args:
        architecture: the architecture.
        source: in words, such as 'epoch 12' or 'random'.
    """

    architecture: Architecture
    source: str


@dataclass(frozen=True)
class Possible:
    """The architectures that may be proposed.

    Args:
        decisions: of the model.
        stamp: turns what is kept into an architecture.
        fits: whether what is kept is within the budget, if there is one.
        random: random architecture number 0, 1 ..., within the budget.
        seen: the functions that were proposed before.
    """

    decisions: Mapping[str, Decision]
    stamp: Callable[[dict[str, Kept]], Architecture]
    fits: Callable[[Mapping[str, Kept]], bool]
    random: Callable[[int], Architecture]
    seen: SeenFunctions

    def new(self, proposals: Iterable[Proposal], count: int) -> list[Proposal]:
        """The first `count` of these that fit and whose functions are new."""
        found: list[Proposal] = []
        for proposal in proposals if count else ():
            if self.fits(proposal.architecture.decisions) and self.seen.is_new(proposal.architecture):
                found.append(proposal)
                if len(found) == count:
                    break
        return found


@dataclass(frozen=True)
class Known:
    """What a search knows.

    Args:
        result: the architecture that it ends with.
        mixtures: its expected mixtures at the end.
        of_epochs: the architectures of its epochs by number; empty where it decides at the end.
    """

    result: Architecture
    mixtures: Mapping[str, Mixture]
    of_epochs: Mapping[int, Architecture]


class Proposer(Protocol):
    """Proposes finalists, each function once."""

    def first(self, num: int, random_share: float) -> list[Proposal]:
        """`num` proposals, or fewer where there are no more, the expected result first."""
        ...

    def changes(self, best: Architecture, num: int, *, rung: int) -> list[Proposal]:
        """Up to `num` architectures near the best one of a rung."""
        ...

    def guided(self, ranked: Sequence[Architecture]) -> list[Proposal]:
        """The architecture that promises most by those that were trained, the best first; none if nothing tells."""
        ...


class Proposals:
    """Proposes finalists; the same arguments and the same calls give the same ones.

    Args:
        possible: what may be proposed.
        known: of the search; None to propose random ones alone.
        seed: of samples and changes.
    """

    def __init__(self, possible: Possible, known: Known | None, seed: int) -> None:
        self._possible = possible
        self._known = known
        self._seed = seed
        self._next_random = 0
        self._near = Neighbourhood(possible.decisions)

    def first(self, num: int, random_share: float) -> list[Proposal]:
        """`num` proposals, or fewer where there are no more functions; the result of the search comes first.

        What the search knows takes turns: an architecture of an epoch, the last first, a runner-up, a sample. Where
        that is exhausted random ones take the places, and where those are, what the search knows.

        Args:
            num: how many.
            random_share: share of uniform random ones among them.
        """
        if self._known is None:
            return self.random(num)
        found = self._possible.new([Proposal(self._known.result, "the search's result")], 1)
        streams = self._streams(self._known, num)
        found += self._in_turn(streams, num - round(random_share * num) - len(found))
        found += self.random(num - len(found))
        return found + self._in_turn(streams, num - len(found))

    def _in_turn(self, streams: list[Iterator[Proposal]], num: int) -> list[Proposal]:
        """`num` proposals, one of each stream in turn; streams without new ones are removed."""
        found: list[Proposal] = []
        while streams and len(found) < num:
            stream = streams.pop(0)
            new = self._possible.new(stream, 1)
            found += new
            streams += [stream] if new else []
        return found

    def random(self, num: int) -> list[Proposal]:
        """`num` random proposals, or fewer where there are no more new functions."""
        return self._possible.new(self._random_ones(TRIES * num), num)

    def _random_ones(self, most: int) -> Iterator[Proposal]:
        for _ in range(most):
            self._next_random += 1
            yield Proposal(self._possible.random(self._next_random - 1), "random")

    def _streams(self, known: Known, num: int) -> list[Iterator[Proposal]]:
        stamp, near = self._possible.stamp, Neighbourhood(self._possible.decisions, known.mixtures)
        epochs = sorted(known.of_epochs.items(), reverse=True)
        samples = near.samples(Random(stream_key(self._seed, _SAMPLES)))
        of_epochs: Iterator[Proposal] = (Proposal(architecture, f"epoch {epoch}") for epoch, architecture in epochs)
        runners_up: Iterator[Proposal] = (
            Proposal(stamp(change.kept), f"runner-up in {change.place}")
            for change in near.runners_up(known.result.decisions)
        )
        sampled: Iterator[Proposal] = (
            Proposal(stamp(kept), "sample of the mixture") for kept in islice(samples, TRIES * num)
        )
        return [of_epochs, runners_up, sampled]

    def changes(self, best: Architecture, num: int, *, rung: int) -> list[Proposal]:
        """Up to `num` architectures that differ from the best in one decision, drawn uniformly from all new ones.

        Args:
            best: the best architecture so far.
            num: how many.
            rung: after which they are proposed.
        """
        every = self._near.changes(best.decisions)
        Random(stream_key(self._seed, _CHANGES, rung)).shuffle(every)
        stamp = self._possible.stamp
        return self._possible.new((Proposal(stamp(one.kept), f"a change in {one.place}") for one in every), num)

    def guided(self, ranked: Sequence[Architecture]) -> list[Proposal]:
        """The architecture of a new function that promises most by what trainings say; none where all are known.

        It is chosen among random ones and those that differ from one of the best in one decision.

        Args:
            ranked: those that were trained, the best first.
        """
        guide = Guide([self._near.settled(one.decisions) for one in ranked])
        stamp = self._possible.stamp
        near = [stamp(change.kept) for one in ranked[:_BEST] for change in self._near.changes(one.decisions)]
        every = near + [proposal.architecture for proposal in self._random_ones(_DRAWN)]
        promises = guide.promise([self._near.settled(one.decisions) for one in every]).tolist()
        order = sorted(range(len(every)), key=lambda index: -promises[index])
        return self._possible.new((Proposal(every[index], "model of trainings") for index in order), 1)
