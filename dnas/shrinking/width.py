"""The decisions of a model that may become smaller: how many channels stay, whether a block does, sizes of kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import uniform
from dnas.core.searchable import OneDecision
from dnas.shrinking.kernels import Kernel, inside


class Width(OneDecision):
    """How many classes of a group stay: gives how much of each class does.

        mask_c = sum over widths w of mixture_w [rank of c < w]

    All widths share the weights: each keeps the most important classes (entangled, as in AutoFormer, Chen et al. 2021,
    https://arxiv.org/abs/2107.00651), and none is put in another place.

    Args:
        name: of the group.
        widths: numbers of classes from the smallest to all of them.
        ranking: indices of the classes, the most important first.
    """

    def __init__(self, name: str, widths: Sequence[int], ranking: Sequence[int]) -> None:
        super().__init__(Decision(name, "choice", tuple(str(width) for width in widths)))
        self.widths = tuple(widths)
        rank = torch.tensor(ranking).argsort()
        self.register_buffer("stays", rank[:, None] < torch.tensor(widths), persistent=False)

    @property
    def is_whole(self) -> bool:
        """Whether all classes stay, as the host knows it."""
        return self._mixture is not None and self._mixture.active == ((len(self.widths) - 1,),)

    def forward(self, like: Tensor) -> Tensor:
        """The mask, (classes,), with the device and dtype of `like`."""
        stays = self.stays
        assert isinstance(stays, Tensor)
        mixture = self._mixture or uniform(self.decision.shape, like)
        return stays.to(like) @ mixture.values.to(like)

    def plain(self, kept: Kept) -> nn.Module:
        place = self.decision.candidates.index(str(kept))
        stays = self.stays
        assert isinstance(stays, Tensor)
        return Decided(stays[:, place], is_whole=place == len(self.widths) - 1)


class Stays(OneDecision):
    """Whether a block stays, or a convolution whole: gives how much of it does, a scalar."""

    def __init__(self, name: str) -> None:
        super().__init__(Decision(name, "choice", ("out", "in")))

    @property
    def is_whole(self) -> bool:
        """Whether it stays, as the host knows it."""
        return self._mixture is not None and self._mixture.active == ((1,),)

    def forward(self, like: Tensor) -> Tensor:
        mixture = self._mixture or uniform(self.decision.shape, like)
        return mixture.values[1].to(like)

    def plain(self, kept: Kept) -> nn.Module:
        return Decided(torch.tensor(kept == "in"), is_whole=kept == "in")


class KernelSize(OneDecision):
    """How large a kernel is: gives how much of each of its entries stays.

        mask_t = sum over sizes s of mixture_s [entry t is in the centre of size s]

    All sizes share the weights of the centre (as in Once-for-All, Cai et al. 2020, https://arxiv.org/abs/1908.09791,
    section 3, without its transformation matrices).

    Args:
        kernel: the sizes.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(Decision(kernel.name, "choice", tuple(map(str, kernel.sizes))))
        self.kernel = kernel
        self.register_buffer("stays", torch.stack([inside(kernel, size) for size in kernel.sizes]), persistent=False)

    @property
    def is_whole(self) -> bool:
        """Whether the kernel stays as large as it is, as the host knows it."""
        return self._mixture is not None and self._mixture.active == ((len(self.kernel.sizes) - 1,),)

    def forward(self, like: Tensor) -> Tensor:
        """The mask, of the kernel's shape such as (3, 3), with the device and dtype of `like`."""
        stays = self.stays
        assert isinstance(stays, Tensor)
        mixture = self._mixture or uniform(self.decision.shape, like)
        return torch.tensordot(mixture.values.to(like), stays.to(like), dims=1)

    def plain(self, kept: Kept) -> nn.Module:
        place = self.decision.candidates.index(str(kept))
        stays = self.stays
        assert isinstance(stays, Tensor)
        return Decided(stays[place], is_whole=place == len(self.kernel.sizes) - 1)


class Decided(nn.Module):
    """A width, a block or a kernel that is decided.

    Args:
        stays: what stays, as bools: (classes,), a scalar or the shape of a kernel.
        is_whole: whether all of it does.
    """

    def __init__(self, stays: Tensor, *, is_whole: bool) -> None:
        super().__init__()
        self.register_buffer("stays", stays, persistent=False)
        self.is_whole = is_whole

    def forward(self, like: Tensor) -> Tensor:
        stays = self.stays
        assert isinstance(stays, Tensor)
        return stays.to(like)
