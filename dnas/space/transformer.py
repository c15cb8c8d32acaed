"""The space of small vision transformers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core.architecture import Architecture
from dnas.core.choice import Choice
from dnas.core.decision import Decision
from dnas.space.base import LARGEST_SIZES, Space, Stem, check_count, check_size, check_space, random_choices
from dnas.space.depthwise import DepthwiseConv
from dnas.space.drop_path import DropPath
from dnas.space.layout import fast_layout
from dnas.system.accepted import accept
from dnas.system.errors import UserError

# Legend: N batch, C channels, H height and W width in patches, T = H W patches, A heads, D = C / A channels of a head.

# An embedding has this many times the requested channels, like the last stage of the convolutional spaces.
WIDTH = 4
# A patch of the ImageNet stem has this many times the pixels of a side: 16 by default, as in ViT.
IMAGENET_PATCH = 4

# makes the module that a decision chooses: (decision, channels) -> module
MakeOperation = Callable[[str, int], nn.Module]


@dataclass(frozen=True)
class TransformerSpace(Space):
    """Blocks of a vision transformer that mix patches by attention or convolution, and have a wide or a narrow MLP.

    Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929, small, and with other mixing as in MetaFormer (Yu et al.
    2022, https://arxiv.org/abs/2111.11418). The network embeds patches of `patch_size` pixels, adds a position encoding
    by convolution, which takes any number of patches (Chu et al. 2021, https://arxiv.org/abs/2102.10882; ours comes
    before the first block), has `cells` blocks, and ends in layer norm, the mean over patches and a linear classifier.
    Patches have 4 * `channels` channels.

        x = x + mixing(norm(x)),  x = x + mlp(norm(x))

    There are `blocks` decisions of each kind, named `block1.mixing` and `block1.mlp` and so on, and `cells` must not be
    smaller: of n blocks, block i (from 0) follows the decisions of number floor(i * blocks / n) + 1. So an architecture
    found with `cells` = `blocks`, where every block has its own, can be trained in deeper networks.

    If the image is not a multiple of the patches, its right and lower edges are padded with zeros. Search and
    evaluation have the same form, so the derived network is the evaluation network.

    Args:
        blocks: number of blocks that have decisions of their own.
        patch_size: side of a patch in pixels; four times as many with the stem 'imagenet'.
        heads: numbers of heads of the attention candidates ('attention_h4'); each must divide 4 * `channels`.
        kernels: odd kernel sizes of the convolution candidates ('conv_k3').
        ratios: hidden channels over outer channels of the MLP candidates ('mlp_r4').

    Raises:
        UserError: a number is below 1 or repeated, a kernel is even, or there is nothing to choose from.

    Example:
        >>> list(TransformerSpace(blocks=1).decisions().values())[0].candidates
        ('attention_h2', 'attention_h4', 'attention_h8', 'conv_k3')
        >>> TransformerSpace().size()
        512
    """

    name: ClassVar[str] = "transformer"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "blocks with attention of 2/4/8 heads or convolution, and MLP ratio 2/4 (after ViT, Dosovitskiy et al. 2021)"
    )

    blocks: int = 3
    patch_size: int = 4
    heads: tuple[int, ...] = (2, 4, 8)
    kernels: tuple[int, ...] = (3,)
    ratios: tuple[int, ...] = (2, 4)

    def __post_init__(self) -> None:
        accept(self)
        for name in ("blocks", "patch_size"):
            check_count(name, getattr(self, name), most=LARGEST_SIZES["cells"])
        for name in ("heads", "kernels", "ratios"):
            values = getattr(self, name)
            if len(set(values)) != len(values) or any(value < 1 for value in values):
                raise UserError(f"{name} must be different numbers of 1 or more; got {list(values)}.")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise UserError(f"kernels must be odd, so that they have a middle; got {list(self.kernels)}.")
        if not self._mixings or not self.ratios:
            raise UserError("A block needs heads or kernels to mix by, and ratios of its MLP; got none.")

    @property
    def _mixings(self) -> dict[str, Callable[[int], nn.Module]]:
        """Candidates of mixing, as functions of the channels."""
        attention = {f"attention_h{heads}": lambda width, heads=heads: Attention(width, heads) for heads in self.heads}
        convolution = {f"conv_k{size}": lambda width, size=size: ConvMixing(width, size) for size in self.kernels}
        return {**attention, **convolution}

    @property
    def _mlps(self) -> dict[str, Callable[[int], nn.Module]]:
        """Candidates of the MLP, as functions of the channels."""
        return {f"mlp_r{ratio}": lambda width, ratio=ratio: Mlp(width, ratio) for ratio in self.ratios}

    def _candidates(self, decision: str) -> dict[str, Callable[[int], nn.Module]]:
        return self._mixings if decision.endswith(".mixing") else self._mlps

    def decisions(self) -> dict[str, Decision]:
        names = [f"block{block}.{part}" for block in range(1, self.blocks + 1) for part in ("mixing", "mlp")]
        return {name: Decision(name, "choice", tuple(self._candidates(name))) for name in names}

    def model(
        self, *, channels: int, cells: int, num_classes: int, in_channels: int = 3, stem: Stem = "cifar"
    ) -> nn.Module:
        """The supernet's model. Layer norms stand outside the choices, so their learned scale favours no candidate."""

        def choice(decision: str, width: int) -> Choice:
            return Choice(decision, {name: make(width) for name, make in self._candidates(decision).items()})

        return self._build(
            choice,
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            stem=stem,
            auxiliary=False,
        )

    def network(
        self,
        architecture: Architecture,
        *,
        channels: int,
        cells: int,
        num_classes: int,
        in_channels: int = 3,
        stem: Stem = "cifar",
        auxiliary: bool = False,
    ) -> nn.Module:
        """The derived network with new weights.

        Drop-path acts on both sums of each block. The auxiliary head is a layer norm and a linear classifier of the
        mean over patches, after block number 2 * `cells` // 3, counted from 0.
        """
        self.check(architecture)

        def kept(decision: str, width: int) -> nn.Module:
            return self._candidates(decision)[str(architecture.decisions[decision])](width)

        return self._build(
            kept,
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            stem=stem,
            auxiliary=auxiliary,
        )

    def _build(
        self,
        make: MakeOperation,
        *,
        channels: int,
        cells: int,
        num_classes: int,
        in_channels: int,
        stem: Stem,
        auxiliary: bool,
    ) -> VisionTransformer:
        check_size(channels=channels, cells=cells, num_classes=num_classes, in_channels=in_channels)
        if stem not in ("cifar", "imagenet"):
            raise UserError(f"stem must be 'cifar' or 'imagenet'; got {stem!r}.")
        if cells < self.blocks:
            raise UserError(
                f"cells (blocks of the network) must be {self.blocks} or more, as many as have decisions of their own; "
                f"got {cells}. Give --cells {self.blocks}, or --space.blocks {cells}."
            )
        width = WIDTH * channels
        if any(width % heads for heads in self.heads):
            raise UserError(
                f"The embedding has {WIDTH} * channels = {width} channels, which heads {list(self.heads)} must divide; "
                f"give channels that are a multiple of {math.lcm(WIDTH, *self.heads) // WIDTH}."
            )
        blocks = []
        for index in range(cells):
            number = index * self.blocks // cells + 1
            blocks.append(Block(width, make(f"block{number}.mixing", width), make(f"block{number}.mlp", width)))
        return VisionTransformer(
            PatchEmbedding(in_channels, width, self.patch_size * (IMAGENET_PATCH if stem == "imagenet" else 1)),
            blocks,
            width=width,
            num_classes=num_classes,
            auxiliary=auxiliary,
        )

    def check(self, architecture: Architecture) -> None:
        """Check that the architecture keeps one of the candidates in every decision of this space.

        Raises:
            UserError: it belongs to another space, a decision is missing or unknown, or a candidate is unknown.
        """
        check_space(self, architecture)
        architecture.check(self.decisions())

    def random(self, generator: torch.Generator) -> Architecture:
        return random_choices(self, generator)

    def size(self) -> int:
        return (len(self._mixings) * len(self._mlps)) ** self.blocks


class VisionTransformer(nn.Module):
    """Images (batch, in_channels, height, width) to logits (batch, num_classes).

    In train mode with `auxiliary` it returns `(logits, auxiliary logits)`.
    """

    def __init__(
        self, embedding: PatchEmbedding, blocks: list[Block], *, width: int, num_classes: int, auxiliary: bool
    ):
        super().__init__()
        self.embedding = embedding
        self.position = DepthwiseConv(width, 3)
        self.blocks = nn.ModuleList(blocks)
        self.head = Head(width, num_classes)
        self.auxiliary_after = 2 * len(blocks) // 3
        self.auxiliary_head = Head(width, num_classes) if auxiliary else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        auxiliary_logits = None
        x_NCHW = self.embedding(fast_layout(x))
        # The zeros around the image tell the convolution about positions.
        x_NCHW = x_NCHW + self.position(x_NCHW)
        for index, block in enumerate(self.blocks):
            x_NCHW = block(x_NCHW)
            if self.auxiliary_head is not None and self.training and index == self.auxiliary_after:
                auxiliary_logits = self.auxiliary_head(x_NCHW)
        logits = self.head(x_NCHW)
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)


