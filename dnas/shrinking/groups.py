"""Groups of channels that are one decision: how many of them stay."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dnas.shrinking.blocks import Block
from dnas.shrinking.book import KERNEL
from dnas.shrinking.channels import FIXED, Field, vary
from dnas.shrinking.kernels import Kernel
from dnas.shrinking.separable import Separable
from dnas.shrinking.trace import Trace

# A dimension of a parameter or buffer.
Place = tuple[str, int]


@dataclass(frozen=True)
class Selection:
    """What stays of a model.

    Args:
        kept: for a group by name, the indices of its classes that stay; other groups stay whole.
        skipped: names of the blocks that are left out.
        kernels: for a kernel by name, the size that stays; others stay as they are.
        separated: names of the modules that become depthwise-separable.
    """

    kept: Mapping[str, Sequence[int]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    kernels: Mapping[str, int] = field(default_factory=dict)
    separated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Classes of channels that take the same places, so that it only matters how many stay.

    Args:
        name: the module that makes the channels.
        classes: what goes or stays as one (a channel with all that belongs to it, a whole head), as labels.
        places: every dimension that changes with the number of classes, with the number of entries per class.
    """

    name: str
    classes: tuple[int, ...]
    places: tuple[tuple[Place, int], ...]

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class Frozen:
    """Something that stays as it is, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Structure:
    """What may change in a model and what stays.

    Args:
        trace: what the run said.
        groups: decisions about widths.
        blocks: residual blocks that may be left out.
        frozen: dimensions, as 'features.0.weight, dimension 1', or groups that stay, with the reason.
        kernels: of convolutions that may become smaller, where a rule lets them.
        separables: convolutions that may become depthwise-separable, where a rule lets them.
    """

    trace: Trace
    groups: tuple[Group, ...]
    blocks: tuple[Block, ...]
    frozen: tuple[Frozen, ...]
    kernels: tuple[Kernel, ...] = ()
    separables: tuple[Separable, ...] = ()

    def removed(self, kept: Mapping[str, Sequence[int]]) -> Field:
        """The labels of the classes that go, for the indices of classes that stay by name of a group."""
        return np.array(
            [
                label
                for group in self.groups
                if group.name in kept
                for index, label in enumerate(group.classes)
                if index not in set(kept[group.name])
            ],
            dtype=np.int64,
        )

    def block_of(self, group: str) -> Block | None:
        """The block that a group's channels never leave; None where they do, or for a name that is no group's."""
        places = next((one.places for one in self.groups if one.name == group), ())
        for block in self.blocks:
            if places and all(block.holds(tensor) for (tensor, _), _ in places):
                return block
        return None

    def stays(self, labels: Field, removed: Field) -> Field:
        """Which entries of a field stay, as an array of bools of its shape."""
        return ~np.isin(self.trace.book.channels.roots(labels), removed)


def find_groups(trace: Trace) -> Structure:
    """Classes of a trace that take the same places, in the order of the model's tensors."""
    places: dict[int, Counter[Place]] = defaultdict(Counter)
    frozen: list[Frozen] = []
    for name, fields in trace.labels.items():
        for labels in fields:
            axis = next(axis for axis in range(labels.ndim) if vary(labels, axis))
            roots = trace.book.channels.roots(labels)
            for root in roots[roots != FIXED].tolist():
                places[root][name, axis] += 1
            reason = next(trace.book.channels.reasons(labels), KERNEL)
            if reason != KERNEL and not roots.any():
                frozen.append(Frozen(f"{name}, dimension {axis}", reason))
    by_places: dict[tuple[tuple[Place, int], ...], list[int]] = defaultdict(list)
    for root, counts in places.items():
        by_places[tuple(counts.items())].append(root)
    names = _Names(trace)
    groups = [Group(names.of(at), tuple(classes), at) for at, classes in by_places.items()]
    single = [Frozen(group.name, "all its channels go together") for group in groups if len(group) == 1]
    several = tuple(group for group in groups if len(group) > 1)
    return Structure(trace, several, trace.blocks, (*frozen, *single))


class _Names:
    """A group is called after the module that makes its channels, with a number where that makes several."""

    def __init__(self, trace: Trace) -> None:
        consumed = {label for labels in trace.book.consumers for label in np.unique(labels).tolist()}
        self._inputs = {
            (name, next(axis for axis in range(labels.ndim) if vary(labels, axis)))
            for name, fields in trace.labels.items()
            for labels in fields
            if consumed.intersection(np.unique(labels).tolist())
        }
        self._counts: Counter[str] = Counter()

    def of(self, places: tuple[tuple[Place, int], ...]) -> str:
        made = [place for place, _ in places if place not in self._inputs]
        layers = {name for name, _ in self._inputs}
        tensor = next((name for name, _ in made if name in layers), (made or [place for place, _ in places])[0][0])
        module = tensor.rpartition(".")[0] or tensor
        self._counts[module] += 1
        return module if self._counts[module] == 1 else f"{module}#{self._counts[module]}"
