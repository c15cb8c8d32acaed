"""The number of floating-point operations of any computation, including backward passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def _convolution_backward(
    gradient_shape: Sequence[int],
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    _bias: object,
    _stride: object,
    _padding: object,
    _dilation: object,
    transposed: bool,
    _output_padding: object,
    _groups: int,
    output_mask: Sequence[bool],
    **_others: Any,
) -> int:
    """Count each requested gradient, of input or weight, like the forward pass.

    `torch.utils.flop_counter` multiplies the weight gradient of a grouped convolution by the number of groups.
    """
    positions = input_shape if transposed else gradient_shape
    forward = 2 * positions[0] * math.prod(positions[2:]) * math.prod(weight_shape)
    return forward * sum(output_mask[:2])


class WorkCounter(FlopCounterMode):
    """Counts within its block; `flops` is the number so far.

    Convolutions, linear layers and other matrix products count as in `dnas.cost.count_flops`, and each of their
    computed gradients counts like the forward pass; normalisation, pooling, activations and sums do not count. Custom
    kernels are not seen: count on the CPU, where there are none.

    Example:
        >>> layer, x = torch.nn.Linear(3, 5, bias=False), torch.zeros(2, 3)
        >>> with WorkCounter() as counter:
        ...     layer(x).sum().backward()  # x needs no gradient: forward pass and weight gradient
        >>> counter.flops
        120
    """

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward})

    @property
    def flops(self) -> int:
        """FLOPs since the block began."""
        return self.get_total_flops()
