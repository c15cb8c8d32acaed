"""Keep the best of several generations of architectures, evaluated with shared weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.method.discretization.base import Evaluate, Limits, Train, Trying
from dnas.method.discretization.genome import Genome, crossed
from dnas.method.discretization.pool import Pool
from dnas.system.accepted import accept
from dnas.system.errors import UserError

# Tries per child; after that, random architectures replace children that are not new (official code).
TRIES = 10


@dataclass(frozen=True)
class Evolution(Trying):
    """Single-path one-shot: the most accurate architecture that evolution finds, evaluated with the supernet's weights.

    Guo et al. 2020, https://arxiv.org/abs/1904.00420, algorithm 1; official code megvii-model/SinglePathOneShot,
    `EvolutionSearcher`. The first generation is random. In each later one, half are mutants of the best so far and
    half are crossings of two of them. A child that is not new is drawn again, up to ten times as often as there are
    children; random architectures then fill the generation. A gene is the candidate of a choice or of an edge, or the
    subset of inputs of a node or an input choice. Exactly `population * generations` architectures are evaluated, none
    twice; a space that has no more than that is evaluated completely. At equal accuracy the earlier one wins.

    Differences: the official code evaluates one more generation, from which nothing is selected, and calibrates batch
    norm for each architecture (on 200 batches of training images); supernets of our spaces normalise by the batch.

    Within a budget no other architectures are evaluated, and the random ones use most of it (`dnas.cost.drawing`); of a
    tight one there may be fewer. The alphas are ignored. It is meant for a supernet that was trained on random single
    paths.

    Args:
        population: architectures per generation.
        generations: number of generations that are evaluated, including the random one.
        parents: number of the best architectures so far that have children.
        mutation_probability: probability with which a mutant draws a gene anew.
        seed: seed of all random draws; the seed of the search is added.
    """

    population: int = 50
    generations: int = 20
    parents: int = 10
    mutation_probability: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        accept(self)
        for name, least in (("population", 2), ("generations", 1), ("parents", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}; got {getattr(self, name)}.")
        if not 0 <= self.mutation_probability <= 1:
            raise UserError(f"mutation_probability must lie in [0, 1]; got {self.mutation_probability}.")

    def seeded(self, seed: int) -> Evolution:
        return replace(self, seed=self.seed + seed)

    def decide(
        self,
        decisions: Mapping[str, Decision],
        mixtures: Mapping[str, Mixture],
        *,
        evaluate: Evaluate,
        train: Train,
        limits: Limits,
    ) -> dict[str, Kept]:
        pool = Pool(decisions, mixtures, evaluate, limits)
        if pool.space_size <= self.population * self.generations:
            pool.add_all()
        else:
            self._evolve(pool, Random(self.seed))
        return pool.kept()

    def _evolve(self, pool: Pool, random: Random) -> None:
        pool.add_random(self.population, random)
        for generation in range(1, self.generations):
            parents = pool.best(self.parents)

            def mutant(parents: list[Genome] = parents) -> Genome:
                genes = zip(random.choice(parents), pool.sites, strict=True)
                return tuple(site.mutated(gene, self.mutation_probability, random) for gene, site in genes)

            def crossing(parents: list[Genome] = parents) -> Genome:
                pairs = zip(random.choice(parents), random.choice(parents), strict=True)
                return tuple(crossed(first, second, random) for first, second in pairs)

            half = self.population // 2
            _add_children(pool, mutant, half)
            _add_children(pool, crossing, self.population - half)
            pool.add_random(self.population * (generation + 1), random)


def _add_children(pool: Pool, child: Callable[[], Genome], count: int) -> None:
    """Evaluate `count` new children, or fewer if they are not found in `TRIES * count` tries."""
    added = 0
    for _ in range(TRIES * count):
        added += pool.add(child())
        if added == count:
            return
