"""Kernels that may become smaller: k x k weights of which the centre stays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True)
class Kernel:
    """A convolution whose kernel may become smaller; what is cut off around it is cut off its padding as well.

    Args:
        module: name of the convolution.
        sizes: odd, in ascending order; the last one is the size that the model has.
        dims: dimensions of the kernel.
    """

    module: str
    sizes: tuple[int, ...]
    dims: int

    @property
    def name(self) -> str:
        """Of the decision."""
        return f"{self.module}.kernel"

    @property
    def largest(self) -> int:
        """The size that the model has."""
        return self.sizes[-1]


def kernel_of(name: str, module: nn.Module) -> Kernel | str:
    """The sizes that a module's kernel may have, or in words why it stays; empty words for what has no kernel."""
    if not isinstance(module, Conv):
        return ""
    size = module.kernel_size[0]
    if set(module.kernel_size) != {size} or size % 2 == 0:
        return f"its kernel of {module.kernel_size} is not as wide as high, or has no centre"
    if size == 1:
        return ""
    if module.padding_mode != "zeros":
        return f"it is padded with {module.padding_mode}"
    sizes = [kept for kept in range(1, size + 1, 2) if _padding_for(module, kept) is not None]
    if len(sizes) < 2:
        return "it is padded by less than would be cut off its kernel"
    return Kernel(name, tuple(sizes), len(module.kernel_size))


def cut_kernel(module: nn.Module, size: int) -> None:
    """Leave the centre of this size of a convolution's kernel, in place."""
    assert isinstance(module, Conv)
    padding = _padding_for(module, size)
    assert padding is not None
    cut = (module.kernel_size[0] - size) // 2
    if cut:
        centre = module.weight.detach()[(slice(None), slice(None), *[slice(cut, -cut)] * len(module.kernel_size))]
        module.weight = nn.Parameter(centre.contiguous(), requires_grad=module.weight.requires_grad)
        module.kernel_size = (size,) * len(module.kernel_size)  # pyright: ignore[reportAttributeAccessIssue]
        module.padding = padding  # pyright: ignore[reportAttributeAccessIssue]
        if padding == "same":
            sides = [step * (size - 1) // 2 for step in reversed(module.dilation) for _ in range(2)]
            module._reversed_padding_repeated_twice = sides


def inside(kernel: Kernel, size: int) -> Tensor:
    """Which entries of a kernel stay, as bools of its shape, such as (3, 3)."""
    near = (torch.arange(kernel.largest) - kernel.largest // 2).abs() <= size // 2
    stays = torch.ones((), dtype=torch.bool)
    for _ in range(kernel.dims):
        stays = stays[..., None] & near
    return stays


def _padding_for(module: Conv, size: int) -> tuple[int, ...] | str | None:
    """The padding with a smaller kernel; None where it would be below 0."""
    if isinstance(module.padding, str):
        return module.padding if module.padding == "same" or size == module.kernel_size[0] else None
    cut = (module.kernel_size[0] - size) // 2
    sides = tuple(side - cut * step for side, step in zip(module.padding, module.dilation, strict=True))
    return None if min(sides) < 0 else sides
