"""The search spaces of this package: how many architectures each has, of what, and how large their networks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import nn

import dnas
from dnas.core.architecture import Architecture
from dnas.cost import count_parameters
from dnas.space import (
    DartsSpace,
    MobileSpace,
    NasBench201Space,
    RecurrentSpace,
    ReducedDartsSpace,
    Space,
    TransformerSpace,
)
from dnas.system.errors import UserError
from dnas.system.random_state import seeded

NUM_CLASSES = 10


@dataclass(frozen=True)
class Images:
    """A space of networks for images, and the sizes at which they are counted.

    Few cells, since it is building the modules that takes time: 20 ms for a network of 8 cells.
    """

    space: Space
    channels: int = 16
    cells: int = 5

    @property
    def sizes(self) -> dict[str, int]:
        return {"channels": self.channels, "cells": self.cells, "classes": NUM_CLASSES}

    def network(self, architecture: Architecture) -> nn.Module:
        """The network of an architecture, with new weights."""
        return self.space.network(architecture, channels=self.channels, cells=self.cells, num_classes=NUM_CLASSES)


@dataclass(frozen=True)
class Language:
    """The space of language models, and the sizes at which they are counted: those of DARTS on Penn Treebank."""

    space: RecurrentSpace
    vocabulary: int = 10_000
    hidden: int = 850

    @property
    def sizes(self) -> dict[str, int]:
        return {"words": self.vocabulary, "hidden units": self.hidden}

    def network(self, architecture: Architecture) -> nn.Module:
        """The network of an architecture, without memory for its many weights."""
        with torch.device("meta"):
            return self.space.network(architecture, vocabulary=self.vocabulary, hidden=self.hidden)


# All spaces of the package, with their defaults; S1 to S4 are one class.
EXAMPLES = (
    Images(DartsSpace()),
    *(Images(ReducedDartsSpace(number=number)) for number in (1, 2, 3, 4)),
    Images(NasBench201Space()),
    Images(MobileSpace()),
    Images(TransformerSpace()),
    Language(RecurrentSpace()),
)


@dataclass(frozen=True)
class SpaceFacts:
    """What `dnas spaces` says of one space.

    Args:
        name: name of the space in architecture files.
        class_path: class path that `--space` takes, or from which the class can be imported.
        arguments: arguments that differ from the defaults.
        summary: one line about the space.
        architectures: number of architectures.
        decisions: number of decisions of an architecture: one per edge of a cell, or one per choice.
        candidates: names of all candidates of its decisions.
        sizes: sizes of the networks that were built.
        num_random: number of random architectures whose networks were built.
        parameters: smallest, mean and largest number of parameters of these networks.
    """

    name: str
    class_path: str
    arguments: dict[str, object]
    summary: str
    architectures: int
    decisions: int
    candidates: tuple[str, ...]
    sizes: dict[str, int]
    num_random: int
    parameters: tuple[int, float, int]

    def to_data(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {**asdict(self), "parameters": dict(zip(("min", "mean", "max"), self.parameters, strict=True))}

    def to_text(self) -> str:
        """A few lines of text."""
        arguments = "".join(f", {name} {value}" for name, value in self.arguments.items())
        low, mean, high = self.parameters
        sizes = ", ".join(f"{value:,} {name}" for name, value in self.sizes.items())
        return "\n".join(
            [
                f"{self.name} ({self.class_path}{arguments})",
                f"  {self.summary}",
                f"  architectures: {_count(self.architectures)}; decisions: {self.decisions}",
                f"  candidates: {', '.join(self.candidates)}",
                f"  parameters: {low:,} to {high:,}, mean {mean:,.0f} ({self.num_random} random ones, {sizes})",
            ]
        )


def facts_of(example: Images | Language, num: int = 100, seed: int = 0) -> SpaceFacts:
    """The facts of one space.

    Args:
        example: space, and sizes of its networks.
        num: number of random architectures whose networks are built.
        seed: seed of the random architectures.

    Raises:
        UserError: `num` is below 1.
    """
    if num < 1:
        raise UserError(f"num must be at least 1 random architecture; got {num}.")
    space, generator = example.space, torch.Generator().manual_seed(seed)
    with seeded(seed):
        counts = [count_parameters(example.network(space.random(generator))) for _ in range(num)]
    decisions = list(space.decisions().values())
    default = type(space)().arguments
    is_public = getattr(dnas, type(space).__name__, None) is type(space)
    return SpaceFacts(
        name=space.name,
        class_path=f"{'dnas' if is_public else 'dnas.space'}.{type(space).__name__}",
        arguments={name: value for name, value in space.arguments.items() if value != default[name]},
        summary=space.summary,
        architectures=space.size(),
        decisions=sum(decision.num_rows for decision in decisions),
        candidates=tuple(
            dict.fromkeys(
                name for decision in decisions for row in range(decision.num_rows) for name in decision.names(row)
            )
        ),
        sizes=example.sizes,
        num_random=num,
        parameters=(min(counts), sum(counts) / num, max(counts)),
    )


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**9 else f"{number:.1e}"


def spaces_text(facts: Sequence[SpaceFacts]) -> str:
    """The facts of several spaces as text."""
    return "\n\n".join(one.to_text() for one in facts)
