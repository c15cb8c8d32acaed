"""Keep the candidates that the supernet misses most when they are removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, zip_longest
from random import Random
from typing import NamedTuple

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.method.discretization.base import Evaluate, Limits, Train, Trying
from dnas.method.discretization.eligible import active_rows, eligible_rows
from dnas.method.discretization.genome import kept
from dnas.system.accepted import accept
from dnas.system.errors import UserError


@dataclass(frozen=True)
class Perturbation(Trying):
    """Selection by perturbation (DARTS-PT, Wang et al. 2021, https://arxiv.org/abs/2108.04392, algorithms 1 and 2).

    In each round every decision settles one edge, drawn at random: it keeps the candidate whose removal lowers the
    accuracy of the supernet most. Once all edges have one operation, in each round every cell settles one node, drawn
    at random: it keeps the `num_kept` inputs whose removal, one at a time, lowers the accuracy most. An input choice is
    like one such node, a choice like one such edge. The decisions of a round follow one another. Between two rounds the
    supernet is trained with the remaining candidates. Ties are decided by order. Candidates that may not be kept
    ('none' in DARTS) take part on edges that are not settled, and are not tried. Within a budget, what has no
    completion that fits is passed over.

    Differences from the official code (ruocwang/darts-pt, `pt_project` of NAS-Bench-201 and of the DARTS space): there
    a removed candidate has weight 0 and the others keep theirs, here the relaxation normalises the remaining ones;
    there the alphas keep moving, here only the weights are tuned; on NAS-Bench-201 it tunes one epoch less before the
    last round. Accuracy is the only criterion, as in the paper.

    Args:
        epochs_between: epochs of tuning between two rounds.
        seed: seed of the order of edges and nodes; the seed of the search is added.
    """

    epochs_between: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        accept(self)
        if self.epochs_between < 0:
            raise UserError(f"epochs_between must be at least 0; got {self.epochs_between}.")

    def seeded(self, seed: int) -> Perturbation:
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
        decisions = {name: decision for name, decision in decisions.items() if decision.kind != "edges"}
        options = {name: eligible_rows(decision, mixtures[name]) for name, decision in decisions.items()}
        active = {
            name: _start(active_rows(decision, mixtures[name]), options[name]) for name, decision in decisions.items()
        }
        random = Random(self.seed)
        operations = [_open_rows(decision, options[name]) for name, decision in decisions.items()]
        topology = [_open_nodes(decision, options[name]) for name, decision in decisions.items()]
        rounds = [*_rounds(operations, random), *_rounds(topology, random)]
        for index, places in enumerate(rounds):
            if index and self.epochs_between:
                train(self.epochs_between, active)
            for place in places:
                active = active | {place.name: _settled(place, active, evaluate, limits)}
        return kept(active, decisions)


class _Item(NamedTuple):
    """Something that can be removed: candidates of one row."""

    row: int
    candidates: tuple[int, ...]


class _Place(NamedTuple):
    """One edge or node to settle: it keeps the `num_kept` items that are missed most."""

    name: str
    items: tuple[_Item, ...]
    num_kept: int


def _start(active: Active, options: Active) -> Active:
    """The candidates that take part at first; on a row without alternatives, only those that will stay."""
    return tuple(
        few if len(few) == 1 or not set(few) & set(row) else row for row, few in zip(active, options, strict=True)
    )


def _open_rows(decision: Decision, options: Active) -> list[_Place]:
    """The rows of a choice or cell that can keep one of several candidates."""
    if decision.kind == "inputs":
        return []
    return [
        _Place(decision.name, tuple(_Item(row, (k,)) for k in few), 1)
        for row, few in enumerate(options)
        if len(few) > 1
    ]


def _open_nodes(decision: Decision, options: Active) -> list[_Place]:
    """The nodes of a cell, or the one of an input choice, that have more inputs than they keep."""
    if decision.kind == "inputs":
        nodes = [tuple(_Item(0, (k,)) for k in options[0])]
    else:
        whole = tuple(range(len(decision.candidates)))
        nodes = [tuple(_Item(edge, whole) for edge in decision.incoming(node)) for node in decision.nodes]
    num_kept = decision.num_kept
    return [] if num_kept is None else [_Place(decision.name, n, num_kept) for n in nodes if len(n) > num_kept]


def _rounds(places: Iterable[list[_Place]], random: Random) -> list[list[_Place]]:
    """Rounds that each settle one place of every decision that has some left, in random order."""
    shuffled = [random.sample(own, len(own)) for own in places]
    return [[place for place in row if place is not None] for row in zip_longest(*shuffled)]


def _settled(place: _Place, active: Mapping[str, Active], evaluate: Evaluate, limits: Limits) -> Active:
    """Return the decision's rows, at this place with only those allowed items whose removal hurts most."""
    rows = active[place.name]
    ways = {kept: _only(rows, place, kept) for kept in combinations(place.items, place.num_kept)}
    allowed = [kept for kept, left in ways.items() if limits.allow({**active, place.name: left})]
    if len(allowed) == 1:
        return ways[allowed[0]]
    accuracy = {
        item: evaluate({**active, place.name: _without(rows, item)})
        for item in place.items
        if any(item in kept for kept in allowed)
    }
    rank = {item: place for place, item in enumerate(sorted(accuracy, key=lambda item: accuracy[item]))}
    return ways[min(allowed, key=lambda kept: sorted(rank[item] for item in kept))]


def _only(rows: Active, place: _Place, items: Sequence[_Item]) -> Active:
    """The rows of a decision where of a place these items alone stay."""
    stays = {(item.row, k) for item in items for k in item.candidates}
    touched = {item.row for item in place.items}
    return tuple(
        tuple(k for k in row if (index, k) in stays) if index in touched else row for index, row in enumerate(rows)
    )


def _without(rows: Active, item: _Item) -> Active:
    return tuple(
        tuple(k for k in row if k not in item.candidates) if index == item.row else row
        for index, row in enumerate(rows)
    )
