"""Architectures that were evaluated one by one with the weights of the supernet."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import product
from random import Random

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.method.discretization.base import Evaluate, Limits
from dnas.method.discretization.genome import Genome, active, genome_of, kept, sites, size

# How many draws within a budget there are for each architecture that is wanted, new ones or not.
TRIES = 20


class Pool:
    """The architectures evaluated so far, each once.

    Args:
        decisions, mixtures: the decisions of the supernet and their mixtures.
        evaluate: accuracy of the supernet with only some candidates active.
        limits: what may be in the pool; within a budget random architectures use most of it.
    """

    def __init__(
        self,
        decisions: Mapping[str, Decision],
        mixtures: Mapping[str, Mixture],
        evaluate: Evaluate,
        limits: Limits,
    ):
        self.sites = sites(decisions, mixtures)
        self.space_size = size(self.sites)
        self._decisions = decisions
        self._evaluate = evaluate
        self._limits = limits
        self._seen: set[Hashable] = set()
        self._found: list[tuple[float, Genome]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, genome: Genome) -> bool:
        """Evaluate an architecture that has not been evaluated yet and fits; returns whether it is such a one."""
        rows = active(genome, self.sites, self._decisions)
        key = tuple(rows.values())
        if key in self._seen or not self._limits.allow(rows):
            return False
        self._seen.add(key)
        self._found.append((self._evaluate(rows), genome))
        return True

    def add_all(self) -> None:
        """Evaluate every architecture of the space."""
        for genome in product(*(site.all() for site in self.sites)):
            self.add(genome)

    def add_random(self, total: int, random: Random) -> None:
        """Evaluate random architectures until there are `total`, or a budget leaves no new ones to be found."""
        assert total <= self.space_size  # else it would never end
        tries = 0
        while len(self) < total and tries < TRIES * total:
            kept = self._limits.random(random)
            if kept is None:
                self.add(tuple(site.random(random) for site in self.sites))
            else:
                self.add(genome_of(kept, self.sites, self._decisions))
                tries += 1

    def best(self, count: int) -> list[Genome]:
        """The most accurate architectures, best first; equal ones in the order of their evaluation."""
        return [genome for _, genome in sorted(self._found, key=lambda found: -found[0])[:count]]

    def kept(self) -> dict[str, Kept]:
        """The candidates that the most accurate architecture keeps."""
        return kept(active(self.best(1)[0], self.sites, self._decisions), self._decisions)
