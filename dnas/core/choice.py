"""What is searchable: a choice among candidates, a choice of inputs, and a cell of nodes and edges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from dnas.core.architecture import CellArchitecture, Kept, KeptEdge
from dnas.core.decision import Decision, edges_name
from dnas.core.mixture import Mixture, uniform
from dnas.system.errors import UserError


class Searchable(nn.Module, ABC):
    """A module with decisions inside. Without a bound mixture it weighs all candidates equally."""

    @abstractmethod
    def decisions(self) -> tuple[Decision, ...]:
        """What this module lets a search decide."""

    @abstractmethod
    def bind(self, mixtures: Mapping[str, Mixture] | None) -> None:
        """Use these mixtures (by decision name) in the forward passes that follow; None for equal weights."""

    @abstractmethod
    def plain(self, kept: Kept) -> nn.Module:
        """The module that is left when only `kept` stays. It shares the candidates with this one."""


class Zero(nn.Module):
    """The candidate 'none': nothing is computed, the result is 0 of the input's shape, strided in space."""

    def __init__(self, stride: int = 1):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return torch.zeros_like(x)
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


class SharedPrefix(nn.Module, ABC):
    """A candidate whose first part has no parameters, so that a cell computes it once for all edges of a state.

    `forward(x)` must equal `rest(prefix(x))`. Two candidates whose `prefix_key` is equal have equal prefixes.
    A cell calls `prefix` and `rest` directly, so forward hooks on the candidate itself do not fire there.
    """

    prefix_key: Hashable

    @abstractmethod
    def prefix(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def rest(self, x: Tensor) -> Tensor: ...

    def weighted_rest(self, x: Tensor, weight: Tensor) -> Tensor:
        """`weight * rest(x)` with a scalar weight, for candidates that can fold it into their last step."""
        return weight * self.rest(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.prefix(x))


def weighted_terms(
    candidates: Sequence[nn.Module] | nn.ModuleList,
    active: Sequence[int],
    values: Tensor,
    weighted: Callable[[nn.Module, Tensor], Tensor],
) -> Iterator[Tensor]:
    """`weighted(candidates[k], values[k])` for each active candidate that is not `Zero`.

    `Zero` adds nothing to the value and nothing to the gradient, so it is never computed.
    """
    for k in active:
        if not isinstance(candidates[k], Zero):
            yield weighted(candidates[k], values[k])


def add_up(terms: Iterator[Tensor]) -> Tensor | None:
    """The sum of the terms; None where there are none."""
    total, second = next(terms, None), next(terms, None)
    if total is None or second is None:
        return total
    total = total + second
    for term in terms:
        total += term  # in place: nobody else has seen this sum, and addition needs none of it for its gradient
    return total


def _checked_names(name: str, names: Sequence[str], excluded: Sequence[str] = ()) -> tuple[str, ...]:
    if not name:
        raise UserError("A choice needs a name; choices of one name share one decision.")
    if not names or len(set(names)) != len(names):
        raise UserError(f"Choice {name!r} needs one or more candidates of different names; got {list(names)}.")
    unknown = [candidate for candidate in excluded if candidate not in names]
    if unknown or set(names) <= set(excluded):
        raise UserError(
            f"Choice {name!r} excludes {list(excluded)}: excluded must name candidates, and leave one that may be "
            f"kept; the candidates are {list(names)}."
        )
    return tuple(names)


class Choice(Searchable):
    """A choice among candidate modules of equal output shape: `sum_k mixture[k] * candidate_k(inputs)`.

    Args:
        name: choices of one name share one decision.
        candidates: name -> module. Use `Zero()` for 'nothing' and `nn.Identity()` for a skip connection.
        excluded: candidates that discretization may not keep.

    Example:
        >>> choice = Choice("kernel", {"3x3": nn.Conv2d(8, 8, 3, padding=1), "5x5": nn.Conv2d(8, 8, 5, padding=2)})
        >>> choice(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(self, name: str, candidates: Mapping[str, nn.Module], *, excluded: Sequence[str] = ()):
        super().__init__()
        names = _checked_names(name, tuple(candidates), excluded)
        self.decision = Decision(name, "choice", names, excluded=tuple(excluded))
        self.candidates = nn.ModuleList(candidates.values())
        self._mixture: Mixture | None = None

    def decisions(self) -> tuple[Decision, ...]:
        return (self.decision,)

    def bind(self, mixtures: Mapping[str, Mixture] | None) -> None:
        self._mixture = None if mixtures is None else mixtures[self.decision.name]

    def forward(self, *inputs: Tensor) -> Tensor:
        mixture = self._mixture or uniform(self.decision.shape, inputs[0])
        active = mixture.row(0)
        total = add_up(
            weighted_terms(
                self.candidates, active, mixture.values, lambda candidate, weight: weight * candidate(*inputs)
            )
        )
        return self.candidates[active[0]](*inputs) if total is None else total

    def plain(self, kept: Kept) -> nn.Module:
        assert isinstance(kept, str)
        return self.candidates[self.decision.candidates.index(kept)]

    def extra_repr(self) -> str:
        return f"{self.decision.name!r}, candidates={list(self.decision.candidates)}"


class InputSum(nn.Module):
    """The sum of the kept inputs: what is left of an `InputChoice`."""

    def __init__(self, indices: Sequence[int]):
        super().__init__()
        self.indices = tuple(indices)

    def forward(self, *inputs: Tensor) -> Tensor:
        total = inputs[self.indices[0]]
        for index in self.indices[1:]:
            total = total + inputs[index]
        return total

    def extra_repr(self) -> str:
        return f"indices={list(self.indices)}"


class InputChoice(Searchable):
    """A choice of connections: which `num_chosen` of several inputs of equal shape are added up.

    During search the result is `sum_i mixture[i] * input_i`; afterwards the kept inputs are added with weight 1.

    Args:
        name: choices of one name share one decision.
        inputs: a name for each input, in the order of the call.
        num_chosen: how many inputs are kept.
    """

    def __init__(self, name: str, inputs: Sequence[str], *, num_chosen: int = 1):
        super().__init__()
        names = _checked_names(name, tuple(inputs))
        if not 1 <= num_chosen <= len(names):
            raise UserError(f"Choice {name!r} cannot keep {num_chosen} of {len(names)} inputs.")
        self.decision = Decision(name, "inputs", names, num_kept=num_chosen)
        self._mixture: Mixture | None = None

    def decisions(self) -> tuple[Decision, ...]:
        return (self.decision,)

    def bind(self, mixtures: Mapping[str, Mixture] | None) -> None:
        self._mixture = None if mixtures is None else mixtures[self.decision.name]

    def forward(self, *inputs: Tensor) -> Tensor:
        if len(inputs) != len(self.decision.candidates):
            raise UserError(
                f"{self.decision.name!r} chooses among {len(self.decision.candidates)} inputs, got {len(inputs)}."
            )
        mixture = self._mixture or uniform(self.decision.shape, inputs[0])
        terms = [mixture.values[i] * inputs[i] for i in mixture.row(0)]
        return sum(terms[1:], start=terms[0])

    def plain(self, kept: Kept) -> nn.Module:
        assert isinstance(kept, tuple)
        return InputSum([self.decision.candidates.index(name) for name in kept])

    def extra_repr(self) -> str:
        return f"{self.decision.name!r}, inputs={list(self.decision.candidates)}, num_chosen={self.decision.num_kept}"


class PlainCell(nn.Module):
    """Nodes and edges with one operation each: what is left of a `Cell`.

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

    def forward(self, *inputs: Tensor) -> Tensor:
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

    What comes out of `concatenate` backwards is a slice of channels, on which convolutions and batch norms are slow.
    """
    channels_last = gradient.ndim == 4 and gradient.stride(1) == 1
    return gradient.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


class Cell(Searchable):
    """A directed acyclic graph whose edges each hold a choice among operations (DARTS, Liu et al. 2019, figure 1).

    State j is `sum over edges (i, j) of sum_k mixture[edge, k] * operation_k(state i)`; with `edge_weights` each
    edge's sum is also weighed by a mixture over the incoming edges of its node (PC-DARTS, Xu et al. 2020).

    Args:
        name: cells of one name share one decision.
        edges: (source, target) state indices in order of target; inputs are the states 0 to num_inputs - 1.
        candidates: for each edge a mapping name -> module, with the same names on all edges unless `own_candidates`.
        num_inputs: number of input states.
        output: states that are concatenated over channels; a single state is returned as it is.
        num_kept: how many incoming edges each node keeps at discretization; None for all.
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
        names = places(len(on_edges[0])) if on_edges else _checked_names(name, tuple(candidates[0]), excluded)
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
            states[node] = self.zero_node(node, states) if total is None else total
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
        """The weighted operations of one edge; none where nothing but `Zero` is active."""
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
        """`weight * operation(state)`; the part that operations of a state share is computed once."""
        if not isinstance(operation, SharedPrefix):
            return weight * operation(states[source])
        key = (source, operation.prefix_key)
        if key not in prefixes:
            prefixes[key] = operation.prefix(states[source])
        return operation.weighted_rest(prefixes[key], weight)

    def operand(self, x: Tensor) -> Tensor:
        """What the operations on the edges that leave state x see of it: all."""
        return x

    def zero_node(self, node: int, states: Mapping[int, Tensor]) -> Tensor:
        """A node all of whose edges are `Zero` (or dropped): zeros of the shape that an edge would give."""
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
    """What a decision calls its candidates where each edge has its own: '#0', '#1'."""
    return tuple(f"#{k}" for k in range(number))


def _names_on_edges(
    name: str, candidates: Sequence[Mapping[str, nn.Module]], excluded: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """The names on each edge; empty where they are the same on all."""
    on_edges = tuple(tuple(on_edge) for on_edge in candidates)
    everywhere = tuple(dict.fromkeys(candidate for names in on_edges for candidate in names))
    _checked_names(name, everywhere, excluded)
    for names in on_edges:
        _checked_names(name, names, [candidate for candidate in excluded if candidate in names])
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
