"""Which terms a cell with dense convolutions has, and where their numbers lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np

from dnas.kernels.images import Array

Kind = Literal["conv3x3", "conv1x1", "skip", "average"]


@dataclass(frozen=True)
class Part:
    """`values[edge, candidate] * f(state source)`, a term of the state `target`; f is named by `kind`."""

    edge: int
    candidate: int
    source: int
    target: int
    kind: Kind


@dataclass(frozen=True)
class Parts:
    """Terms of one kind: arrays (terms,) of their edges, candidates, sources and targets."""

    edges: Array
    candidates: Array
    sources: Array
    targets: Array

    @staticmethod
    def of(parts: Sequence[Part]) -> Parts:
        rows = [(part.edge, part.candidate, part.source, part.target) for part in parts]
        return Parts(*np.array(rows, np.int64).reshape(-1, 4).T)

    def matrix(self, values: Array, states: int) -> Array:
        """Values by target and source, (states, states)."""
        found = np.zeros((states, states))
        np.add.at(found, (self.targets, self.sources), values[self.edges, self.candidates])
        return found


@dataclass(frozen=True)
class Plan:
    """All terms of a cell; its result is its last state.

    Args:
        convolutions: ordered by the state that they read, for each of them 3x3 before 1x1.
        skips, averages: the other terms.
        undrawn: by state, the edge and candidate of each value, a number of value 0, that is added to all of it.
        eps: that of batch norm.
    """

    convolutions: tuple[Part, ...]
    skips: tuple[Part, ...]
    averages: tuple[Part, ...]
    undrawn: tuple[tuple[tuple[int, int], ...], ...]
    eps: float

    @staticmethod
    def of(parts: Sequence[Part], undrawn: Sequence[tuple[tuple[int, int], ...]], eps: float) -> Plan:
        kinds = {kind: [part for part in parts if part.kind == kind] for kind in ("conv3x3", "conv1x1")}
        convolutions = sorted((*kinds["conv3x3"], *kinds["conv1x1"]), key=lambda part: part.source)
        skips, averages = (tuple(part for part in parts if part.kind == kind) for kind in ("skip", "average"))
        return Plan(tuple(convolutions), skips, averages, tuple(undrawn), eps)

    @property
    def states(self) -> int:
        return len(self.undrawn)

    @cached_property
    def of_convolutions(self) -> Parts:
        return Parts.of(self.convolutions)

    @cached_property
    def of_skips(self) -> Parts:
        return Parts.of(self.skips)

    @cached_property
    def of_averages(self) -> Parts:
        return Parts.of(self.averages)

    @cached_property
    def blocks(self) -> list[slice]:
        """The convolutions that read each state."""
        ends = np.searchsorted(self.of_convolutions.sources, range(self.states + 1))
        return [slice(int(begin), int(end)) for begin, end in pairwise(ends)]

    @cached_property
    def threes(self) -> list[int]:
        """How many 3x3 convolutions read each state."""
        return [sum(part.kind == "conv3x3" for part in self.convolutions[own]) for own in self.blocks]

    @cached_property
    def entering(self) -> list[Array]:
        """The convolutions that lead to each state."""
        return [np.flatnonzero(self.of_convolutions.targets == state) for state in range(self.states)]

    @cached_property
    def skipping(self) -> list[Array]:
        """The states that are added to each state."""
        return _sources(self.of_skips, self.states)

    @cached_property
    def averaged(self) -> list[Array]:
        """The states whose averages are added to each state."""
        return _sources(self.of_averages, self.states)


def _sources(parts: Parts, states: int) -> list[Array]:
    return [np.unique(parts.sources[parts.targets == state]) for state in range(states)]
