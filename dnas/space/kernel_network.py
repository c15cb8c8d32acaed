"""Cells of found networks whose separable convolutions are trained by the CPU kernels of `dnas.kernels`."""

from __future__ import annotations

from torch import Tensor, nn

from dnas.core.candidates import add_up
from dnas.core.cell import PlainCell, concatenate
from dnas.kernels.devices import DEPTHWISE_SIZES
from dnas.kernels.products import Product
from dnas.space.drop_path import DropPath
from dnas.space.kernel_affine import usable
from dnas.space.kernel_node import AffineRound, Edge, KernelNode
from dnas.space.kernel_preprocess import KernelPreprocess
from dnas.space.ops import DilConv, ReLUConvBN, SepConv
from dnas.space.skeleton import Block


def train_by_kernels(network: nn.Module, on: bool = True) -> nn.Module:
    """Have the cells of an evaluation network trained by kernels, or no longer; its modules and weights stay.

    It changes the network and returns it. There are kernels for separable convolutions of 3x3 and 5x5, and for the 1x1
    convolutions before a cell of up to 32 channels, in train mode, in float32 and float64, for a multiple of 4
    channels, on the CPU, in one process and outside autocast; the rest, other modes, exports and second derivatives
    take the usual path. It needs numba (`dnas[cpu]`).

    Example:
        >>> from dnas.formats import published
        >>> from dnas.space import DartsSpace
        >>> network = DartsSpace().network(published("DARTS_V2"), channels=8, cells=3, num_classes=10)
        >>> len(kernel_cells(train_by_kernels(network)))
        1
    """
    for module in network.modules():
        if isinstance(module, PlainCell) and any(_separable(operation) is not None for operation in module.operations):
            module.computation = compute_cell if on else None
        elif isinstance(module, Block):
            for preprocess in (module.preprocess0, module.preprocess1):
                if isinstance(preprocess, ReLUConvBN):
                    preprocess.computation = compute_preprocess if on else None
    return network


def kernel_cells(network: nn.Module) -> list[PlainCell]:
    """The cells of a network that are trained by kernels where those can be used."""
    return [cell for cell in network.modules() if isinstance(cell, PlainCell) and cell.computation is compute_cell]


def compute_cell(cell: PlainCell, inputs: tuple[Tensor, ...]) -> Tensor:
    """`cell(*inputs)`, each node with separable operations by one function.

    Edges of a node are taken in their order, so that drop-path draws what it draws on the usual path.
    """
    states: dict[int, Tensor] = dict(enumerate(inputs))
    for node in dict.fromkeys(target for _, target in cell.edges):
        entering = [number for number, (_, target) in enumerate(cell.edges) if target == node]
        found = [_edge(cell.operations[number], states[cell.edges[number][0]]) for number in entering]
        tensors = [tensor for _, own in found for tensor in own]
        edges = tuple(edge for edge, _ in found)
        has_rounds = any(edge.rounds for edge in edges)
        states[node] = KernelNode.apply(edges, *tensors) if has_rounds else add_up(iter(tensors))  # type: ignore[assignment]
    return concatenate(states, cell.output)


def compute_preprocess(module: ReLUConvBN, x: Tensor) -> Tensor:
    """`module(x)` of a 1x1 convolution by one function."""
    norm, matrix = module.norm, module.conv.weight
    fits = matrix.shape[2:] == (1, 1) and module.skip == 1 and usable(x, [norm])
    if not (fits and Product.takes(x.shape[1], len(matrix), x.element_size())):
        return module.rest(module.prefix(x))
    return KernelPreprocess.apply(norm, x, matrix, norm.weight, norm.bias)  # type: ignore[no-any-return]


def _edge(operation: nn.Module, x: Tensor) -> tuple[Edge, list[Tensor]]:
    """What enters a node, and its tensors: x and the weights of a separable operation, or the result of another one."""
    found = _separable(operation)
    if found is None or not usable(x, [norm for _, _, norm in found[0]]):
        return Edge((), None), [operation(x)]
    rounds, drop_path = found
    own = tuple(AffineRound(first.stride[0], first.dilation[0], norm) for first, _, norm in rounds)
    weights = [
        weight
        for depthwise, pointwise, norm in rounds
        for weight in (depthwise.weight, pointwise.weight, norm.weight, norm.bias)
    ]
    return Edge(own, None if drop_path is None else drop_path.factor(x)), [x, *weights]


# Depthwise and 1x1 convolution, and batch norm.
_Round = tuple[nn.Conv2d, nn.Conv2d, nn.BatchNorm2d]


def _separable(operation: nn.Module) -> tuple[list[_Round], DropPath | None] | None:
    """The rounds of a separable operation that has kernels, and the drop-path after it; None for another operation."""
    drop_path = None
    if isinstance(operation, nn.Sequential) and len(operation) == 2:
        operation, last = operation
        if not isinstance(last, DropPath):
            return None
        drop_path = last
    if isinstance(operation, DilConv):
        rounds: list[_Round] = [(operation.depthwise, operation.pointwise, operation.norm)]
    elif isinstance(operation, SepConv):
        rounds = [
            (operation.depthwise1, operation.pointwise1, operation.norm1),
            (operation.depthwise2, operation.pointwise2, operation.norm),
        ]
    else:
        return None
    return (rounds, drop_path) if rounds[0][0].kernel_size[0] in DEPTHWISE_SIZES else None
