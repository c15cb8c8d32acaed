"""Architectures of a supernet as genes: all, a random one, children, and the candidates that each one activates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from random import Random
from typing import NamedTuple

from dnas.core.architecture import CellArchitecture, Kept, KeptEdge
from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.cost.layout import items_of
from dnas.method.discretization.eligible import eligible_rows


class Gene(NamedTuple):
    """A decided place of a `Site`.

    Candidates of places that are not kept are carried along and may show up in children.
    """

    kept: tuple[int, ...]
    candidates: tuple[int, ...]


# One gene for each site of a supernet.
Genome = tuple[Gene, ...]


@dataclass(frozen=True)
class Site:
    """Keeps `num_kept` places of a decision, each with one of its options.

    A choice has one place, its only row. An input choice has its inputs as places, each with itself as its only option.
    A node of a cell has the edges that enter it as places.

    Args:
        name: name of the decision.
        places: rows of the decision, or inputs of an input choice.
        options: for each place, the candidates that may be kept there.
        num_kept: number of places that are kept, at least 1.
    """

    name: str
    places: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]
    num_kept: int

    def size(self) -> int:
        """Number of different genes: an elementary symmetric polynomial of the numbers of options.

        It is built up place by place: e_j += e_(j - 1) * number of options.
        """
        ways = [1] + [0] * self.num_kept
        for options in self.options:
            for j in range(self.num_kept, 0, -1):
                ways[j] += ways[j - 1] * len(options)
        return ways[self.num_kept]

    def all(self) -> Iterator[Gene]:
        """Every gene once, in order; places that are not kept have their first option."""
        first = tuple(options[0] for options in self.options)
        for kept in combinations(range(len(self.places)), self.num_kept):
            for chosen in product(*(self.options[i] for i in kept)):
                candidates = list(first)
                for i, k in zip(kept, chosen, strict=True):
                    candidates[i] = k
                yield Gene(kept, tuple(candidates))

    def random(self, random: Random) -> Gene:
        """A random gene: its subset of places is drawn uniformly, and so is the candidate of each place."""
        return Gene(self._random_places(random), tuple(random.choice(options) for options in self.options))

    def mutated(self, gene: Gene, probability: float, random: Random) -> Gene:
        """The gene with its subset of places, and each of its candidates, drawn anew with the given probability."""
        kept = self._random_places(random) if random.random() < probability else gene.kept
        return Gene(
            kept,
            tuple(
                random.choice(options) if random.random() < probability else k
                for k, options in zip(gene.candidates, self.options, strict=True)
            ),
        )

    def _random_places(self, random: Random) -> tuple[int, ...]:
        return tuple(sorted(random.sample(range(len(self.places)), self.num_kept)))


def crossed(first: Gene, second: Gene, random: Random) -> Gene:
    """A child that takes its subset of places, and each of its candidates, from one parent or the other."""
    kept = random.choice((first.kept, second.kept))
    return Gene(kept, tuple(random.choice(pair) for pair in zip(first.candidates, second.candidates, strict=True)))


def sites(decisions: Mapping[str, Decision], mixtures: Mapping[str, Mixture]) -> list[Site]:
    """The sites that the decisions leave open, in order."""
    found = []
    for name, decision in decisions.items():
        if decision.kind == "edges":
            continue
        options = eligible_rows(decision, mixtures[name])
        if decision.kind == "inputs":
            num_kept = min(decision.num_kept or len(options[0]), len(options[0]))
            found.append(Site(name, options[0], tuple((k,) for k in options[0]), num_kept))
            continue
        groups = [decision.incoming(node) for node in decision.nodes] if decision.kind == "operations" else [(0,)]
        for places in groups:
            num_kept = min(decision.num_kept or len(places), len(places))
            found.append(Site(name, places, tuple(options[place] for place in places), num_kept))
    return found


def size(sites: Sequence[Site]) -> int:
    """Number of architectures."""
    return math.prod(site.size() for site in sites)


def active(genome: Genome, sites: Sequence[Site], decisions: Mapping[str, Decision]) -> dict[str, Active]:
    """Candidates that an architecture activates in the supernet: one on each kept place, none on the others."""
    rows: dict[str, list[tuple[int, ...]]] = {
        name: [()] * decision.num_rows for name, decision in decisions.items() if decision.kind != "edges"
    }
    for gene, site in zip(genome, sites, strict=True):
        for i in gene.kept:
            if decisions[site.name].kind == "inputs":
                rows[site.name][0] += (gene.candidates[i],)
            else:
                rows[site.name][site.places[i]] = (gene.candidates[i],)
    return {name: tuple(row) for name, row in rows.items()}


def genome_of(kept: Mapping[str, Kept], sites: Sequence[Site], decisions: Mapping[str, Decision]) -> Genome:
    """The genome of an architecture; the first option stands where nothing is kept."""
    chosen = {(item.decision, item.row, item.candidate) for item in items_of(kept, decisions)}
    genes = []
    for site in sites:
        is_inputs = decisions[site.name].kind == "inputs"
        own = [
            [k for k in options if (site.name, 0 if is_inputs else place, k) in chosen]
            for place, options in zip(site.places, site.options, strict=True)
        ]
        kept_places = tuple(i for i, found in enumerate(own) if found)
        candidates = tuple((found or options)[0] for found, options in zip(own, site.options, strict=True))
        genes.append(Gene(kept_places, candidates))
    return tuple(genes)


def is_whole(active: Mapping[str, Active], decisions: Mapping[str, Decision]) -> bool:
    """Whether the active candidates are exactly one architecture, with nothing left to decide (`kept` returns it)."""
    return all(
        name in active and _is_decided(decision, active[name])
        for name, decision in decisions.items()
        if decision.kind != "edges"
    )


def _is_decided(decision: Decision, rows: Active) -> bool:
    if decision.kind == "inputs":
        return len(rows[0]) == min(decision.num_kept or len(decision.candidates), len(decision.candidates))
    if decision.kind == "choice":
        return len(rows[0]) == 1
    if any(len(row) > 1 for row in rows):
        return False
    nodes = [decision.incoming(node) for node in decision.nodes]
    return all(
        sum(len(rows[edge]) for edge in incoming) == min(decision.num_kept or len(incoming), len(incoming))
        for incoming in nodes
    )


def kept(active: Mapping[str, Active], decisions: Mapping[str, Decision]) -> dict[str, Kept]:
    """The kept part of each decision, if so little is active: at most one candidate on each row, but several inputs."""
    return {name: _kept(decisions[name], rows) for name, rows in active.items()}


def _kept(decision: Decision, rows: Active) -> Kept:
    names = [tuple(decision.names(index)[k] for k in row) for index, row in enumerate(rows)]
    if decision.kind == "inputs":
        return names[0]
    if decision.kind == "choice":
        return names[0][0]
    edges = [KeptEdge(*edge, name) for edge, row in zip(decision.edges, names, strict=True) for name in row]
    return CellArchitecture(tuple(edges), decision.output)
