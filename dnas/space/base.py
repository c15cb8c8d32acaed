"""The interface of a search space: a model to search, its decisions, and the network of an architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from dnas.core.architecture import Architecture, CellArchitecture, Kept
from dnas.core.decision import Decision
from dnas.core.schedule import Schedule
from dnas.space.ops import OPERATIONS
from dnas.system.errors import UserError

Stem = Literal["cifar", "imagenet"]


# No network has more of anything; larger numbers come from mistakes and from damaged files.
LARGEST_SIZES = {"channels": 10_000, "cells": 1000, "num_classes": 1_000_000, "in_channels": 1000}
# Largest number of nodes of a cell. Its edges grow with the square: 5,000 for 100 nodes.
MOST_NODES = 100

_OF_SEARCH = "of_search"


def of_search(default: Any) -> Any:
    """Default of a field of a space that describes the search alone: no architecture holds it."""
    return field(default=default, metadata={_OF_SEARCH: True})


class Space(ABC):
    """A family of architectures. Concrete spaces are frozen dataclasses; their fields are the space's arguments.

    Architecture files contain `name` and `version`; `summary` describes the space in one line, with authors
    and year.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    summary: ClassVar[str]
    has_auxiliary_head: ClassVar[bool] = True  # whether `network` can have one

    @abstractmethod
    def model(
        self, *, channels: int, cells: int, num_classes: int, in_channels: int = 3, stem: Stem = "cifar"
    ) -> nn.Module:
        """The searchable model: images (batch, in_channels, height, width) to logits (batch, num_classes).

        Raises:
            UserError: a number is below 1, or the space has no such stem.
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
            UserError: the architecture does not belong to this space, or the space has no such stem or auxiliary head.
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

        Costs of candidates are measured in this model (`dnas.cost.decompose`), and some of them are compared with
        `network`. By default it is the supernet's model; spaces whose networks are built of other parts override it.

        Args:
            given: the kept candidates of `shaping`; these decisions are made, and are not in the model.
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
        """One architecture, drawn uniformly; the generator is on the CPU."""

    @abstractmethod
    def size(self) -> int:
        """The number of architectures that `random` can draw."""

    @abstractmethod
    def check(self, architecture: Architecture) -> None:
        """Check that `network` can build this architecture.

        Evaluation networks take any number of nodes and edges, any output list and all of
        `dnas.space.ops.OPERATIONS`, so that published architectures can be built that this space cannot search.

        Raises:
            UserError: says what does not fit.
        """

    @property
    def arguments(self) -> dict[str, Any]:
        """The fields as plain JSON values, without schedules and `of_search`, which describe the search alone."""
        assert is_dataclass(self)
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if not entry.metadata.get(_OF_SEARCH)}
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
    """Check that name and version of the architecture are those of `space`.

    Raises:
        UserError: they differ; the message names both.
    """
    if (architecture.space, architecture.version) != (space.name, space.version):
        raise UserError(
            f"The architecture belongs to space {architecture.space!r}, version {architecture.version}; "
            f"expected {space.name!r}, version {space.version}."
        )


def check_cell(name: str, cell: Kept, *, num_inputs: int, first_output: int = 0) -> None:
    """Check that a network can be built from this cell.

    Args:
        name: name of the cell's decision, for the message.
        cell: the cell to check.
        num_inputs: number of input states.
        first_output: the first state that may be in the output list.

    Raises:
        UserError: it is not a cell, an operation is unknown, or an edge or output leads nowhere.
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
    """Check that these numbers are at least 1, and not so large that building the network takes minutes.

    Raises:
        UserError: names the number that is not.
    """
    sizes = {"channels": channels, "cells": cells, "num_classes": num_classes, "in_channels": in_channels}
    for name, value in sizes.items():
        check_count(name, value, most=LARGEST_SIZES[name])


def check_count(name: str, value: int, *, most: int) -> None:
    """Raise UserError unless `value` is from 1 to `most`."""
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
