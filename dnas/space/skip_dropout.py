"""Dropout after skip connections, so that a search cannot lean on them early."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnas.core.progress import Scheduled


class SkipDropout(nn.Module):
    """`x * m / (1 - rate)`, m = 1 with probability 1 - rate for each element and 0 otherwise; x itself in eval mode.

    P-DARTS (Chen et al. 2019, https://arxiv.org/abs/1904.12760, section 3.3). In the official code
    (https://github.com/chenxin061/pdarts, model_search.py) and here, dropout follows skip connections of stride 1 only.

    Args:
        rate: schedule with values in [0, 1); one `Scheduled` may serve all skip connections of a model.
    """

    def __init__(self, rate: Scheduled):
        super().__init__()
        self.skip = nn.Identity()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = 1 - self.rate()
        return x * ((torch.rand_like(x) < keep) / keep).to(x.dtype)
