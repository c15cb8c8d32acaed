"""Cells in other forms beside the per-edge ones: equal supernets, and their values and derivatives."""

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.batch import Batch
from dnas.core.cell import Cell
from dnas.core.mixture import Mixture
from dnas.method.relaxation import Relaxation
from dnas.searching.search_step import search_step
from dnas.searching.supernet import Supernet
from dnas.space.base import Space


def supernets(
    space: Space, changed: Callable[[nn.Module], nn.Module], *, cells: int = 2, channels: int = 4
) -> tuple[Supernet, Supernet]:
    """A per-edge supernet in float64 with spread alphas, and one of equal weights with `changed` cells."""
    torch.manual_seed(0)
    plain = Supernet(space.model(channels=channels, cells=cells, num_classes=3)).to(dtype=torch.float64)
    with torch.no_grad():
        for alpha in plain.alpha_parameters():
            alpha.normal_()
    other = copy.deepcopy(plain)
    changed(other.model)
    return plain, other


def batch(size: int = 8, images: int = 3, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randn(images, 3, size, size, generator=generator, dtype=torch.float64)
    return Batch(pictures, torch.arange(images) % 3)


def derivatives(supernet: Supernet, relaxation: Relaxation, data: Batch, *, second: bool) -> list[Tensor]:
    """Loss, its gradients with respect to images, weights and alphas, and those of a product with a fixed vector."""
    images = data.inputs.clone().requires_grad_()
    mixtures = supernet.sample(relaxation, torch.tensor(0.5), torch.Generator().manual_seed(2))
    loss, _ = supernet.loss(supernet.weights(), mixtures, Batch(images, data.targets))
    outer = [images, *supernet.weights().values(), *supernet.alpha_parameters()]
    first = torch.autograd.grad(loss, outer, create_graph=second, materialize_grads=True)
    if not second:
        return [loss, *first]
    return [loss, *first, *second_derivatives(first, outer)]


def second_derivatives(first: Sequence[Tensor], outer: Sequence[Tensor]) -> Sequence[Tensor]:
    """The gradients, with respect to `outer`, of a product of gradients with a fixed vector."""
    generator = torch.Generator().manual_seed(3)
    vectors = [torch.randn(gradient.shape, generator=generator, dtype=torch.float64) for gradient in first]
    product = torch.stack([(g * v).sum() for g, v in zip(first, vectors, strict=True)]).sum()
    return torch.autograd.grad(product, outer, materialize_grads=True)


def after_twenty_steps(supernet: Supernet, size: int, images: int) -> list[Tensor]:
    """Weights and alphas after twenty first-order steps on images of this size."""
    weights = torch.optim.SGD(supernet.model.parameters(), lr=0.025, momentum=0.9)
    alphas = torch.optim.Adam(supernet.alpha_parameters(), lr=0.01)
    for step in range(20):
        train, val = (batch(size, images, seed=2 * step + half) for half in (0, 1))
        search_step(
            supernet,
            weight_batch=(train.inputs, train.targets),
            weight_optimizer=weights,
            alpha_batch=(val.inputs, val.targets),
            alpha_optimizer=alphas,
            clip=5.0,
        )
    return [*supernet.weights().values(), *supernet.alpha_parameters()]


def assert_all_close(found: Iterable[Tensor], expected: Iterable[Tensor], tolerance: float = 1e-10) -> None:
    """Each tensor to `tolerance` of its largest entry; gradients that are 0 by symmetry have none."""
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        scale = max(float(b.detach().abs().max()), 1e-3)
        assert_close(a, b, rtol=0, atol=tolerance * scale, msg=lambda text, number=number: f"{number}: {text}")


def assert_computes_only_what_is_active(cell: Cell, channels: int) -> None:
    """A normal DARTS cell of which the first edge has candidate 4 alone, and the others none, reads no other weight."""
    values = torch.zeros(14, 8, dtype=torch.float64)
    values[0, 4] = 1.0
    for edge, on_edge in enumerate(cell.operations):
        for k, operation in enumerate(on_edge):  # type: ignore[arg-type]
            if (edge, k) != (0, 4):
                for weight in operation.parameters():
                    weight.data.fill_(torch.nan)
    cell.bind({"normal": Mixture(values, tuple((4,) if edge == 0 else (0,) for edge in range(14)))})
    images = torch.randn(2, channels, 6, 6, dtype=torch.float64)
    result = cell(images, images)
    assert_close(result[:, :channels], cell.operations[0][4](images))  # type: ignore[index]
    assert result[:, channels:].abs().sum() == 0
