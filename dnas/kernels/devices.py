"""What the sum of a node needs of compiled kernels, whatever they are written in.

Arrays are those of the device: of numpy on the CPU, which share the tensors' memory, and tensors on a GPU. Images are
channels-last, and sums over them in float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

# An array of numpy or a tensor: what is done with them here is written alike for both.
Array = Any
Sizes = tuple[int, int, int, int]
# Of the depthwise kernels for which there is a weight gradient.
DEPTHWISE_SIZES = frozenset({3, 5})


@dataclass(frozen=True)
class Outer:
    """The gradient of y_k as d_y = a g + b y + c, computed as it is read, for some chains k.

    Args:
        g: gradients of the sums that the chains' batch norms enter, as images, one for each chain.
        y: what the chains gave.
        factors: a, b and c of each chain, (channels,).
    """

    g: Sequence[Array]
    y: Sequence[Array]
    factors: Sequence[tuple[Array, Array, Array]]


class Chains(ABC):
    """One round of several separable operations that read the same images: ReLU, depthwise and 1x1 convolution."""

    x: Array
    sizes: Sizes
    stride: int

    @property
    def out_sizes(self) -> Sizes:
        """Number of images, height, width and channels of what comes out."""
        batch, height, width, channels = self.sizes
        return batch, -(-height // self.stride), -(-width // self.stride), channels

    @abstractmethod
    def forward(self) -> tuple[Sequence[Array], Array]:
        """y of each chain, and the sums of y and of y y over images and pixels, (chains, 2, channels)."""

    @abstractmethod
    def backward(
        self, outer: Outer, added: tuple[Array, Any] | None, wanted: tuple[bool, bool]
    ) -> tuple[Array, Array, list[Tensor]]:
        """The gradient of scale x + shift, its sums, and the gradients of the weights, two for each chain.

        Args:
            outer: the gradient of each chain's y.
            added: images and a factor; their product is added to the gradient.
            wanted: whether the gradient of the images, and those of the weights, are wanted.

        Returns:
            The gradient, the sums of it and of it times x, (2, channels), and the weights' gradients. The sums are for
            a batch norm before the chains; without one they have no meaning, as what is not wanted.
        """


class Kernels(ABC):
    """The kernels of one kind of device; `need` says which images `take` accepts."""

    need: ClassVar[str]

    @abstractmethod
    def take(self, channels: int) -> bool:
        """Whether they work on images of so many channels."""

    @abstractmethod
    def images(self, x: Tensor) -> Array:
        """Images (batch, channels, height, width) in channels-last memory, without a copy."""

    @abstractmethod
    def tensor(self, images: Array, sizes: Sizes) -> Tensor:
        """The inverse of `images`."""

    @abstractmethod
    def column(self, numbers: tuple[float, ...]) -> Array:
        """Known numbers, (numbers, 1), in float64."""

    @abstractmethod
    def rows(self, arrays: Sequence[Array]) -> Array:
        """Arrays of equal shape as the rows of one."""

    @abstractmethod
    def mixture(self, values: Tensor, places: Sequence[tuple[int, int]]) -> Array:
        """The mixture's values (edges, candidates) at some places, (places, 1), in float64."""

    @abstractmethod
    def spread(self, numbers: Array, places: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
        """Numbers at their places in the mixture, whose other entries are 0."""

    @abstractmethod
    def scaled(self, images: Array, factor: Array) -> Array:
        """Images times a factor (1,)."""

    @abstractmethod
    def chains(
        self,
        x: Array,
        norm: tuple[Array, Array] | None,
        sizes: Sizes,
        stride: int,
        dilations: Sequence[int],
        weights: Sequence[tuple[Tensor, Tensor]],
    ) -> Chains:
        """Chains on x.

        Args:
            norm: scale and shift that x gets before ReLU, each (channels,).
            sizes: number of images, height, width and channels of x.
            weights: of the depthwise and the 1x1 convolution of each chain.
        """

    @abstractmethod
    def weighted_sum(self, terms: Sequence[Array], scale: Array, shift: Array, sizes: Sizes) -> Array:
        """shift[c] + sum over terms of scale[t, c] y_t, as images of these sizes."""

    @abstractmethod
    def gradient_sums(self, terms: Sequence[Array], g: Array, sizes: Sizes) -> Array:
        """The sums of g y_t over images and pixels, and in the last row those of g, (terms + 1, channels)."""
