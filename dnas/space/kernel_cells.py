"""Cells whose nodes are computed by the kernels of `dnas.kernels`: the same results as the per-edge `Cell`."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from dnas.core.cell import Cell
from dnas.space.edge_cell import EdgeCell
from dnas.space.fused import FusedCell, FusedEdgeCell, copy_as, copy_edge_cell, replace_cells
from dnas.space.kernel_states import KernelStackedCell
from dnas.space.kernel_sum import KernelSum
from dnas.space.node_sum import NodeSum
from dnas.space.ops import DilConv, SepConv, keeps_running_statistics
from dnas.space.stacked import StackedCell


class KernelCell(FusedCell):
    """`Cell` with the same parameters, whose nodes are computed by `KernelSum` where there are kernels.

    There are for skip connections, pooling, and separable convolutions of 3x3 and 5x5 in the form for search, in
    float32 and float64, for a multiple of 4 channels on the CPU and at most 64 on a GPU (in Triton, not yet measured),
    in one process and outside autocast. What has none is computed on its edge and added.
    """

    node_sum: ClassVar[type[NodeSum] | type[KernelSum]] = KernelSum


class KernelEdgeCell(FusedEdgeCell):
    """`EdgeCell` with partial channels, computed as `KernelCell`."""

    node_sum: ClassVar[type[NodeSum] | type[KernelSum]] = KernelSum


def with_kernels(model: nn.Module) -> nn.Module:
    """Replace every `Cell` in `model` with separable convolutions by a `KernelCell`, or a `KernelEdgeCell` if it has
    partial channels, and every `StackedCell` (NAS-Bench-201) by a `KernelStackedCell`; parameters and their names stay.
    It needs numba (`dnas[cpu]`) on the CPU; on a GPU separable convolutions need Triton, and dense ones have none.

    It changes `model` and returns it, or returns the new cell if the model itself is a cell. `unfuse` undoes it. Cells
    with an auxiliary skip or drop-path, and all others, stay as they are.
    """
    return replace_cells(model, _with_kernels)


def _with_kernels(cell: Cell) -> Cell:
    if keeps_running_statistics(cell):
        return cell
    if type(cell) is StackedCell:
        return copy_as(KernelStackedCell, cell)
    if not any(isinstance(operation, SepConv | DilConv) for operation in cell.modules()):
        return cell
    if type(cell) is Cell:
        return copy_as(KernelCell, cell)
    if type(cell) is EdgeCell and cell.partial is not None and cell.auxiliary is None and cell.drop_path is None:
        return copy_edge_cell(KernelEdgeCell, cell)
    return cell
