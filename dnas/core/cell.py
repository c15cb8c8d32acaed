"""A cell: a graph of nodes whose edges each hold a choice among operations."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from dnas.core.architecture import CellArchitecture, Kept, KeptEdge
from dnas.core.candidates import SharedPrefix, Zero, add_up, weighted_terms
from dnas.core.decision import Decision, edges_name
from dnas.core.mixing import shifted
from dnas.core.mixture import Mixture, uniform
from dnas.core.searchable import Searchable, checked_names
from dnas.system.errors import UserError


class PlainCell(nn.Module):
    """Nodes and edges with one operation each, which is what `Cell.plain` gives.

    Args:
        edges: (source, target) state indices, one for each operation.
        operations: one module for each edge.
        num_inputs: number of input states; they have the indices 0 to num_inputs - 1.
        output: indices of the states that are concatenated over channels; a single state is returned as it is.
    """

    def __init__(
        self,
        edges: Sequence[tuple[int, int]],
        operations: Sequence[nn.Module],
        *,
        num_inputs: int,
        output: Sequence[int],
    ):
        super().__init__()
        assert len(edges) == len(operations)
        self.edges = tuple(edges)
        self.operations = nn.ModuleList(operations)
        self.num_inputs = num_inputs
        self.output = tuple(output)

    # Another way to the same result, set from outside (`dnas.space.kernel_network`).
    computation: Callable[[PlainCell, tuple[Tensor, ...]], Tensor] | None = None

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.computation is not None:
            return self.computation(self, inputs)
        states: dict[int, Tensor] = dict(enumerate(inputs))
        for (source, target), operation in zip(self.edges, self.operations, strict=True):
            term = operation(states[source])
            states[target] = term if target not in states else states[target] + term
        return concatenate(states, self.output)

    def extra_repr(self) -> str:
        return f"edges={list(self.edges)}, output={list(self.output)}"


def concatenate(states: Mapping[int, Tensor], output: Sequence[int]) -> Tensor:
    """The output states side by side in the channel dimension."""
    return states[output[0]] if len(output) == 1 else torch.cat([states[index] for index in output], dim=1)


def dense(gradient: Tensor) -> Tensor:
    """The same gradient without gaps in memory.

    The gradient of `concatenate` is a slice of channels, on which convolutions and batch norms are slow.
    """
    channels_last = gradient.ndim == 4 and gradient.stride(1) == 1
    return gradient.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


class Cell(Searchable):
    """A directed acyclic graph whose edges each hold a choice among operations (DARTS, Liu et al. 2019, figure 1).

    State j is `sum over edges (i, j) of sum_k mixture[edge, k] * operation_k(state i)`; with `edge_weights` each
    edge's sum is also weighed by a mixture over the incoming edges of its node (PC-DARTS, Xu et al. 2020).

    Args:
        name: name of the decision; cells of the same name share one decision.
        edges: (source, target) state indices in order of target; inputs are the states 0 to num_inputs - 1.
        candidates: for each edge a mapping name -> module, with the same names on all edges unless `own_candidates`.
        num_inputs: number of input states.
        output: states that are concatenated over channels; a single state is returned as it is.
        num_kept: number of incoming edges that each node keeps at discretization; None for all.
        excluded: candidates that discretization may not keep.
        edge_weights: whether edges have a decision of their own.
        own_candidates: whether edges may have candidates of different names, equally many on all of them.
    """

    def __init__(
        self,
        name: str,
        edges: Sequence[tuple[int, int]],
        candidates: Sequence[Mapping[str, nn.Module]],
        *,
        num_inputs: int,
        output: Sequence[int],
        num_kept: int | None = None,
        excluded: Sequence[str] = (),
        edge_weights: bool = False,
        own_candidates: bool = False,
    ):
        super().__init__()
        if not candidates or (num_kept is not None and num_kept < 1):
            raise UserError(f"Cell {name!r} needs one or more edges, and keeps one or more per node; got {num_kept}.")
        on_edges = _names_on_edges(name, candidates, excluded) if own_candidates else ()
        names = places(len(on_edges[0])) if on_edges else checked_names(name, tuple(candidates[0]), excluded)
        if len(edges) != len(candidates) or any(not on_edges and tuple(on_edge) != names for on_edge in candidates):
            raise UserError(f"Cell {name!r} needs the candidates {list(names)} on each of its {len(edges)} edges.")
        _check_edges(name, edges, num_inputs, output)
        self.decision = Decision(
            name,
            "operations",
            names,
            tuple(edges),
            num_kept=num_kept,
            excluded=tuple(excluded),
            output=tuple(output),
            on_edges=on_edges,
        )
        self.edge_decision = (
            Decision(edges_name(name), "edges", tuple(f"{i}->{j}" for i, j in edges), tuple(edges))
            if edge_weights
            else None
        )
        self.operations = nn.ModuleList(nn.ModuleList(on_edge.values()) for on_edge in candidates)
        self.num_inputs = num_inputs
        self._mixture: Mixture | None = None
        self._edge_mixture: Mixture | None = None

    def decisions(self) -> tuple[Decision, ...]:
        return (self.decision,) if self.edge_decision is None else (self.decision, self.edge_decision)

    def bind(self, mixtures: Mapping[str, Mixture] | None) -> None:
        self._mixture = None if mixtures is None else mixtures[self.decision.name]
        if self.edge_decision is not None:
            self._edge_mixture = None if mixtures is None else mixtures[self.edge_decision.name]

    def forward(self, *inputs: Tensor) -> Tensor:
        mixture = self._mixture or uniform(self.decision.shape, inputs[0])
        states: dict[int, Tensor] = dict(enumerate(inputs))
        # Prefixes without parameters (pooling, ReLU) are the same for all edges that leave a state: computed once.
        prefixes: dict[tuple[int, Hashable], Tensor] = {}
        for node in self.decision.nodes:
            edges = self.decision.incoming(node)
            total = add_up(chain.from_iterable(self._edge(edge, mixture, states, prefixes) for edge in edges))
            states[node] = shifted(
                self.zero_node(node, states) if total is None else total, mixture.inactive_sum(edges)
            )
            if states[node].requires_grad:
                states[node].register_hook(dense)
        return concatenate(states, self.decision.output)

    def _edge(
        self,
        edge: int,
        mixture: Mixture,
        states: Mapping[int, Tensor],
        prefixes: dict[tuple[int, Hashable], Tensor],
    ) -> Iterator[Tensor]:
        """The weighted operations of one edge; none if only `Zero` is active."""
        source = self.decision.edges[edge][0]

        def weighted(operation: nn.Module, weight: Tensor) -> Tensor:
            return self._weighted(operation, source, weight, states, prefixes)

        values = mixture.values[edge]
        if self._edge_mixture is not None:
            values = values * self._edge_mixture.values[edge]
        return weighted_terms(self.operations[edge], mixture.row(edge), values, weighted)  # type: ignore[arg-type]

    def _weighted(
        self,
        operation: nn.Module,
        source: int,
        weight: Tensor,
        states: Mapping[int, Tensor],
        prefixes: dict[tuple[int, Hashable], Tensor],
    ) -> Tensor:
        """`weight * operation(state)`; a prefix that operations of the same state share is computed once."""
        if not isinstance(operation, SharedPrefix):
            return weight * operation(states[source])
        key = (source, operation.prefix_key)
        if key not in prefixes:
            prefixes[key] = operation.prefix(states[source])
        return operation.weighted_rest(prefixes[key], weight)

    def operand(self, x: Tensor) -> Tensor:
        """The part of state x that the operations on its outgoing edges get: here the whole state."""
        return x

    def zero_node(self, node: int, states: Mapping[int, Tensor]) -> Tensor:
        """The state of a node whose edges are all `Zero` or dropped: zeros of the shape that an edge would give."""
        edge = self.decision.incoming(node)[0]
        x = states[self.decision.edges[edge][0]]
        for operation in self.operations[edge]:  # type: ignore[union-attr]
            if isinstance(operation, Zero):
                return operation(x)
        return torch.zeros_like(self.operations[edge][0](x))  # type: ignore[index]

    def plain(self, kept: Kept) -> nn.Module:
        assert isinstance(kept, CellArchitecture)
        edges = [(edge.source, edge.target) for edge in kept.edges]
        operations = [self.kept_operation(edge) for edge in kept.edges]
        return PlainCell(edges, operations, num_inputs=self.num_inputs, output=kept.output)

    def kept_operation(self, edge: KeptEdge) -> nn.Module:
        """The candidate that `edge` names."""
        row = self.decision.edges.index((edge.source, edge.target))
        return self.operations[row][self.decision.names(row).index(edge.operation)]  # type: ignore[index]

    def extra_repr(self) -> str:
        names = self.decision.on_edges or self.decision.candidates
        return f"{self.decision.name!r}, edges={list(self.decision.edges)}, candidates={list(names)}"


def places(number: int) -> tuple[str, ...]:
    """Names of the candidates in a decision whose edges have candidates of their own: '#0', '#1'."""
    return tuple(f"#{k}" for k in range(number))


def _names_on_edges(
    name: str, candidates: Sequence[Mapping[str, nn.Module]], excluded: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """The candidates' names on each edge; empty if all edges have the same."""
    on_edges = tuple(tuple(on_edge) for on_edge in candidates)
    everywhere = tuple(dict.fromkeys(candidate for names in on_edges for candidate in names))
    checked_names(name, everywhere, excluded)
    for names in on_edges:
        checked_names(name, names, [candidate for candidate in excluded if candidate in names])
    if len({len(names) for names in on_edges}) > 1:
        raise UserError(
            f"Cell {name!r} needs equally many candidates on all edges; got {[len(names) for names in on_edges]}."
        )
    return on_edges if len(set(on_edges)) > 1 else ()


def _check_edges(name: str, edges: Sequence[tuple[int, int]], num_inputs: int, output: Sequence[int]) -> None:
    targets = [target for _, target in edges]
    upward = all(0 <= source < target for source, target in edges)
    if targets != sorted(targets) or not upward or len(set(edges)) != len(edges):
        raise UserError(f"Cell {name!r}: edges must go upward, each once, sorted by target; got {list(edges)}.")
    num_states = max(targets, default=num_inputs - 1) + 1
    missing = sorted(set(range(num_inputs, num_states)) - set(targets))
    if missing or min(targets, default=num_inputs) < num_inputs:
        raise UserError(
            f"Cell {name!r}: states 0 to {num_inputs - 1} are inputs and each later one needs an edge; "
            f"nodes without an edge: {missing}."
        )
    if not output or any(not 0 <= index < num_states for index in output):
        raise UserError(f"Cell {name!r}: output must name states from 0 to {num_states - 1}; got {list(output)}.")
