"""SWAP: how many different patterns over the samples a network's units have."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dnas.finalists.scores.relu_codes import relu_codes
from dnas.finalists.scores.score import Score


class Swap(Score):
    """The number of different sample-wise activation patterns: for each ReLU, for which samples of a batch it is on.

    Peng et al. 2024, https://arxiv.org/abs/2403.04161, without their regularisation, which
    takes a wanted size.
    """

    def __call__(self, network: nn.Module, inputs: Any, generator: torch.Generator) -> tuple[float, ...]:
        patterns = relu_codes(network, inputs).T
        return (float(len(torch.unique(patterns, dim=0))),)
