"""Numbers of parameters and of FLOPs as scores: the larger network is taken for the better."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dnas.cost import count_flops, count_parameters
from dnas.finalists.scores.score import Score
from dnas.training.evaluate import evaluation_mode


class Parameters(Score):
    """The number of parameters."""

    def __call__(self, network: nn.Module, inputs: Any, generator: torch.Generator) -> tuple[float, ...]:
        return (float(count_parameters(network)),)


class Flops(Score):
    """The FLOPs of a forward pass."""

    def __call__(self, network: nn.Module, inputs: Any, generator: torch.Generator) -> tuple[float, ...]:
        with evaluation_mode(network), torch.no_grad():
            return (float(count_flops(network, inputs)),)
