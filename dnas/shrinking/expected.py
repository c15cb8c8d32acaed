"""What a smaller network is expected to cost, where its widths and blocks are drawn from mixtures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.shrinking.costs import Cost
from dnas.shrinking.program import Program, Value


class ExpectedCosts:
    """E[cost] of decisions that are drawn independently, one for each cost: (costs,) in float64, differentiable.

    A width inside of a block counts where the block stays: P(width) P(block).

    Args:
        program: decisions with their values; a mixture has one entry for each, but for the 0 of a width inside of a
            block, which it leaves to the block.
        costs: sums over values, pairs and triples of values.
    """

    def __init__(self, program: Program, costs: Sequence[Cost]) -> None:
        self._names = tuple(program.values)
        self._inside = program.inside
        own = [(name, value) for name in self._names for value in own_values(program, name)]
        # Entry 0 is certain.
        self._place: dict[Value, int] = {value: index for index, value in enumerate(own, start=1)}
        self._factors: dict[tuple[int, ...], int] = {}
        rows: list[dict[int, float]] = []
        for cost in costs:
            found = cost.by_value(program.values)
            row = {self._factor(): found.constant}
            singles = [((value,), one) for value, one in found.single.items()]
            threes = [((*pair, third), one) for (pair, third), one in found.triples.items()]
            for values, amount in [*singles, *found.pairs.items(), *threes]:
                if amount:
                    column = self._factor(*values)
                    row[column] = row.get(column, 0.0) + amount
            rows.append(row)
        self._amounts = torch.zeros(len(rows), len(self._factors), dtype=torch.float64)
        for index, row in enumerate(rows):
            self._amounts[index, list(row)] = torch.tensor(list(row.values()), dtype=torch.float64)
        width = max(map(len, self._factors))
        self._places = torch.tensor([[*factors, *[0] * (width - len(factors))] for factors in self._factors])

    def __call__(self, mixtures: Mapping[str, Mixture]) -> Tensor:
        values = [mixtures[name].values.double() for name in self._names]
        chances = torch.cat([values[0].new_ones(1), *values])
        return self._amounts.to(chances.device) @ chances[self._places.to(chances.device)].prod(dim=1)

    def _factor(self, *values: Value) -> int:
        """The column of these values together, with the blocks that they are inside of."""
        blocks = {self._inside[name] for name, _ in values if name in self._inside} - {name for name, _ in values}
        together = (*values, *((block, 1) for block in sorted(blocks)))
        places = tuple(sorted(self._place[value] for value in together))
        return self._factors.setdefault(places, len(self._factors))


def own_values(program: Program, name: str) -> tuple[int, ...]:
    """The values that a decision itself chooses from: a width inside of a block is 0 where the block is out."""
    return tuple(value for value in program.values[name] if value or name not in program.inside)
