"""NASWOT: how differently a network sees the samples of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dnas.finalists.scores.relu_codes import relu_codes
from dnas.finalists.scores.score import Score


class NasWot(Score):
    """log |det K|,  K_ij = N - hamming(c_i, c_j),  c_i the code of sample i: which of the N ReLUs are on.

    Mellor et al. 2021, https://arxiv.org/abs/2006.04647. Two samples of one code give minus infinity.
    """

    def __call__(self, network: nn.Module, inputs: Any, generator: torch.Generator) -> tuple[float, ...]:
        c = relu_codes(network, inputs).double()
        kernel = c @ c.T + (1 - c) @ (1 - c).T
        return (float(torch.linalg.slogdet(kernel).logabsdet),)
