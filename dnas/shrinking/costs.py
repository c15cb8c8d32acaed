"""What a smaller network costs, as a polynomial in the numbers of classes that stay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple

from dnas.shrinking.book import Term
from dnas.shrinking.channels import Field, Fields, vary
from dnas.shrinking.groups import Structure

# A decision and one of its values.
Value = tuple[str, int]
Pair = tuple[Value, Value]
Triple = tuple[Pair, Value]

# Names of decisions whose values are multiplied, in order; one may stand twice.
Names = tuple[str, ...]


class ByValue(NamedTuple):
    """A cost as a sum over values of decisions.

    Args:
        single: the cost of a value.
        pairs: the cost of two values together.
        constant: what is always there.
        triples: the cost of three values together.
    """

    single: dict[Value, float]
    pairs: dict[Pair, float]
    constant: float
    triples: Mapping[Triple, float] = {}


class Cost(ABC):
    """What a network costs whose decisions have some values."""

    @abstractmethod
    def of(self, values: Mapping[str, int]) -> float:
        """The cost where each decision has this value."""

    @abstractmethod
    def by_value(self, values: Mapping[str, Sequence[int]]) -> ByValue:
        """The cost of each value and of each pair of values that decisions may take."""


@dataclass(frozen=True)
class Polynomial(Cost):
    """A sum of products: coefficient times the values of decisions (classes that stay; 1 for a block that stays, or 0).

    Args:
        terms: coefficient by the names that are multiplied.
    """

    terms: Mapping[Names, float]

    def of(self, values: Mapping[str, int]) -> float:
        return sum(scale * prod(values[name] for name in names) for names, scale in self.terms.items())

    def by_value(self, values: Mapping[str, Sequence[int]]) -> ByValue:
        single: dict[Value, float] = defaultdict(float)
        pairs: dict[Pair, float] = defaultdict(float)
        triples: dict[Triple, float] = defaultdict(float)
        constant = 0.0
        for names, scale in self.terms.items():
            distinct = sorted(set(names))
            assert len(distinct) <= 3, f"four decisions in one product: {names}"
            if not distinct:
                constant += scale
                continue
            for chosen in product(*([(name, value) for value in values[name]] for name in distinct)):
                amount = scale * prod(dict(chosen)[name] for name in names)
                if len(chosen) == 1:
                    single[chosen[0]] += amount
                elif len(chosen) == 2:
                    pairs[chosen[0], chosen[1]] += amount
                else:
                    triples[(chosen[0], chosen[1]), chosen[2]] += amount
        return ByValue(single, pairs, constant, triples)


def parameters_of(structure: Structure) -> Polynomial:
    """The number of parameters."""
    model = structure.trace
    terms = []
    for name, shape in model.parameters.items():
        fields = model.labels[name]
        terms.append((name, Term(prod(shape) // prod(labels.size for labels in fields), fields)))
    return _cost(structure, terms)


def flops_of(structure: Structure) -> Polynomial:
    """FLOPs of one forward pass over the example, as `torch.utils.flop_counter` counts them."""
    return _cost(structure, [(term.module, term) for term in structure.trace.book.flops])


def _cost(structure: Structure, terms: list[tuple[str, Term]]) -> Polynomial:
    sums: dict[Names, float] = defaultdict(float)
    groups = _groups_of_labels(structure)
    for place, term in terms:
        for part in _products(structure, place, term):
            found: dict[Names, float] = {(): float(part.scale)}
            for labels in part.factors:
                found = _times(found, _count(structure, labels, groups))
            for names, scale in found.items():
                sums[tuple(sorted((*_with_block(structure, place, names), *part.names)))] += scale / part.unit
    return Polynomial({names: scale for names, scale in sums.items() if scale})


class _Product(NamedTuple):
    """scale / unit times how many labels of each factor stay, times the values of decisions."""

    scale: int
    unit: int
    factors: Fields
    names: Names


def _products(structure: Structure, place: str, term: Term) -> list[_Product]:
    """A term with the decisions on the kernel and the kind of the convolution at this place.

    v times a whole convolution plus (1 - v) times a depthwise and a pointwise one, where it may become separable.
    """
    kernel = next((one for one in structure.kernels if place in (one.module, f"{one.module}.weight")), None)
    separable = next((one for one in structure.separables if place in (one.module, f"{one.module}.weight")), None)
    unit, size = (1, ()) if kernel is None else (kernel.largest**kernel.dims, (kernel.name,) * kernel.dims)
    if separable is None:
        return [_Product(term.scale, unit, term.factors, size)]
    # Factors are fields of the weight, (outputs, inputs, *kernel).
    of_inputs = tuple(labels for labels in term.factors if not vary(labels, 0))
    of_channels = tuple(labels for labels in term.factors if vary(labels, 0) or vary(labels, 1))
    return [
        _Product(term.scale, unit, term.factors, (*size, separable.name)),
        _Product(term.scale, unit, of_inputs, size),
        _Product(-term.scale, unit, of_inputs, (*size, separable.name)),
        _Product(term.scale, 1, of_channels, ()),
        _Product(-term.scale, 1, of_channels, (separable.name,)),
    ]


def _groups_of_labels(structure: Structure) -> dict[int, str]:
    return {label: group.name for group in structure.groups for label in group.classes}


def _count(structure: Structure, labels: Field, groups: dict[int, str]) -> dict[Names, float]:
    """How many entries of a field stay: a constant plus a number for each class of a group."""
    found = Counter(structure.trace.book.channels.roots(labels).reshape(-1).tolist())
    counts: dict[Names, float] = defaultdict(float)
    each: dict[str, set[int]] = defaultdict(set)
    for root, count in found.items():
        if root in groups:
            each[groups[root]].add(count)
        else:
            counts[()] += count
    for name, sizes in each.items():
        assert len(sizes) == 1, f"classes of {name} differ in their number of entries: {sizes}"
        counts[name,] = sizes.pop()
    return counts


def _times(left: dict[Names, float], right: dict[Names, float]) -> dict[Names, float]:
    found: dict[Names, float] = defaultdict(float)
    for a, x in left.items():
        for b, y in right.items():
            found[tuple(sorted((*a, *b)))] += x * y
    return found


def _with_block(structure: Structure, place: str, names: Names) -> Names:
    """A block that is left out costs nothing; where a width inside of it counts, that is 0 already."""
    for block in structure.blocks:
        if block.holds(place) and not any(structure.block_of(name) == block for name in names):
            return tuple(sorted((*names, block.name)))
    return names
