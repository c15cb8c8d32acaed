"""Architectures near another one, and samples of a mixture: what a search knows besides its own result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import NamedTuple

import torch

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.method.discretization.argmax import edge_weights
from dnas.method.discretization.genome import Gene, Genome, Site, active, genome_of, kept, sites

# Strengths below this count as this much.
_LEAST = 1e-12


class Change(NamedTuple):
    """An architecture with one decision changed.

    Args:
        kept: what it keeps.
        place: the decision that was changed, in words.
        gain: by how much its log strength is above that of the architecture that was changed.
    """

    kept: dict[str, Kept]
    place: str
    gain: float = 0.0


class Neighbourhood:
    """The architectures of a model, and those that differ in one decision.

    Args:
        decisions: the model's decisions.
        mixtures: how strong candidates are; only those that take part in them are kept. None for all, equally strong.
    """

    def __init__(self, decisions: Mapping[str, Decision], mixtures: Mapping[str, Mixture] | None = None) -> None:
        self.decisions = decisions
        equal = {name: Mixture(torch.ones(decision.shape)) for name, decision in decisions.items()}
        self._mixtures = equal if mixtures is None else mixtures
        self.sites = sites(decisions, self._mixtures)
        self._strengths = [self._of_site(site) for site in self.sites]

    def _of_site(self, site: Site) -> list[dict[int, float]]:
        """For each place of a site the log strength of its options."""
        decision, mixture = self.decisions[site.name], self._mixtures[site.name]
        values = mixture.values.reshape(-1, mixture.values.shape[-1]).tolist()
        weights = edge_weights(decision, self._mixtures)
        rows = [0 if decision.kind == "inputs" else place for place in site.places]
        return [
            {k: math.log(max(values[row][k] * weights[row], _LEAST)) for k in options}
            for row, options in zip(rows, site.options, strict=True)
        ]

    def changes(self, architecture: Mapping[str, Kept]) -> list[Change]:
        """Every architecture with one decision changed: another candidate in a place, or another place that is kept."""
        genome = genome_of(architecture, self.sites, self.decisions)
        found = []
        for index, (site, gene) in enumerate(zip(self.sites, genome, strict=True)):
            strengths = self._strengths[index]
            now = _strength(gene, strengths)
            for other, place in _changed(site, gene, strengths):
                whole = (*genome[:index], other, *genome[index + 1 :])
                found.append(Change(self._kept(whole), self._named(site, place), _strength(other, strengths) - now))
        return found

    def runners_up(self, architecture: Mapping[str, Kept]) -> list[Change]:
        """For each place of a decision the strongest change there; those that lose least come first."""
        best: dict[str, Change] = {}
        for change in self.changes(architecture):
            if change.place not in best or change.gain > best[change.place].gain:
                best[change.place] = change
        return sorted(best.values(), key=lambda change: -change.gain)

    def settled(self, architecture: Mapping[str, Kept]) -> tuple[int, ...]:
        """How each place of each site is settled: the candidate that is kept there, or -1."""
        genome = genome_of(architecture, self.sites, self.decisions)
        return tuple(k if i in gene.kept else -1 for gene in genome for i, k in enumerate(gene.candidates))

    def samples(self, random: Random) -> Iterator[dict[str, Kept]]:
        """Architectures drawn from the mixtures, without end.

        Candidates are drawn with probabilities in proportion to their strength, and so are places, one after another.
        """
        pairs = list(zip(self.sites, self._strengths, strict=True))
        while True:
            yield self._kept(tuple(_drawn(site, strengths, random) for site, strengths in pairs))

    def _kept(self, genome: Genome) -> dict[str, Kept]:
        return kept(active(genome, self.sites, self.decisions), self.decisions)

    def _named(self, site: Site, place: int | None) -> str:
        """A place of a site in words; the site where it is none of its places."""
        decision = self.decisions[site.name]
        if decision.kind != "operations":
            return site.name
        if place is None:
            return f"{site.name}, edges into state {decision.edges[site.places[0]][1]}"
        source, target = decision.edges[site.places[place]]
        return f"{site.name}, edge {source}->{target}"


def _strength(gene: Gene, strengths: Sequence[Mapping[int, float]]) -> float:
    return math.fsum(strengths[i].get(gene.candidates[i], math.log(_LEAST)) for i in gene.kept)


def _changed(site: Site, gene: Gene, strengths: Sequence[Mapping[int, float]]) -> Iterator[tuple[Gene, int | None]]:
    """The genes that differ in the candidate of one kept place, with that place, or in which place is kept."""
    for i in gene.kept:
        for k in site.options[i]:
            if k != gene.candidates[i]:
                yield gene._replace(candidates=_with(gene.candidates, i, k)), i
    for out in gene.kept:
        for i in range(len(site.places)):
            if i not in gene.kept:
                strongest = max(site.options[i], key=lambda k, i=i: strengths[i][k])
                places = tuple(sorted({*gene.kept, i} - {out}))
                yield Gene(places, _with(gene.candidates, i, strongest)), None


def _with(candidates: tuple[int, ...], place: int, candidate: int) -> tuple[int, ...]:
    return (*candidates[:place], candidate, *candidates[place + 1 :])


def _drawn(site: Site, strengths: Sequence[Mapping[int, float]], random: Random) -> Gene:
    candidates = tuple(
        random.choices(options, [math.exp(own[k]) for k in options])[0]
        for options, own in zip(site.options, strengths, strict=True)
    )
    left, places = list(range(len(site.places))), []
    while len(places) < site.num_kept:
        (chosen,) = random.choices(left, [math.exp(max(strengths[i].values())) for i in left])
        left.remove(chosen)
        places.append(chosen)
    return Gene(tuple(sorted(places)), candidates)
