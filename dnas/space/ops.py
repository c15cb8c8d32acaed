"""The operations on the edges of convolutional cells.

DARTS (Liu et al. 2019, https://arxiv.org/abs/1806.09055, section 3.1 and official code) and NAS-Bench-201 (Dong and
Yang 2020, https://arxiv.org/abs/2001.00326). Every operation maps (batch, channels, height, width) to the same
channels; with stride 2 height and width are halved and rounded up.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core.candidates import SharedPrefix, Zero
from dnas.space.depthwise import DepthwiseConv
from dnas.system.errors import UserError

# All operations that a cell of an evaluation network may hold.
OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
    "nor_conv_1x1",
    "nor_conv_3x3",
    "noise",
)


# From this number of channels on, torch's pooling and batch norm of channels-last images are fast on a CPU.
FULL_VECTOR = 16


@dataclass(frozen=True)
class Form:
    """How operations normalise.

    Args:
        affine: whether batch norm has a learned scale and shift.
        running: whether batch norm keeps running statistics for evaluation; otherwise it always uses the batch's.
        norm_after_pool: whether batch norm follows pooling.
    """

    affine: bool
    running: bool
    norm_after_pool: bool

    def norm(self, channels: int) -> BatchNorm:
        """Batch norm in this form: the only place where operations get theirs."""
        return BatchNorm(channels, affine=self.affine, track_running_stats=self.running)


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that can multiply its result by a scalar at no cost."""

    def weighted(self, x: Tensor, weight: Tensor) -> Tensor:
        """`weight * self(x)`; a batch norm without parameters takes the weight as its scale."""
        if self.affine or self.track_running_stats:
            return weight * self(x)
        return F.batch_norm(x, None, None, weight.expand(x.shape[1]).contiguous(), None, training=True, eps=self.eps)


# In search, candidates must not differ by a learned scale (DARTS, appendix A.1.1), and batch statistics leave no trace;
# `EdgeSettings.running_statistics` keeps running ones.
SEARCH = Form(affine=False, running=False, norm_after_pool=True)
EVALUATION = Form(affine=True, running=True, norm_after_pool=False)


def keeps_running_statistics(module: nn.Module) -> bool:
    """Whether a batch norm in a module keeps running statistics, which only its own forward pass moves."""
    return any(isinstance(norm, BatchNorm) and norm.track_running_stats for norm in module.modules())


def operation(name: str, channels: int, stride: int, form: Form) -> nn.Module:
    """The operation `name`, one of `OPERATIONS`.

    Raises:
        UserError: there is no such operation.
    """
    match name:
        case "none":
            return Zero(stride)
        case "max_pool_3x3" | "avg_pool_3x3":
            return Pool(name, channels, stride, form)
        case "skip_connect":
            return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, form)
        case "sep_conv_3x3" | "sep_conv_5x5" | "sep_conv_7x7":
            return SepConv(channels, int(name[-1]), stride, form)
        case "dil_conv_3x3" | "dil_conv_5x5":
            return DilConv(channels, int(name[-1]), stride, form)
        case "conv_7x1_1x7":
            return Conv7x1And1x7(channels, stride, form)
        case "noise":
            return Noise(stride)
        case "nor_conv_1x1" | "nor_conv_3x3":
            return ReLUConvBN(channels, channels, int(name[-1]), stride, form)
        case _:
            raise UserError(f"There is no operation {name!r}; known are {', '.join(OPERATIONS)}.")


class Noise(nn.Module):
    """N(0, 1) noise of the input's shape, strided in space, instead of the input (RobustDARTS, Zela et al. 2020).

    It is drawn anew in each forward pass, in eval mode as well (as in the official code), from torch's generator of the
    device, so that all passes of a hypergradient over one batch see the same.
    """

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn_like(x[:, :, :: self.stride, :: self.stride])

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


class _ReLUFirst(SharedPrefix):
    """An operation that starts with ReLU and ends with batch norm, with `convolve` in between."""

    prefix_key: Hashable = "relu"
    norm: BatchNorm

    def prefix(self, x: Tensor) -> Tensor:
        return F.relu(x)

    @abstractmethod
    def convolve(self, x: Tensor) -> Tensor: ...

    def rest(self, x: Tensor) -> Tensor:
        return self.norm(self.convolve(x))

    def weighted_rest(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.norm.weighted(self.convolve(x), weight)


class ReLUConvBN(_ReLUFirst):
    """ReLU, convolution, batch norm."""

    # Another way to the same result, set from outside (`dnas.space.kernel_network`).
    computation: Callable[[ReLUConvBN, Tensor], Tensor] | None = None

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, form: Form):
        super().__init__()
        # A kernel of one pixel takes every second one by a slice: see FactorizedReduce.
        self.skip = stride if kernel_size == 1 else 1
        stride = stride if kernel_size > 1 else 1
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
        self.norm = form.norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.prefix(x)) if self.computation is None else self.computation(self, x)

    def convolve(self, x: Tensor) -> Tensor:
        return self.conv(x if self.skip == 1 else x[:, :, :: self.skip, :: self.skip])