class PatchEmbedding(nn.Module):
    """A linear layer on patches: (batch, in_channels, height, width) to (batch, width, patches, patches)."""

    def __init__(self, in_channels: int, width: int, patch_size: int):
        super().__init__()
        self.patch_size = patch_size
        self.conv = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        missing_rows, missing_columns = (-size % self.patch_size for size in x.shape[2:])
        if missing_rows or missing_columns:
            x = F.pad(x, (0, missing_columns, 0, missing_rows))
        return self.conv(x)


class Block(nn.Module):
    """`x + mixing(norm(x))`, then `x + mlp(norm(x))`, on maps (batch, channels, height, width).

    The parts take maps (batch, height, width, channels), which channels-last memory gives without copying.
    """

    def __init__(self, width: int, mixing: nn.Module, mlp: nn.Module):
        super().__init__()
        self.mixing_norm = nn.LayerNorm(width)
        self.mixing = mixing
        self.mixing_drop_path = DropPath()
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = mlp
        self.mlp_drop_path = DropPath()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NHWC = x_NCHW.permute(0, 2, 3, 1)
        x_NHWC = x_NHWC + self.mixing_drop_path(self.mixing(self.mixing_norm(x_NHWC)))
        x_NHWC = x_NHWC + self.mlp_drop_path(self.mlp(self.mlp_norm(x_NHWC)))
        return x_NHWC.permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Self-attention of `heads` heads over all patches (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).

    softmax(Q K^T / sqrt(D)) V for each head, written out: the fused kernel of PyTorch has no second derivative, which
    exact hypergradients need.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_NHWC: Tensor) -> Tensor:
        qkv_NTC = self.qkv(x_NHWC).flatten(1, 2)
        q_NATD, k_NATD, v_NATD = (
            part_NTC.unflatten(2, (self.heads, -1)).transpose(1, 2) for part_NTC in qkv_NTC.chunk(3, dim=2)
        )
        scores_NATT = q_NATD @ k_NATD.transpose(2, 3) / math.sqrt(q_NATD.shape[3])
        y_NATD = scores_NATT.softmax(dim=3) @ v_NATD
        y_NHWC = y_NATD.transpose(1, 2).flatten(2).unflatten(1, x_NHWC.shape[1:3])
        return self.out(y_NHWC)

    def extra_repr(self) -> str:
        return f"heads={self.heads}"


