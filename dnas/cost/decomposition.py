"""The cost of a delivered network, as a sum over the kept candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from dnas.core.architecture import Architecture, Kept
from dnas.core.decision import Decision
from dnas.core.searchable import Searchable
from dnas.cost.decisions import Costs
from dnas.cost.delivered import Delivered
from dnas.cost.layout import Item, first, items_of

# One row of numbers for each row of a decision; for a pair of choices, one row for each candidate of the first.
Table = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Decomposition:
    """cost = constant + sum over kept candidates of `single` + sum over pairs of choices of `pairs`.

    Counts are whole numbers, exact below 2^53.

    Args:
        constant: the cost that every architecture has: stem, classifier, and the parts that join the cells.
        single: decision -> (rows, candidates): the cost of keeping a candidate, over all places of a shared decision.
            Decisions that are not named cost nothing.
        pairs: (choice, other choice) -> (candidates, candidates): the cost of keeping both, such as a layer in a stage
            of some width.
    """

    constant: float
    single: Mapping[str, Table]
    pairs: Mapping[tuple[str, str], Table]

    def of(self, kept: Mapping[str, Kept], decisions: Mapping[str, Decision]) -> float:
        """The cost of the network with these kept candidates."""
        items = items_of(kept, decisions)
        chosen = {item.decision: item.candidate for item in items}
        total = self.constant + sum(self.at(item) for item in items)
        return total + sum(table[chosen[a]][chosen[b]] for (a, b), table in self.pairs.items())

    def at(self, item: Item) -> float:
        """The cost of keeping this item by itself."""
        return self.single[item.decision][item.row][item.candidate] if item.decision in self.single else 0.0

    def beside(self, item: Item, others: Mapping[str, Item]) -> float:
        """The cost of keeping this item if `others` are kept of other choices."""
        total = self.at(item)
        for (a, b), table in self.pairs.items():
            if a == item.decision:
                total += table[item.candidate][others[b].candidate]
            elif b == item.decision:
                total += table[others[a].candidate][item.candidate]
        return total

    def scaled(self, factor: float) -> Decomposition:
        """The same costs in another unit."""
        return Decomposition(
            self.constant * factor,
            {name: _scaled(table, factor) for name, table in self.single.items()},
            {names: _scaled(table, factor) for names, table in self.pairs.items()},
        )


def decompose(
    delivered: Delivered,
    of_candidates: Callable[[nn.Module], Mapping[str, Costs]],
    of_network: Callable[[nn.Module], float],
) -> Decomposition:
    """Measure the candidates in their places, and the remainder of a whole network.

    Some choices shape others (a stage's width shapes its layers). Their effects on these are measured one at a time,
    and must add up.

    Args:
        delivered: the network.
        of_candidates: returns the costs of each candidate of a model with choices, by decision.
        of_network: returns the cost of a network.
    """
    decisions = delivered.decisions
    base = first(decisions)

    def candidates(kept: Mapping[str, Kept]) -> dict[str, Table]:
        model = delivered.undecided({name: kept[name] for name in delivered.shaping})
        _bind(model, kept, decisions)
        return {name: _table(costs) for name, costs in of_candidates(model).items()}

    single = candidates(base)
    pairs: dict[tuple[str, str], Table] = {}
    open_items = [item for item in items_of(base, decisions) if item.decision in single]

    def rest(kept: Mapping[str, Kept], costs: Mapping[str, Table]) -> float:
        """The cost of the network without its candidates."""
        return of_network(delivered.network(kept)) - sum(costs[name][row][k] for name, row, k in open_items)

    constant = rest(base, single)
    own: dict[str, Table] = {}
    for name in delivered.shaping:
        rows, differences = [], []
        for candidate in decisions[name].candidates:
            kept = {**base, name: candidate}
            costs = single if candidate == base[name] else candidates(kept)
            rows.append(0.0 if candidate == base[name] else rest(kept, costs) - constant)
            differences.append({other: _difference(costs[other], single[other]) for other in single})
        own[name] = (tuple(rows),)
        for other in single:
            table = tuple(_only_row(difference[other]) for difference in differences)
            if any(value for row in table for value in row):
                pairs[name, other] = table
    return Decomposition(constant, {**single, **own}, pairs)


def _bind(model: nn.Module, kept: Mapping[str, Kept], decisions: Mapping[str, Decision]) -> None:
    """Let a forward pass compute only the kept candidates."""
    searchable = [module for module in model.modules() if isinstance(module, Searchable)]
    found = {decision.name: decision for module in searchable for decision in module.decisions()}
    own = {name: decisions.get(name, decision) for name, decision in found.items()}
    like = next(model.parameters(), torch.empty(0)).detach()
    mixtures = Architecture({name: kept[name] for name in own if name in kept}).one_hot(own, like)
    for module in searchable:
        module.bind(mixtures)


def _table(costs: Costs) -> Table:
    return tuple(tuple(row) if isinstance(row, list) else (row,) for row in _rows(costs))


def _rows(costs: Costs) -> list[list[float]]:
    return [list(row) for row in costs] if isinstance(costs[0], list) else [list(costs)]  # pyright: ignore


def _only_row(table: Table) -> tuple[float, ...]:
    assert len(table) == 1, "only choices are shaped by others"
    return table[0]


def _difference(a: Table, b: Table) -> Table:
    return tuple(tuple(x - y for x, y in zip(*rows, strict=True)) for rows in zip(a, b, strict=True))


def _scaled(table: Table, factor: float) -> Table:
    return tuple(tuple(value * factor for value in row) for row in table)
