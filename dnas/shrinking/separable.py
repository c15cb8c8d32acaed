"""Convolutions that may become depthwise-separable: a k x k kernel for each input channel, then a 1x1 convolution.

The trained kernel is approximated by products, W[o, i] = P[o, i] D[i], the best ones in the sum of squares: of the
singular value decomposition of each W[:, i], written as a matrix of outputs by kernel entries, the first term stays
(Guo et al. 2018, "Network Decoupling", https://arxiv.org/abs/1808.05517, section 3, with one term; Jaderberg et al.
2014, https://arxiv.org/abs/1405.3866, take kernels apart along other dimensions).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from dnas.shrinking.kernels import Conv


@dataclass(frozen=True)
class Separable:
    """A convolution that may become a depthwise one followed by a pointwise one.

    Args:
        module: name of the convolution.
    """

    module: str

    @property
    def name(self) -> str:
        """Of the decision, which is 1 where the convolution stays whole and 0 where it is taken apart."""
        return f"{self.module}.whole"


def separable_of(name: str, module: nn.Module) -> Separable | str:
    """Whether a module may be taken apart, or in words why it stays; empty words for what is no k x k convolution."""
    if not isinstance(module, Conv) or prod(module.kernel_size) == 1:
        return ""
    if module.groups > 1:
        return f"it has {module.groups} groups already"
    if module.in_channels == 1:
        return "with one input channel it is depthwise already"
    return Separable(name)


def nearest_products(weight: Tensor) -> Tensor:
    """The nearest weights of a depthwise-separable convolution, W[o, i] = P[o, i] D[i], of the same shape.

    D[i] is the first right singular vector of W[:, i], and P[o, i] = <W[o, i], D[i]>. A gradient comes through P alone.

    Args:
        weight: (outputs, inputs, *kernel).
    """
    depthwise, pointwise = factors(weight)
    return pointwise * depthwise.transpose(0, 1)


def factors(weight: Tensor) -> tuple[Tensor, Tensor]:
    """D, (inputs, 1, *kernel) of norm 1 each, and P, (outputs, inputs, 1, ..).

    Args:
        weight: (outputs, inputs, *kernel).
    """
    w_IOT = weight.transpose(0, 1).flatten(2)
    with torch.no_grad():
        # The last eigenvector of W'W, which is much smaller than W.
        d_IT = torch.linalg.eigh(w_IOT.mT.double() @ w_IOT.double()).eigenvectors[..., -1].to(weight)
    p_IO = (w_IOT @ d_IT[..., None]).squeeze(-1)
    ones = (1,) * (weight.ndim - 2)
    return d_IT.reshape(len(d_IT), 1, *weight.shape[2:]), p_IO.mT.reshape(*weight.shape[:2], *ones)


def take_apart(module: nn.Module) -> nn.Sequential:
    """A depthwise and a pointwise convolution with the nearest weights, in the place of a whole one."""
    assert isinstance(module, Conv)
    plain: Any = next(base for base in (nn.Conv1d, nn.Conv2d, nn.Conv3d) if isinstance(module, base))
    old, new = module.in_channels, module.out_channels
    moved = (module.kernel_size, module.stride, module.padding, module.dilation)
    # On the meta device nothing is drawn: what follows a derivation sees the same random numbers.
    depthwise = plain(old, old, *moved, groups=old, bias=False, padding_mode=module.padding_mode, device="meta")
    pointwise = plain(old, new, 1, bias=module.bias is not None, device="meta")
    trains = module.weight.requires_grad
    depthwise.weight, pointwise.weight = (nn.Parameter(one, trains) for one in factors(module.weight.detach()))
    if module.bias is not None:
        pointwise.bias = module.bias
    return nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=pointwise)).train(module.training)