class ConvMixing(nn.Module):
    """Linear, GELU, depthwise convolution, linear: the mixer of ConvFormer (Yu et al. 2022, arXiv 2210.13452).

    Its hidden channels are not expanded here, so that it has about half of attention's parameters.
    """

    def __init__(self, width: int, kernel_size: int):
        super().__init__()
        self.into = nn.Linear(width, width)
        self.depthwise = DepthwiseConv(width, kernel_size)
        self.out = nn.Linear(width, width)

    def forward(self, x_NHWC: Tensor) -> Tensor:
        y_NCHW = F.gelu(self.into(x_NHWC)).permute(0, 3, 1, 2)
        return self.out(self.depthwise(y_NCHW).permute(0, 2, 3, 1))


class Mlp(nn.Module):
    """Linear to `ratio` times the channels, GELU, linear."""

    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.into = nn.Linear(width, ratio * width)
        self.out = nn.Linear(ratio * width, width)

    def forward(self, x_NHWC: Tensor) -> Tensor:
        return self.out(F.gelu(self.into(x_NHWC)))


class Head(nn.Module):
    """Layer norm, mean over patches, linear: (batch, channels, height, width) to logits (batch, num_classes)."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.classifier(self.norm(x_NCHW.permute(0, 2, 3, 1)).mean(dim=(1, 2)))
