"""The network that a search delivers; a budget limits its costs, never those of the supernet."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dnas.core.architecture import Architecture, Kept
from dnas.core.batch import map_tensors
from dnas.core.decision import Decision
from dnas.core.derive import derive, find_decisions
from dnas.cost.flops import Inputs


class Delivered(ABC):
    """Builds the network of an architecture in evaluation mode, with one input to measure it."""

    @property
    @abstractmethod
    def decisions(self) -> Mapping[str, Decision]:
        """The open decisions by name; those of the weights of edges, which no network has, may be among them."""

    @property
    @abstractmethod
    def inputs(self) -> Inputs:
        """One input (a batch of 1), on the device of the networks."""

    @abstractmethod
    def network(self, kept: Mapping[str, Kept]) -> nn.Module:
        """The network with these kept candidates."""

    @abstractmethod
    def undecided(self, given: Mapping[str, Kept]) -> nn.Module:
        """The network before it is decided: `derive` of it costs as much as `network`.

        Args:
            given: kept candidates of `shaping`; these decisions are made, and are not in the model.
        """

    @abstractmethod
    def on(self, device: torch.device | str) -> Delivered:
        """The same with networks and input on a device; on 'meta' they are counted without computing anything."""

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
        """All values that the networks' sizes depend on, as JSON; other sizes have other costs."""


@dataclass(frozen=True, eq=False)
class DerivedNetwork(Delivered):
    """A user's own model with choices in it; the delivered network is `dnas.derive` of it.

    Args:
        model: the model; it is copied, and stays as it is, in its mode.
        example_inputs: one input, as in `dnas.cost.count_flops`, on the model's device.

    Example:
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
        return find_decisions(self.model)

    @property
    def inputs(self) -> Inputs:
        return self.example_inputs

    def network(self, kept: Mapping[str, Kept]) -> nn.Module:
        return derive(self.model, Architecture(dict(kept))).eval()

    def on(self, device: torch.device | str) -> DerivedNetwork:
        inputs: Any = map_tensors(lambda tensor: tensor.to(device), self.example_inputs)
        return DerivedNetwork(copy.deepcopy(self.model).to(device), inputs)

    def undecided(self, given: Mapping[str, Kept]) -> nn.Module:
        assert not given
        return copy.deepcopy(self.model).eval()

    @property
    def descriptions_tell(self) -> bool:
        return False  # a module's description need not contain everything that it does

    @property
    def sizes(self) -> dict[str, Any]:
        return {"model": type(self.model).__name__, "parameters": sum(w.numel() for w in self.model.parameters())}
