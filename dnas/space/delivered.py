"""The evaluation network of a space at the sizes at which it will be retrained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.cost.delivered import Delivered
from dnas.space.base import Space, Stem


@dataclass(frozen=True)
class NetworkSizes:
    """The sizes that, besides the architecture, determine an evaluation network.

    Args:
        channels, cells, num_classes, in_channels, stem: as for `Space.network`.
        image_size: height and width of the images, in pixels.
    """

    channels: int
    cells: int
    num_classes: int
    in_channels: int
    image_size: int
    stem: Stem = "cifar"


@dataclass(frozen=True)
class SpaceNetwork(Delivered):
    """`space.network` as retraining builds it, without an auxiliary head, in evaluation mode.

    Args:
        space: space of the architectures.
        sizes: sizes of the networks.
        device: device on which they are built; on 'meta' their costs are counted without computing anything.

    Example:
        >>> from dnas.space.nasbench201 import NasBench201Space
        >>> delivered = SpaceNetwork(NasBench201Space(), NetworkSizes(16, 5, 10, 3, 32))
        >>> tuple(delivered.inputs.shape)
        (1, 3, 32, 32)
    """

    space: Space
    network_sizes: NetworkSizes
    device: str = "meta"

    @property
    def decisions(self) -> Mapping[str, Decision]:
        return self.space.decisions()

    @property
    def inputs(self) -> Tensor:
        sizes = self.network_sizes
        return torch.zeros(1, sizes.in_channels, sizes.image_size, sizes.image_size, device=self.device)

    def network(self, kept: Mapping[str, Kept]) -> nn.Module:
        with torch.device(self.device):
            return self.space.network(self.space.architecture(kept), **self._arguments).eval()

    def undecided(self, given: Mapping[str, Kept]) -> nn.Module:
        with torch.device(self.device):
            return self.space.undecided(given, **self._arguments).eval()

    def on(self, device: torch.device | str) -> SpaceNetwork:
        return replace(self, device=str(device))

    @property
    def shaping(self) -> tuple[str, ...]:
        return self.space.shaping

    @property
    def descriptions_tell(self) -> bool:
        return True

    @property
    def sizes(self) -> dict[str, Any]:
        return {"space": self.space.name, **self.space.arguments, **asdict(self.network_sizes)}

    @property
    def _arguments(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self.network_sizes).items() if name != "image_size"}
