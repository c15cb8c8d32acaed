"""Cells that save only their states: a third of the memory of the per-edge `Cell`, and the same results.

`NodeSum` computes all operations of a node at once, and in the backward pass recomputes what it did not save.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from dnas.core.candidates import SharedPrefix, Zero, add_up
from dnas.core.cell import Cell, concatenate, dense
from dnas.core.mixing import shifted
from dnas.core.mixture import Mixture, uniform
from dnas.space.edge_cell import EdgeCell, Pass
from dnas.space.kernel_states import KernelStackedCell
from dnas.space.kernel_sum import KernelSum
from dnas.space.node_sum import NodeSum, Round, Term
from dnas.space.ops import DilConv, Pool, SepConv, keeps_running_statistics
from dnas.space.stacked import StackedCell


def fuse(model: nn.Module) -> nn.Module:
    """Replace every `Cell` in `model` by a `FusedCell`, or a `FusedEdgeCell` if it has partial channels; parameters and
    their names stay.

    An `EdgeCell` with an auxiliary skip or drop-path stays as it is, because its edges are not sums of weighted
    operations, and so does a cell whose batch norm keeps running statistics.

    It changes `model` and returns it, or returns the new cell if the model itself is a cell. It saves memory, not time:
    on two cores of a CPU a first-order step of the DARTS supernet (16 channels, 8 cells, batch 64, 32x32) took 1.6
    instead of 5.5 GB of memory and 1.2 to 1.8 times as long. It has not been measured on a GPU yet.

    Example:
        >>> from dnas.space import DartsSpace
        >>> model = fuse(DartsSpace().model(channels=4, cells=3, num_classes=10))
        >>> sum(isinstance(module, FusedCell) for module in model.modules())
        3
    """
    return replace_cells(model, _fused)


def _fused(cell: Cell) -> Cell:
    if keeps_running_statistics(cell):
        return cell
    if isinstance(cell, EdgeCell):
        is_sum = cell.auxiliary is None and cell.drop_path is None
        return copy_edge_cell(FusedEdgeCell, cell) if is_sum else cell
    return cell if isinstance(cell, FusedCell) else copy_as(FusedCell, cell)


def unfuse(model: nn.Module) -> nn.Module:
    """Undo `fuse` and `with_kernels`; a fused `StackedCell` comes back as a `Cell`, which computes the same."""
    return replace_cells(model, _per_edge)


def _per_edge(cell: Cell) -> Cell:
    if isinstance(cell, FusedEdgeCell):
        return copy_edge_cell(EdgeCell, cell)
    if isinstance(cell, KernelStackedCell):
        return copy_as(StackedCell, cell)
    return copy_as(Cell, cell) if isinstance(cell, FusedCell) else cell


def replace_cells(model: nn.Module, new: Callable[[Cell], Cell]) -> nn.Module:
    """`model` with `new(cell)` for each of its cells, or that of the model itself if it is a cell."""
    if isinstance(model, Cell):
        return new(model)
    made: dict[Cell, Cell] = {}
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):  # unlike named_children, with cells used in several places
            if isinstance(child, Cell):
                made.setdefault(child, new(child))
                setattr(module, name, made[child])
    return model


def copy_as(make: Callable[..., Cell], cell: Cell) -> Cell:
    """The result of `make` for the same decisions and operations."""
    decision = cell.decision
    return make(
        decision.name,
        decision.edges,
        _candidates(cell),
        num_inputs=cell.num_inputs,
        output=decision.output,
        num_kept=decision.num_kept,
        excluded=decision.excluded,
        edge_weights=cell.edge_decision is not None,
        own_candidates=bool(decision.on_edges),
    ).train(cell.training)


def copy_edge_cell(kind: type[EdgeCell], cell: EdgeCell) -> Cell:
    """As `copy_as`, with the strides and the partial channels."""
    return copy_as(partial(kind, strides=cell.strides, partial=cell.partial), cell)


def _candidates(cell: Cell) -> list[dict[str, nn.Module]]:
    """The operations of each edge by name."""
    names = cell.decision.names
    return [dict(zip(names(edge), row, strict=True)) for edge, row in enumerate(cell.operations)]  # type: ignore[arg-type]


class FusedCell(Cell):
    """`Cell` with the same parameters, whose nodes are computed by `NodeSum` if it supports their operations.

    It supports skip connections, pooling and separable convolutions in the form for search, outside autocast. Other
    operations are computed on their edges and added.
    """

    node_sum: ClassVar[type[NodeSum] | type[KernelSum]] = NodeSum

    def forward(self, *inputs: Tensor) -> Tensor:
        mixture = self._mixture or uniform(self.decision.shape, inputs[0])
        values = mixture.values
        if self._edge_mixture is not None:
            values = values * self._edge_mixture.values[:, None]
        states: dict[int, Tensor] = dict(enumerate(inputs))
        prefixes: dict[tuple[int, Hashable], Tensor] = {}
        for node in self.decision.nodes:
            result = add_up(node_terms(self, node, mixture, values, states, prefixes))
            states[node] = shifted(
                self.zero_node(node, states) if result is None else result,
                mixture.inactive_sum(self.decision.incoming(node)),
            )
            if states[node].requires_grad:
                states[node].register_hook(dense)
        return concatenate(states, self.decision.output)


class FusedEdgeCell(EdgeCell):
    """`EdgeCell` with partial channels whose nodes are computed by `NodeSum`, as in `FusedCell`."""

    node_sum: ClassVar[type[NodeSum] | type[KernelSum]] = NodeSum

    def _node(self, edges: Sequence[int], run: Pass) -> Tensor:
        assert self.partial is not None
        for source in {self.decision.edges[edge][0] for edge in edges} - set(run.operands):
            run.operands[source] = self.operand(run.states[source])
        values = run.mixture.values
        if self._edge_mixture is not None:
            values = values * self._edge_mixture.values[:, None]
        node = self.decision.edges[edges[0]][1]
        mixed = add_up(node_terms(self, node, run.mixture, values, run.operands, run.prefixes))
        others = add_up(self._others(edge, run, self.partial) for edge in edges)
        assert others is not None
        return self.partial.join(self._plus_inactive(mixed, edges, run), others)


def node_terms(
    cell: FusedCell | FusedEdgeCell,
    node: int,
    mixture: Mixture,
    values: Tensor,
    states: Mapping[int, Tensor],
    prefixes: dict[tuple[int, Hashable], Tensor],
) -> Iterator[Tensor]:
    """The sum of the operations that the cell's `node_sum` supports, then the others one by one; nothing for `Zero`."""
    terms: list[Term] = []
    inputs: dict[tuple[int, Hashable], Tensor] = {}
    weights: list[Tensor] = []
    others: list[Tensor] = []
    for edge in cell.decision.incoming(node):
        source = cell.decision.edges[edge][0]
        for k in mixture.row(edge):
            operation = cell.operations[edge][k]  # type: ignore[index]
            if isinstance(operation, Zero):
                continue
            rounds, own, eps = _separable_parts(operation)
            x = states[source]
            is_known = _is_known(operation, x) and cell.node_sum.takes(x, own)
            if is_known and rounds and cell.node_sum.relu_first:
                key = (source, "state")
            else:
                key, x = _shared(operation, source, states, prefixes)
            if not is_known:
                others.append(_weighted(operation, x, values[edge, k]))
                continue
            inputs[key] = x
            weights += own
            terms.append(Term(edge, k, list(inputs).index(key), rounds, eps, cell.node_sum.relu_first))
    if terms:
        yield cell.node_sum.apply(tuple(terms), len(inputs), values, *inputs.values(), *weights)  # type: ignore[misc]
    yield from others


