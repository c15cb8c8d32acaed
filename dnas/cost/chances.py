"""The expected cost of the architecture that will be kept, as a differentiable function of the mixtures.

The probability of an architecture is proportional to the product of the mixture and edge weights that it keeps; the
discretization keeps the most probable one. Let v be the mixture over the candidates that may be kept, w the weight of
an edge, and E_k the sum of all products of k numbers (elementary symmetric polynomial). For a node that keeps k edges:

    q_e = w_e sum_k v_ek                                            (odds of an edge)
    P(e stays) = q_e E_{k-1}(q without e) / E_k(q)                  (conditional Bernoulli sampling)
    P(e keeps k) = P(e stays) v_ek / sum_j v_ej

(Chen, Dempster and Liu 1994, https://doi.org/10.1093/biomet/81.3.457, for the second line). A choice is a node of one
edge. Independent gates g with a threshold t keep from 1 up to k items of a node, with odds g (1 - t) to (1 - g) t each:

    P(i stays) = b_i sum_{j<k} c_j(without i) / sum_{1<=j<=k} c_j,   c_j = coefficient of z^j in prod_i (a_i + b_i z)

Edge weights play no part in that. If mixtures are 1 for kept candidates and 0 elsewhere, all of these are exactly 0
or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from dnas.core.decision import Decision, edges_name
from dnas.core.mixture import Mixture
from dnas.cost.decomposition import Decomposition
from dnas.cost.layout import Group, Item, allowed, groups

# Added to each mixture, so that a row of zeros counts as equal weights; it is lost in rounding beside other numbers.
TINY = 1e-30
# A threshold of 0 or 1 would leave no odds.
_LEAST_ODDS = 1e-6


@dataclass(frozen=True)
class Nodes:
    """Groups that each keep the same number of items.

    Args:
        places: (groups, items) indices into the values; smaller groups are padded with the index of a value of 0.
        most: number of items that a group keeps.
        real: for the flattened `places`, which entries are not padding.
        targets: where the results of these entries belong.
        filled: (groups, items), whether an entry is padding.
    """

    places: Tensor
    most: int
    real: Tensor
    targets: Tensor
    filled: Tensor


class Chances:
    """The chance that each item is kept.

    Args:
        decisions: decisions of the mixtures, including weights of edges if there are any.
        threshold: threshold of independent gates in cells and input choices; None if candidates compete.
        sharpness: power of all odds, over 0: 1 for those of the mixtures; a larger one is nearer to what a
            discretization keeps, the most probable architecture.
    """

    def __init__(self, decisions: Mapping[str, Decision], *, threshold: float | None = None, sharpness: float = 1.0):
        self.decisions = decisions
        self.sharpness = sharpness
        self.threshold = threshold
        own = groups(decisions, allowed(decisions), independent=threshold is not None)
        self.items = [item for group in own for item in group.items]
        self._names = [name for name, decision in decisions.items() if decision.kind != "edges"]
        self._weighed = [name for name in self._names if edges_name(name) in decisions]
        competing = [group for group in own if threshold is None or decisions[group.decision].kind == "choice"]
        self._rows = [row for group in competing for row in group.rows]
        self._row_of = {item: index for index, row in enumerate(self._rows) for item in row}
        self._open = [group for group in competing if group.most < len(group.rows) and len(group.rows) > 1]
        self._gated = [group for group in own if group not in competing]
        self._prepared: tuple[torch.device, _Indices] | None = None

    def __call__(self, mixtures: Mapping[str, Mixture]) -> Tensor:
        """The chances, (number of items,) in float64, in the order of `items`."""
        like = mixtures[self._names[0]].values
        index = self._on(like.device)
        values = torch.cat([mixtures[name].values.reshape(-1) for name in self._names]).to(torch.float64)
        values = torch.cat([values, values.new_zeros(1)])  # the last one is for padding
        weights = self._edge_weights(mixtures, index, values)
        chance = values.new_zeros(len(self.items))
        if self._rows:
            v = self._sharpened(values)[index.rows]  # (rows, candidates)
            total = v.sum(dim=1)
            stays = torch.ones_like(total)
            odds = torch.cat([total if weights is None else total * weights[index.row_weights], total.new_zeros(1)])
            for nodes in index.nodes:
                kept = inclusion(odds[nodes.places], nodes.most)
                stays = stays.index_copy(0, nodes.targets, kept.reshape(-1)[nodes.real])
            shares = v * (stays / total)[:, None]
            chance = chance.index_copy(0, index.items, shares.reshape(-1)[index.places])
        for nodes in index.gates:
            kept = self._gates(values[nodes.places], nodes)
            chance = chance.index_copy(0, nodes.targets, kept.reshape(-1)[nodes.real])
        return chance

    def _gates(self, g: Tensor, nodes: Nodes) -> Tensor:
        assert self.threshold is not None
        t = min(max(self.threshold, _LEAST_ODDS), 1 - _LEAST_ODDS)
        leave, keep = ((1 - g) * t) ** self.sharpness, (g * (1 - t)) ** self.sharpness
        return gates_inclusion(leave.masked_fill(nodes.filled, 1.0), keep, nodes.most)

    def _sharpened(self, values: Tensor) -> Tensor:
        """The power of the values, and a tiny number more, except for the last one."""
        powers = values if self.sharpness == 1 else values**self.sharpness
        return torch.cat([powers[:-1] + TINY, powers[-1:]])

    def _edge_weights(self, mixtures: Mapping[str, Mixture], index: _Indices, like: Tensor) -> Tensor | None:
        """The weights of all edges, flattened, with a final 1 for anything else; None without edge weights."""
        if not self._weighed or self.threshold is not None:
            return None
        found = [mixtures[edges_name(name)].values.to(torch.float64) ** self.sharpness for name in self._weighed]
        return torch.cat([*found, like.new_ones(1)])

    def _on(self, device: torch.device) -> _Indices:
        if self._prepared is None or self._prepared[0] != device:
            self._prepared = (device, self._indices(device))
        return self._prepared[1]

    def _indices(self, device: torch.device) -> _Indices:
        start, place = 0, {}
        for name in self._names:
            decision = self.decisions[name]
            width = len(decision.candidates)
            for row in range(decision.num_rows):
                place |= {Item(name, row, k): start + row * width + k for k in range(width)}
            start += decision.num_rows * width
        filler = start
        number = {item: index for index, item in enumerate(self.items)}
        width = max((len(row) for row in self._rows), default=1)
        rows = [[place[item] for item in row] + [filler] * (width - len(row)) for row in self._rows]
        first, edge_start = {}, 0
        for name in self._weighed:
            first[name] = edge_start
            edge_start += len(self.decisions[name].edges)
        weights = [
            first[row[0].decision] + row[0].row if row[0].decision in first else edge_start for row in self._rows
        ]
        in_rows = [(number[item], r * width + k) for r, row in enumerate(self._rows) for k, item in enumerate(row)]
        nodes = [
            _nodes(same, most, lambda group: [self._row_of[row[0]] for row in group.rows], len(self._rows), device)
            for most, same in _by_most(self._open)
        ]
        gates = [
            replace(
                _nodes(same, most, lambda group: [place[item] for item in group.items], filler, device),
                targets=torch.tensor([number[item] for group in same for item in group.items], device=device),
            )
            for most, same in _by_most(self._gated)
        ]

        def tensor(numbers: Sequence[object]) -> Tensor:
            return torch.tensor(numbers, dtype=torch.int64, device=device)

        items, places = tensor([a for a, _ in in_rows]), tensor([b for _, b in in_rows])
        return _Indices(tensor(rows), tensor(weights), nodes, items, places, gates)


@dataclass(frozen=True)
class _Indices:
    """Indices of all values.

    Args:
        rows: (rows, candidates) indices into the mixtures.
        row_weights: (rows,) indices into the weights of edges.
        nodes: nodes over rows.
        items, places: the item of each entry of the rows.
        gates: nodes over mixtures.
    """

    rows: Tensor
    row_weights: Tensor
    nodes: list[Nodes]
    items: Tensor
    places: Tensor
    gates: list[Nodes]


class ExpectedCosts:
    """Expected costs, one for each decomposition: (number of decompositions,) in float64, differentiable.

    Args:
        decisions, threshold, sharpness: as for `Chances`.
        costs: the decompositions whose expected value is computed.
    """

    def __init__(
        self,
        decisions: Mapping[str, Decision],
        costs: Sequence[Decomposition],
        *,
        threshold: float | None = None,
        sharpness: float = 1.0,
    ):
        self.chances = Chances(decisions, threshold=threshold, sharpness=sharpness)
        items = self.chances.items
        number = {item: index for index, item in enumerate(items)}
        self._constants = torch.tensor([cost.constant for cost in costs], dtype=torch.float64)
        self._single = torch.tensor([[cost.at(item) for item in items] for cost in costs], dtype=torch.float64)
        pairs = [
            (index, number[Item(a, 0, j)], number[Item(b, 0, k)], value)
            for index, cost in enumerate(costs)
            for (a, b), table in cost.pairs.items()
            for j, row in enumerate(table)
            for k, value in enumerate(row)
            if value and Item(a, 0, j) in number and Item(b, 0, k) in number
        ]
        self._pair_costs = torch.zeros(len(costs), len(pairs), dtype=torch.float64)
        for column, (index, _, _, value) in enumerate(pairs):
            self._pair_costs[index, column] = value
        self._pair_items = torch.tensor([[j, k] for _, j, k, _ in pairs], dtype=torch.int64).reshape(-1, 2)

    def __call__(self, mixtures: Mapping[str, Mixture]) -> Tensor:
        chance = self.chances(mixtures)
        if self._single.device != chance.device:
            self._constants, self._single, self._pair_costs, self._pair_items = (
                x.to(chance.device) for x in (self._constants, self._single, self._pair_costs, self._pair_items)
            )
        expected = self._constants + self._single @ chance
        if self._pair_items.numel():
            both = chance[self._pair_items]
            expected = expected + self._pair_costs @ (both[:, 0] * both[:, 1])
        return expected


def inclusion(q: Tensor, k: int) -> Tensor:
    """P(e stays) of conditional Bernoulli sampling: q_e E_{k-1}(q without e) / E_k(q).

    Args:
        q: (groups, items) odds, 0 or more; padding has odds of 0.
        k: number of items that each group keeps, fewer than have odds above 0.

    Example:
        >>> inclusion(torch.tensor([[1.0, 1.0, 2.0]]), 2)
        tensor([[0.6000, 0.6000, 0.8000]])
    """
    q = q / q.detach().amax(dim=1, keepdim=True)  # the result does not depend on this factor
    terms = q * _without_each(q, k - 1)
    return terms / (terms.sum(dim=1, keepdim=True) / k)  # k E_k = sum_e q_e E_{k-1}(q without e)


def _without_each(q: Tensor, degree: int) -> Tensor:
    """E_degree of all items except one, for each one: (groups, items)."""
    if degree == 0:
        return torch.ones_like(q)
    others = q[:, None, :] * (1 - torch.eye(q.shape[1], dtype=q.dtype, device=q.device))
    if degree == 1:
        return others.sum(dim=2)
    polynomial = [torch.ones_like(q)] + [torch.zeros_like(q)] * degree
    for item in others.unbind(dim=2):
        polynomial = [polynomial[0], *(c + item * before for before, c in pairwise(polynomial))]
    return polynomial[degree]


def gates_inclusion(a: Tensor, b: Tensor, most: int) -> Tensor:
    """P(i stays) if 1 to `most` items stay: see the module's text.

    Args:
        a, b: (groups, items) weights of leaving an item out and of keeping it; 1 and 0 for padding.
        most: largest number of items that may stay.
    """
    # Only their ratio matters; scaled so that products for certain items are exactly 1.
    scale = torch.maximum(a, b).detach()
    a, b = a / scale, b / scale
    if most == a.shape[1]:  # no upper limit: everything except the case that none stays
        alone = b / (a + b)
        return alone / (1 - (1 - alone).prod(dim=1, keepdim=True)).clamp(min=torch.finfo(a.dtype).tiny)
    keep = torch.eye(a.shape[1], dtype=torch.bool, device=a.device)
    a_others, b_others = torch.where(keep, 1.0, a[:, None, :]), torch.where(keep, 0.0, b[:, None, :])
    without = _coefficients(a_others, b_others, most)
    kept = b * torch.stack(without[:most]).sum(dim=0)
    total = torch.stack(_coefficients(a, b, most)[1:]).sum(dim=0)
    return kept / total.clamp(min=torch.finfo(total.dtype).tiny)[:, None]


def _coefficients(a: Tensor, b: Tensor, degree: int) -> list[Tensor]:
    """Coefficients of z^0 to z^degree in the product over the last dimension of (a + b z)."""
    one, zero = torch.ones_like(a[..., 0]), torch.zeros_like(a[..., 0])
    found = [one] + [zero] * degree
    for a_i, b_i in zip(a.unbind(-1), b.unbind(-1), strict=True):
        found = [a_i * found[0], *(a_i * c + b_i * before for before, c in pairwise(found))]
    return found


def _nodes(
    groups: Sequence[Group], most: int, places_of: Callable[[Group], list[int]], filler: int, device: torch.device
) -> Nodes:
    rows = [places_of(group) for group in groups]
    width = max(len(row) for row in rows)
    padded = torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], device=device)
    filled = padded == filler
    real = (~filled).reshape(-1).nonzero().flatten()
    return Nodes(padded, most, real, padded.reshape(-1)[real], filled)


def _by_most(groups: Sequence[Group]) -> list[tuple[int, list[Group]]]:
    sizes = sorted({group.most for group in groups})
    return [(most, [group for group in groups if group.most == most]) for most in sizes]
