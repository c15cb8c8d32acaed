"""The problem of `method_support` on images, with cells whose edges do more than mix: `EdgeCell`.

Tensors are (batch, channels, height, width) with 8 channels. With K parts the operations see the first 8 / K channels,
S, and K = 1 stands for all of them:

    y = sum over edges e of edge_e * d_e * shuffle(concat(sum over k of m[e, k] * f_k(S x_e) + beta * S x_e,
                                                          (1 - S) x_e))

where d_e drops the edge for some images. The weights are u (8, 1, 1) and for each edge a and b (8 / K, 1, 1). Nothing
below 'the formulas' uses dnas.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnas import Batch, DartsSpace, Supernet
from dnas.core.progress import Scheduled
from dnas.space.edge_cell import EdgeCell
from dnas.space.partial import PartialChannels
from tests.support.method import EDGES, STEPS, Scale, Tanh, initial_alphas

CHANNELS = 8


def image_weights(parts: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"u": CHANNELS} | dict.fromkeys(("a0", "b0", "a1", "b1"), CHANNELS // parts)
    return {
        name: 1 + 0.5 * torch.randn(size, 1, 1, generator=generator, dtype=torch.float64)
        for name, size in shapes.items()
    }


def image_batches(seed: int) -> list[Batch]:
    """Three batches of five images of 2x2 pixels."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn(5, CHANNELS, 2, 2, generator=generator, dtype=torch.float64)

    return [Batch(draw(), draw()) for _ in range(STEPS)]


IMAGE_TRAIN, IMAGE_VAL = image_batches(2), image_batches(3)


class ImageNet(nn.Module):
    """y of the problem, with the settings of a recipe's space."""

    def __init__(self, space: DartsSpace) -> None:
        super().__init__()
        parts, skip, drop = space.partial_channels, space.auxiliary_skip, space.drop_path
        weights = image_weights(parts)
        self.u = nn.Parameter(weights["u"])
        self.cell = EdgeCell(
            "cell",
            EDGES,
            [
                {"skip_connect": nn.Identity(), "scale": Scale(weights[f"a{e}"]), "tanh": Tanh(weights[f"b{e}"])}
                for e in range(2)
            ],
            num_inputs=2,
            output=(2,),
            strides=(1, 1),
            edge_weights=space.edge_weights,
            partial=PartialChannels(parts) if parts > 1 else None,
            auxiliary=None if skip is None else [nn.Identity(), nn.Identity()],
            auxiliary_weight=None if skip is None else Scheduled(skip),
            drop_path=None if drop is None else Scheduled(drop),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x, x * self.u)


def image_supernet(space: DartsSpace) -> Supernet:
    """The problem before the first step."""
    supernet = Supernet(ImageNet(space), nn.functional.mse_loss)
    with torch.no_grad():
        for name, alpha in supernet.alphas.items():
            alpha.copy_(initial_alphas()[name])
    return supernet


# ---- the formulas ----------------------------------------------------------------------------------------------------


def image_loss(
    w: dict[str, Tensor],
    m: Tensor,
    batch: Batch,
    *,
    parts: int = 1,
    edges: Tensor | None = None,
    beta: Tensor | float = 0.0,
    paths: Tensor | None = None,
) -> Tensor:
    """L for a mixture m (2, 3), weights of the edges (2,), a weight of the skip beside each edge, and factors of each
    edge for each image (2, batch, 1, 1, 1)."""
    x = [batch.inputs, batch.inputs * w["u"]]
    seen = CHANNELS // parts
    y = torch.zeros_like(batch.inputs)
    for e in range(2):
        s = x[e][:, :seen]
        mixed = m[e, 0] * s + m[e, 1] * (w[f"a{e}"] * s) + m[e, 2] * torch.tanh(w[f"b{e}"] * s) + beta * s
        out = shuffled(torch.cat([mixed, x[e][:, seen:]], dim=1), parts)
        out = out if paths is None else paths[e] * out
        y = y + (out if edges is None else edges[e] * out)
    return ((y - batch.targets) ** 2).mean()


def shuffled(x: Tensor, parts: int) -> Tensor:
    """Channel c of part g becomes channel g of the c-th group."""
    size = CHANNELS // parts
    return x[:, [g * size + c for c in range(size) for g in range(parts)]]
