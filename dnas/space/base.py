"""What a search space is: a model to search, the decisions in it, and the network that an architecture stands for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from dnas.core.architecture import Architecture, CellArchitecture, Kept
from dnas.core.decision import Decision
from dnas.core.schedule import Schedule
from dnas.space.ops import OPERATIONS
from dnas.system.errors import UserError

Stem = Literal["cifar", "imagenet"]


# No network has more; larger numbers come from mistakes and from damaged files.
LARGEST_SIZES = {"channels": 10_000, "cells": 1000, "num_classes": 1_000_000, "in_channels": 1000}
# Of a cell. Its edges grow with the square: 5,000 of 100 nodes.
MOST_NODES = 100


class Space(ABC):
    """A family of architectures. Concrete spaces are frozen dataclasses; their fields are the space's arguments.

    `name` and `version` stand in architecture files; `summary` says in one line what the space is, with authors
    and year.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    summary: ClassVar[str]

    @abstractmethod
    def model(
        self, *, channels: int, cells: int, num_classes: int, in_channels: int = 3, stem: Stem = "cifar"
    ) -> nn.Module:
        """The searchable model: images (batch, in_channels, height, width) to logits (batch, num_classes).

        Raises:
            UserError: a number below 1, or the space has no such stem.
        """

    @abstractmethod
    def network(
        self,
        architecture: Architecture,
        *,
        channels: int,
        cells: int,
        num_classes: int,
        in_channels: int = 3,
        stem: Stem = "cifar",
        auxiliary: bool = False,
    ) -> nn.Module:
        """The evaluation network of the space's paper, with new weights.

        It maps images (batch, in_channels, height, width) to logits (batch, num_classes); in train mode with
        `auxiliary` to `(logits, auxiliary logits)`.

        Raises:
            UserError: the architecture is not of this space, or the space has no such stem or auxiliary head.
        """

    def undecided(
        self,
        given: Mapping[str, Kept],
        *,
        channels: int,
        cells: int,
        num_classes: int,
        in_channels: int = 3,
        stem: Stem = "cifar",
    ) -> nn.Module:
        """`network` before its decisions are made: `dnas.derive` of it costs what `network` costs.

        Costs of candidates are measured in it (`dnas.cost.decompose`), which compares some of them with `network`. The
        supernet's model unless a space overrides it, since only some spaces build networks of other parts.

        Args:
            given: what is kept of `shaping`; these decisions are made, and are not in the model.
            channels, cells, num_classes, in_channels, stem: as for `network`.
        """
        assert not given and not self.shaping
        return self.model(channels=channels, cells=cells, num_classes=num_classes, in_channels=in_channels, stem=stem)

    @property
    def shaping(self) -> tuple[str, ...]:
        """Names of the choices that change the sizes of other decisions' candidates, such as a stage's width."""
        return ()

    @abstractmethod
    def decisions(self) -> dict[str, Decision]:
        """All decisions of this space by name, without building a model."""

    @abstractmethod
    def random(self, generator: torch.Generator) -> Architecture:
        """One architecture, uniformly drawn; the generator lives on the CPU."""

    @abstractmethod
    def size(self) -> int:
        """How many architectures `random` can draw."""

    @abstractmethod
    def check(self, architecture: Architecture) -> None:
        """See that `network` can build this architecture.

        Evaluation networks take any number of nodes and edges, any output list and all of
        `dnas.space.ops.OPERATIONS`, so that published architectures can be built that this space cannot search.

        Raises:
            UserError: says what does not fit.
        """

    @property
    def arguments(self) -> dict[str, Any]:
        """The fields as plain JSON values, without schedules: those say how to search, not what was found."""
        assert is_dataclass(self)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values = {
            name: value for name, value in values.items() if value is not None and not isinstance(value, Schedule)
        }
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def architecture(self, kept: Mapping[str, Kept]) -> Architecture:
        """An architecture of this space that keeps `kept`, by decision name."""
        return Architecture(dict(kept), self.name, self.version, self.arguments)


def random_choices(space: Space, generator: torch.Generator) -> Architecture:
    """Any candidate for each decision, uniformly, in a space whose decisions are choices."""
    decisions = space.decisions().items()
    return space.architecture(
        {name: decision.candidates[draw(len(decision.candidates), generator)] for name, decision in decisions}
    )


def check_space(space: Space, architecture: Architecture) -> None:
    """See that name and version are those of `space`.

    Raises:
        UserError: names both.
    """
    if (architecture.space, architecture.version) != (space.name, space.version):
        raise UserError(
            f"The architecture belongs to space {architecture.space!r}, version {architecture.version}; "
            f"expected {space.name!r}, version {space.version}."
        )


def check_cell(name: str, cell: Kept, *, num_inputs: int, first_output: int = 0) -> None:
    """See that a network can be built of this cell.

    Args:
        name: of the cell's decision, for the message.
        cell: what is to be checked.
        num_inputs: number of input states.
        first_output: the first state that may be in the output list.

    Raises:
        UserError: no cell, an unknown operation, an edge or output that leads nowhere.
    """
    if not isinstance(cell, CellArchitecture):
        raise UserError(f"{name!r} must be a cell with edges and output; got {cell!r}.")
    targets = [edge.target for edge in cell.edges]
    num_states = max(targets, default=num_inputs - 1) + 1
    for edge in cell.edges:
        if edge.operation not in OPERATIONS:
            raise UserError(
                f"Cell {name!r} has an unknown operation {edge.operation!r}; known are {', '.join(OPERATIONS)}."
            )
        if not 0 <= edge.source < edge.target or edge.target < num_inputs:
            raise UserError(
                f"Cell {name!r} has an edge from state {edge.source} to {edge.target}; edges go upward, into states "
                f"from {num_inputs} on (the states before are inputs)."
            )
    if targets != sorted(targets):
        raise UserError(f"Cell {name!r}: edges must be in order of their targets; got {targets}.")
    missing = sorted(set(range(num_inputs, num_states)) - set(targets))
    if missing:
        raise UserError(f"Cell {name!r} has no edge into states {missing}.")
    if not cell.output or any(not first_output <= index < num_states for index in cell.output):
        raise UserError(
            f"Cell {name!r} must give out states from {first_output} to {num_states - 1}; got {list(cell.output)}."
        )


def check_size(*, channels: int, cells: int, num_classes: int, in_channels: int) -> None:
    """See that the numbers that every network takes are at least 1, and not so large that building it takes minutes.

    Raises:
        UserError: names the one that is not.
    """
    sizes = {"channels": channels, "cells": cells, "num_classes": num_classes, "in_channels": in_channels}
    for name, value in sizes.items():
        check_count(name, value, most=LARGEST_SIZES[name])


def check_count(name: str, value: int, *, most: int) -> None:
    """Raises UserError unless a number of something is from 1 to `most`."""
    if value < 1:
        raise UserError(f"{name} must be 1 or more; got {value}.")
    if value > most:
        raise UserError(f"{name} must be at most {most:,}; got {value:,}.")


def draw(number: int, generator: torch.Generator) -> int:
    """A whole number from 0 to `number` - 1."""
    return int(torch.randint(number, (), generator=generator))


def draw_distinct(number: int, count: int, generator: torch.Generator) -> list[int]:
    """`count` different whole numbers from 0 to `number` - 1, in order; each set is equally likely."""
    return sorted(torch.randperm(number, generator=generator)[:count].tolist())
