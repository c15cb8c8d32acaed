"""A cell whose edges do more than mix their operations."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from torch import Tensor, nn

from dnas.core.architecture import CellArchitecture, Kept, KeptEdge
from dnas.core.candidates import Zero, add_up
from dnas.core.cell import Cell, concatenate, dense
from dnas.core.mixing import shifted
from dnas.core.mixture import Mixture, uniform
from dnas.core.progress import Scheduled
from dnas.space.drop_path import path_masks
from dnas.space.partial import PartialChannels, PartialPlainCell
from dnas.space.skip_dropout import SkipDropout


class EdgeCell(Cell):
    """`Cell` with partial channels, an auxiliary skip and drop-path, in any combination. Edge (i, j) gives

        w_ij d_ij / (1 - r) * shuffle(concat(sum_k p_ijk o_k(S * x_i) + beta a_ij(S * x_i), (1 - S) * x_i))

    with w_ij the weight of the edge (1 without `edge_weights`), S the channels that the operations see (all without
    `partial`), a_ij the auxiliary skip, and d_ij = 0 with probability r for each sample, otherwise 1; d_ij / (1 - r) is
    1 in eval mode. An edge without active candidates gives nothing.

    - Partial channels: PC-DARTS, see `dnas.space.partial`.
    - Auxiliary skip: DARTS- (Chu et al. 2021, https://arxiv.org/abs/2009.01027), whose beta falls from 1 to 0.
      If the edge has stride 2 it is a factorized reduction, as in the official code
      (https://github.com/Meituan-AutoML/DARTS-, src/search/model_search.py). With partial channels, which that
      code does not have, it sees the same channels as the operations.
    - Drop-path: RobustDARTS (Zela et al. 2020, https://arxiv.org/abs/1909.09656, section 5.1). It drops the whole edge,
      including skip connections, as in the official code (https://github.com/automl/RobustDARTS,
      src/search/model_search.py).

    The derived network keeps the partial channels, but neither the auxiliary skip nor drop-path nor the dropout of
    `SkipDropout`, which belong to the search.

    Args:
        name, edges, candidates, num_inputs, output, num_kept, excluded, edge_weights, own_candidates: as for `Cell`;
            with `partial`, the candidates have channels / parts channels.
        strides: stride of each edge.
        partial: the channels that the operations see; None for all.
        auxiliary: the auxiliary skip of each edge; None for no skips.
        auxiliary_weight: beta; needed with `auxiliary`.
        drop_path: r, in [0, 1); None for no drop-path.
    """

    def __init__(
        self,
        name: str,
        edges: Sequence[tuple[int, int]],
        candidates: Sequence[Mapping[str, nn.Module]],
        *,
        num_inputs: int,
        output: Sequence[int],
        strides: Sequence[int],
        num_kept: int | None = None,
        excluded: Sequence[str] = (),
        edge_weights: bool = False,
        own_candidates: bool = False,
        partial: PartialChannels | None = None,
        auxiliary: Sequence[nn.Module] | None = None,
        auxiliary_weight: Scheduled | None = None,
        drop_path: Scheduled | None = None,
    ):
        super().__init__(
            name,
            edges,
            candidates,
            num_inputs=num_inputs,
            output=output,
            num_kept=num_kept,
            excluded=excluded,
            edge_weights=edge_weights,
            own_candidates=own_candidates,
        )
        assert len(strides) == len(edges)
        assert (auxiliary is None) == (auxiliary_weight is None)
        self.strides = tuple(strides)
        self.partial = partial
        self.auxiliary = None if auxiliary is None else nn.ModuleList(auxiliary)
        self.auxiliary_weight = auxiliary_weight
        self.drop_path = drop_path

    def forward(self, *inputs: Tensor) -> Tensor:
        run = Pass(
            self._mixture or uniform(self.decision.shape, inputs[0]),
            None if self.auxiliary_weight is None else self.auxiliary_weight(),
            self._paths(inputs[0]),
            dict(enumerate(inputs)),
        )
        for node in self.decision.nodes:
            edges = [edge for edge in self.decision.incoming(node) if run.mixture.row(edge)]
            total = self._node(edges, run) if edges else self.zero_node(node, run.states)
            if total.requires_grad:
                total.register_hook(dense)
            run.states[node] = total
        return concatenate(run.states, self.decision.output)

    def operand(self, x: Tensor) -> Tensor:
        return x if self.partial is None else self.partial.first(x)

    def zero_node(self, node: int, states: Mapping[int, Tensor]) -> Tensor:
        edge = self.decision.incoming(node)[0]
        return Zero(self.strides[edge])(states[self.decision.edges[edge][0]])

    def plain(self, kept: Kept) -> nn.Module:
        if self.partial is None:
            return super().plain(kept)
        assert isinstance(kept, CellArchitecture)
        edges = [(edge.source, edge.target) for edge in kept.edges]
        return PartialPlainCell(
            edges,
            [self.strides[self.decision.edges.index(edge)] for edge in edges],
            [self.kept_operation(edge) for edge in kept.edges],
            num_inputs=self.num_inputs,
            output=kept.output,
            partial=self.partial,
        )

    def kept_operation(self, edge: KeptEdge) -> nn.Module:
        operation = super().kept_operation(edge)
        return operation.skip if isinstance(operation, SkipDropout) else operation

    def _node(self, edges: Sequence[int], run: Pass) -> Tensor:
        """The sum of the edges, of which there is at least one."""
        mixed = add_up(term for edge in edges for term in self._mixed(edge, run))
        if self.partial is not None:
            others = add_up(self._others(edge, run, self.partial) for edge in edges)
            assert others is not None
            return self.partial.join(self._plus_inactive(mixed, edges, run), others)
        mixed = self._plus_inactive(mixed, edges, run)
        if mixed is None:
            return self.zero_node(self.decision.edges[edges[0]][1], run.states)
        return mixed

    def _plus_inactive(self, mixed: Tensor | None, edges: Sequence[int], run: Pass) -> Tensor | None:
        """The sum of a node's operations with what inactive candidates add; both may be nothing."""
        number = run.mixture.inactive_sum(edges)
        if mixed is None and number is not None:
            mixed = Zero(self.strides[edges[0]])(self.operand(run.states[self.decision.edges[edges[0]][0]]))
        return shifted(mixed, number)

    def _mixed(self, edge: int, run: Pass) -> Iterator[Tensor]:
        """Terms that add up to w d / (1 - r) (sum_k p_k o_k + beta a) of one edge."""
        source = self.decision.edges[edge][0]
        if source not in run.operands:
            run.operands[source] = self.operand(run.states[source])
        terms = chain(self._edge(edge, run.mixture, run.operands, run.prefixes), self._skip(edge, run))
        if run.paths is None:
            yield from terms
            return
        total = add_up(terms)
        if total is not None:
            yield run.paths[edge] * total

    def _skip(self, edge: int, run: Pass) -> Iterator[Tensor]:
        """w beta a of one edge, if it has an auxiliary skip."""
        if self.auxiliary is None or run.beta is None:
            return
        weight = run.beta if self._edge_mixture is None else run.beta * self._edge_mixture.values[edge]
        yield self._weighted(self.auxiliary[edge], self.decision.edges[edge][0], weight, run.operands, run.prefixes)

    def _others(self, edge: int, run: Pass, partial: PartialChannels) -> Tensor:
        """w d / (1 - r) (1 - S) * x of one edge."""
        source = self.decision.edges[edge][0]
        key = (source, self.strides[edge])
        if key not in run.others:
            run.others[key] = partial.others(run.states[source], self.strides[edge])
        others = run.others[key]
        if self._edge_mixture is not None:
            others = self._edge_mixture.values[edge] * others
        return others if run.paths is None else run.paths[edge] * others

    def _paths(self, x: Tensor) -> Tensor | None:
        """d / (1 - r), (edges, batch, 1, 1, 1); None without drop-path."""
        if self.drop_path is None or not self.training:
            return None
        return path_masks(self.drop_path(), len(self.strides), x)


@dataclass
class Pass:
    """The parts of one forward pass, and the results so far that all edges leaving a state share."""

    mixture: Mixture
    beta: Tensor | None
    paths: Tensor | None
    states: dict[int, Tensor]
    operands: dict[int, Tensor] = field(default_factory=dict)
    prefixes: dict[tuple[int, Hashable], Tensor] = field(default_factory=dict)
    others: dict[tuple[int, int], Tensor] = field(default_factory=dict)