def _shared(
    operation: nn.Module,
    source: int,
    states: Mapping[int, Tensor],
    prefixes: dict[tuple[int, Hashable], Tensor],
) -> tuple[tuple[int, Hashable], Tensor]:
    """The input of the operation, computed once for all edges that leave a state, and a name for it."""
    if not isinstance(operation, SharedPrefix):
        return (source, "state"), states[source]
    key = (source, operation.prefix_key)
    if key not in prefixes:
        prefixes[key] = operation.prefix(states[source])
    return key, prefixes[key]


def _weighted(operation: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    return operation.weighted_rest(x, weight) if isinstance(operation, SharedPrefix) else weight * operation(x)


def _is_known(operation: nn.Module, x: Tensor) -> bool:
    if x.is_meta or torch.is_autocast_enabled(x.device.type):
        return False
    if isinstance(operation, SepConv | DilConv):
        return not (operation.norm.affine or operation.norm.track_running_stats)
    return isinstance(operation, nn.Identity) or (isinstance(operation, Pool) and operation.norm_is_shared)


def _separable_parts(operation: nn.Module) -> tuple[tuple[Round, ...], list[Tensor], float]:
    """Rounds, their weights and batch norm's epsilon; there are no rounds for operations that are already computed."""
    if isinstance(operation, SepConv):
        pairs = [(operation.depthwise1, operation.pointwise1), (operation.depthwise2, operation.pointwise2)]
    elif isinstance(operation, DilConv):
        pairs = [(operation.depthwise, operation.pointwise)]
    else:
        return (), [], 0.0
    rounds = tuple(Round(first.stride[0], first.dilation[0]) for first, _ in pairs)
    return rounds, [weight for first, second in pairs for weight in (first.weight, second.weight)], operation.norm.eps
