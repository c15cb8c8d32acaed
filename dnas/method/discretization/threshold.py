"""Keep candidates that are strong on their own, for gates that do not compete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dnas.core.architecture import CellArchitecture, Kept, KeptEdge
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.method.discretization.argmax import Argmax, edge_weights
from dnas.method.discretization.base import Discretization, Evaluate, Train
from dnas.method.discretization.eligible import eligible_rows
from dnas.system.accepted import accept
from dnas.system.errors import UserError


@dataclass(frozen=True)
class Threshold(Discretization):
    """On cells, every operation above `threshold`, at most `num_kept` into each node, the strongest first.

    FairDARTS (Chu et al. 2020, https://arxiv.org/abs/1911.12126, section 4.3): threshold 0.85, two per node. In the
    paper two operations of one edge may both stay. In the official code's default, `threshold_sparse`
    (https://github.com/xiaomi-automl/FairDARTS/blob/master/fairdarts/utils.py, `parse`), an edge keeps at most its
    strongest one, if that reaches the threshold, which is `one_per_edge`. If nothing passes, a node keeps its single
    strongest operation (paper and code leave the node without input; a network needs one). Input choices keep what
    passes, or the strongest; other choices keep their strongest candidate. If edges have weights (PC-DARTS), an
    operation passes by its own gate alone, because the weights of a node's edges add up to 1 and would let nothing
    pass; the order follows the product with its edge's weight.

    Args:
        threshold: smallest value in the expected mixture that passes, in [0, 1].
        one_per_edge: whether an edge keeps one operation at most.
    """

    threshold: float = 0.85
    one_per_edge: bool = False

    def __post_init__(self) -> None:
        accept(self)
        if not 0 <= self.threshold <= 1:
            raise UserError(f"threshold must lie in [0, 1]; got {self.threshold}.")

    def __call__(
        self,
        decisions: Mapping[str, Decision],
        mixtures: Mapping[str, Mixture],
        *,
        evaluate: Evaluate,
        train: Train,
    ) -> dict[str, Kept]:
        kept = Argmax()(decisions, mixtures, evaluate=evaluate, train=train)
        for name, decision in decisions.items():
            if decision.kind == "operations":
                kept[name] = self._cell(decision, mixtures[name], edge_weights(decision, mixtures))
            elif decision.kind == "inputs":
                kept[name] = self._inputs(decision, mixtures[name])
        return kept

    def _cell(self, decision: Decision, mixture: Mixture, weights: list[float]) -> CellArchitecture:
        values, options = mixture.values.tolist(), eligible_rows(decision, mixture)
        edges = []
        for node in decision.nodes:
            passing = self._passing(
                [
                    _Option(edge, k, values[edge][k], weights[edge])
                    for edge in decision.incoming(node)
                    for k in self._on_edge(options[edge], values[edge])
                ],
                decision.num_kept,
            )
            for option in sorted(passing, key=lambda option: (option.row, option.candidate)):
                source, target = decision.edges[option.row]
                edges.append(KeptEdge(source, target, decision.names(option.row)[option.candidate]))
        return CellArchitecture(tuple(edges), decision.output)

    def _on_edge(self, options: Sequence[int], values: Sequence[float]) -> Sequence[int]:
        """The candidates of an edge that may pass."""
        return [max(options, key=lambda k: values[k])] if self.one_per_edge and options else options

    def _inputs(self, decision: Decision, mixture: Mixture) -> tuple[str, ...]:
        values, (options,) = mixture.values.tolist(), eligible_rows(decision, mixture)
        passing = self._passing([_Option(0, k, values[k], 1.0) for k in options], decision.num_kept)
        return tuple(decision.candidates[k] for k in sorted(option.candidate for option in passing))

    def _passing(self, options: list[_Option], limit: int | None) -> list[_Option]:
        """At most `limit` options that pass, strongest first; the strongest one if none does."""
        order = sorted(options, key=lambda option: -option.gate * option.weight)
        return [option for option in order if self._passes(option.gate)][:limit] or order[:1]

    def _passes(self, gate: float) -> bool:
        """The official code takes a gate that equals the threshold, the paper speaks of those above it."""
        return gate >= self.threshold if self.one_per_edge else gate > self.threshold


class _Option(NamedTuple):
    """A candidate on a row, with its own mixture weight and that of its edge."""

    row: int
    candidate: int
    gate: float
    weight: float
