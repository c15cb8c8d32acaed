"""Specifications of small networks."""

from __future__ import annotations

import torch

from dnas.core.architecture import Architecture
from dnas.data.normalization import Normalization
from dnas.data.resize import ResizeRule
from dnas.shipping.interface import Interface
from dnas.shipping.spec import ModuleBuilder, NetworkSpec, SpaceBuilder
from dnas.space import DartsSpace

RGB = Normalization((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


INTERFACE = Interface(("cat", "dog", "Küken"), ResizeRule(16), RGB)


ARCHITECTURE = DartsSpace(nodes=1).random(torch.Generator().manual_seed(0))


BUILDER = SpaceBuilder(channels=2, cells=1, num_classes=3, in_channels=3, auxiliary=True)


SPEC = NetworkSpec(ARCHITECTURE, BUILDER, INTERFACE)


MODULE_SPEC = NetworkSpec(Architecture({"act": "relu"}), ModuleBuilder(), INTERFACE)