class FactorizedReduce(_ReLUFirst):
    """Halves height and width by two 1x1 convolutions of stride 2, one of them shifted by a pixel.

    If height or width is odd, the shifted image is padded with zeros, so that both give ceil(size / 2); the
    published code does not handle that case.

    The stride is a slice before convolutions of stride 1. That is the same, on the CPU twice as fast (16 channels of
    32x32: 2.3 instead of 5.7 ms), and does not run into oneDNN's gradient of a strided 1x1 convolution with fewer than
    16 input channels, which in channels-last format writes past its memory
    (https://github.com/uxlfoundation/oneDNN/issues/6035; torch 2.13 crashed at 64 pixels, or gives wrong gradients).
    """

    def __init__(self, in_channels: int, out_channels: int, form: Form):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels // 2, 1, bias=False)
        self.shifted_conv = nn.Conv2d(in_channels, out_channels - out_channels // 2, 1, bias=False)
        self.norm = form.norm(out_channels)

    def convolve(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        shifted = x[:, :, 1::2, 1::2]
        if height % 2 or width % 2:
            shifted = F.pad(shifted, (0, width % 2, 0, height % 2))
        return torch.cat((self.conv(x[:, :, ::2, ::2]), self.shifted_conv(shifted)), dim=1)


class SepConv(_ReLUFirst):
    """Two rounds of ReLU, depthwise convolution, 1x1 convolution, batch norm; the stride is in the first."""

    def __init__(self, channels: int, kernel_size: int, stride: int, form: Form):
        super().__init__()
        self.depthwise1 = DepthwiseConv(channels, kernel_size, stride)
        self.pointwise1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm1 = form.norm(channels)
        self.depthwise2 = DepthwiseConv(channels, kernel_size)
        self.pointwise2 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = form.norm(channels)

    def convolve(self, x: Tensor) -> Tensor:
        x = self.norm1(self.pointwise1(self.depthwise1(x)))
        return self.pointwise2(self.depthwise2(F.relu(x)))


class DilConv(_ReLUFirst):
    """ReLU, depthwise convolution of dilation 2, 1x1 convolution, batch norm."""

    def __init__(self, channels: int, kernel_size: int, stride: int, form: Form):
        super().__init__()
        self.depthwise = DepthwiseConv(channels, kernel_size, stride, dilation=2)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = form.norm(channels)

    def convolve(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Conv7x1And1x7(_ReLUFirst):
    """ReLU, a convolution along the width, one along the height, batch norm (AmoebaNet, Real et al. 2019)."""

    def __init__(self, channels: int, stride: int, form: Form):
        super().__init__()
        self.conv1x7 = nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False)
        self.conv7x1 = nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False)
        self.norm = form.norm(channels)

    def convolve(self, x: Tensor) -> Tensor:
        return self.conv7x1(self.conv1x7(x))


class Pool(SharedPrefix):
    """3x3 pooling; it is shared completely, and so is its batch norm if that has no parameters or running statistics.

    Padding does not count in averages.
    """

    def __init__(self, name: str, channels: int, stride: int, form: Form):
        super().__init__()
        self.average = name == "avg_pool_3x3"
        self.stride = stride
        self.norm = form.norm(channels) if form.norm_after_pool else nn.Identity()
        self.norm_is_shared = not (form.affine or form.running)
        self.prefix_key = (name, stride, form)

    def prefix(self, x: Tensor) -> Tensor:
        pooled = average3x3(x, self.stride) if self.average else F.max_pool2d(x, 3, self.stride, 1)
        return self.norm(pooled) if self.norm_is_shared else pooled

    def rest(self, x: Tensor) -> Tensor:
        return x if self.norm_is_shared else self.norm(x)

    def extra_repr(self) -> str:
        return f"{'average' if self.average else 'max'}, 3x3, stride={self.stride}"


def average3x3(x: Tensor, stride: int) -> Tensor:
    """Average pooling of 3x3 pixels with padding that does not count."""
    # On the CPU torch's pooling of few channels takes three times as long as sums of slices, which are enough for
    # stride 1. Exported programs keep the single operation.
    traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    if x.device.type != "cpu" or stride != 1 or x.ndim != 4 or x.shape[1] >= FULL_VECTOR or traced:
        return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
    return _Average.apply(x, False)  # type: ignore[no-any-return]


class _Average(torch.autograd.Function):
    """`apply(x, transposed)`: A x or A^T x, where A = D S takes the sums S of neighbours, then divides by their counts.

    A is the product of one such matrix along the height and one along the width, and S is symmetric.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, transposed: bool) -> Tensor:
        ctx.transposed = transposed
        rows = _scaled_sums(x, 2, 1.0, transposed)
        return _scaled_sums(rows, 3, 1 / 9, transposed)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _Average.apply(g, not ctx.transposed), None  # type: ignore[return-value]


def _scaled_sums(x: Tensor, axis: int, scale: float, transposed: bool) -> Tensor:
    """`scale` times each pixel with its two neighbours along an axis; at the ends, where one is missing, more."""
    x = _raise_ends_(x.clone(), axis) if transposed else x
    last = x.shape[axis] - 1
    result = x * scale
    result.narrow(axis, 1, last).add_(x.narrow(axis, 0, last), alpha=scale)
    result.narrow(axis, 0, last).add_(x.narrow(axis, 1, last), alpha=scale)
    return result if transposed else _raise_ends_(result, axis)


def _raise_ends_(x: Tensor, axis: int) -> Tensor:
    """Sums of three become sums of two at the ends (times 3 / 2), or of one if there is only one."""
    size = x.shape[axis]
    for end in {0, size - 1}:
        x.select(axis, end).mul_(1.5 if size > 1 else 3.0)
    return x
