"""Other networks of the same cost: what a search must be compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from dnas.shrinking.program import Bound
from dnas.shrinking.searchable import Narrowable

# Random widths come from this band of the budget.
BAND = 0.95
_TRIES = 1000


def uniform_widths(searchable: Narrowable, bounds: Sequence[Bound]) -> dict[str, int] | None:
    """All widths by one factor, the largest that is within the bounds, all blocks kept; None where none is."""

    def at(factor: float) -> dict[str, int]:
        widths = {group.name: max(1, int(len(group) * factor + 1e-9)) for group in searchable.structure.groups}
        return searchable.largest | widths

    return largest_within(at, bounds)


def random_widths(searchable: Narrowable, bounds: Sequence[Bound], generator: torch.Generator) -> dict[str, int] | None:
    """Random widths and blocks that use 95 to 100 % of a bound and pass none; None where 1,000 draws gave none.

    Each width is a share drawn from (0, 1), all to the least power that is within the bounds; each block is left out
    with probability 1/4, and kinds and sizes of kernels are drawn.
    """
    groups, blocks = searchable.structure.groups, searchable.structure.blocks
    for _ in range(_TRIES):
        shares = torch.rand(len(groups), generator=generator).tolist()
        stays = (torch.rand(len(blocks), generator=generator) >= 0.25).tolist()
        kernels = {
            kernel.name: kernel.sizes[int(torch.randint(len(kernel.sizes), (), generator=generator))]
            for kernel in searchable.structure.kernels
        }
        for one in searchable.structure.separables:
            kernels[one.name] = int(torch.randint(2, (), generator=generator))
        at = partial(_at_power, searchable, shares, stays, kernels)
        found = largest_within(at, bounds)
        if found is not None and any(bound.cost.of(found) >= BAND * bound.most for bound in bounds):
            return found
    return None


def _at_power(
    searchable: Narrowable, shares: Sequence[float], stays: Sequence[bool], kernels: Mapping[str, int], factor: float
) -> dict[str, int]:
    """Widths of share^(1 / factor - 1): from one class each at a factor of 0 to all of them at 1."""
    structure = searchable.structure
    values = {block.name: int(stay) for block, stay in zip(structure.blocks, stays, strict=True)}
    values |= kernels
    for group, share in zip(structure.groups, shares, strict=True):
        values[group.name] = max(1, round(len(group) * share ** (1 / factor - 1))) if factor else 1
    return searchable.consistent(values)


def largest_within(at: Callable[[float], dict[str, int]], bounds: Sequence[Bound]) -> dict[str, int] | None:
    """The values for the largest factor in [0, 1] that are within the bounds; costs rise with the factor."""

    def fits(values: dict[str, int]) -> bool:
        return all(bound.cost.of(values) <= bound.most for bound in bounds)

    if not fits(at(0.0)):
        return None
    if fits(at(1.0)):
        return at(1.0)
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(at(middle)) else (low, middle)
    return at(low)
