"""The network that a search delivers: what it costs is what a budget is about, never what the supernet costs."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from dnas.core.architecture import Architecture, Kept
from dnas.core.decision import Decision
from dnas.core.derive import derive, find_decisions
from dnas.cost.flops import Inputs


class Delivered(ABC):
    """What is built of an architecture, in evaluation mode, and the one input that it is measured with."""

    @property
    @abstractmethod
    def decisions(self) -> Mapping[str, Decision]:
        """What is open, by name, without the weights of edges, which no network has."""

    @property
    @abstractmethod
    def inputs(self) -> Inputs:
        """One input (a batch of 1), on the device of the networks."""

    @abstractmethod
    def network(self, kept: Mapping[str, Kept]) -> nn.Module:
        """The network that keeps this."""

    @abstractmethod
    def undecided(self, given: Mapping[str, Kept]) -> nn.Module:
        """The network before it is decided: `derive` of it costs what `network` costs.

        Args:
            given: what is kept of `shaping`; these decisions are made, and are not in the model.
        """

    @property
    def shaping(self) -> tuple[str, ...]:
        """Names of the choices that change the sizes of other decisions' candidates, such as a stage's width."""
        return ()

    @property
    @abstractmethod
    def descriptions_tell(self) -> bool:
        """Whether candidates of equal description (`repr`) and equal inputs cost the same, so that one is measured."""

    @property
    @abstractmethod
    def sizes(self) -> dict[str, Any]:
        """What the networks' sizes follow from, as JSON values: costs at other sizes are other costs."""


@dataclass(frozen=True, eq=False)
class DerivedNetwork(Delivered):
    """A user's own model with choices in it: what is delivered is `dnas.derive` of it.

    Args:
        model: is copied; it stays as it is, in its mode.
        example_inputs: one input, as `dnas.cost.count_flops` takes it, on the model's device.

    Example:
        >>> import torch
        >>> from dnas.core.choice import Choice
        >>> model = nn.Sequential(Choice("op", {"linear": nn.Linear(4, 4), "skip": nn.Identity()}), nn.Linear(4, 2))
        >>> DerivedNetwork(model, torch.zeros(1, 4)).network({"op": "skip"})
        Sequential(
          (0): Identity()
          (1): Linear(in_features=4, out_features=2, bias=True)
        )
    """

    model: nn.Module
    example_inputs: Inputs

    @property
    def decisions(self) -> Mapping[str, Decision]:
        return {name: one for name, one in find_decisions(self.model).items() if one.kind != "edges"}

    @property
    def inputs(self) -> Inputs:
        return self.example_inputs

    def network(self, kept: Mapping[str, Kept]) -> nn.Module:
        return derive(self.model, Architecture(dict(kept))).eval()

    def undecided(self, given: Mapping[str, Kept]) -> nn.Module:
        assert not given
        return copy.deepcopy(self.model).eval()

    @property
    def descriptions_tell(self) -> bool:
        return False  # a module need not print all that it does

    @property
    def sizes(self) -> dict[str, Any]:
        return {"model": type(self.model).__name__, "parameters": sum(w.numel() for w in self.model.parameters())}
