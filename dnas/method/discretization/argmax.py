"""Keep the strongest candidate on the strongest edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dnas.core.architecture import CellArchitecture, Kept, KeptEdge
from dnas.core.decision import Decision, edges_name
from dnas.core.mixture import Mixture
from dnas.method.discretization.base import Discretization, Evaluate, Train
from dnas.method.discretization.eligible import eligible_rows


@dataclass(frozen=True)
class Argmax(Discretization):
    """The strongest candidate; on cells the `num_kept` strongest incoming edges of each node (DARTS, section 2.4).

    An edge is as strong as its strongest candidate that may be kept, times the edge's own weight if it has one
    (PC-DARTS). Excluded candidates ('none' in DARTS) and those that the search has ruled out are passed over. Ties are
    decided by order.
    """

    def __call__(
        self,
        decisions: Mapping[str, Decision],
        mixtures: Mapping[str, Mixture],
        *,
        evaluate: Evaluate,
        train: Train,
    ) -> dict[str, Kept]:
        return {
            name: _keep(decision, mixtures[name], edge_weights(decision, mixtures))
            for name, decision in decisions.items()
            if decision.kind != "edges"
        }


def edge_weights(decision: Decision, mixtures: Mapping[str, Mixture]) -> list[float]:
    """Weight of each edge of a cell among the edges that enter the same node; 1 if edges have no weights."""
    edges = mixtures.get(edges_name(decision.name))
    return [1.0] * decision.num_rows if edges is None else edges.values.tolist()


def _keep(decision: Decision, mixture: Mixture, weights: list[float]) -> Kept:
    if decision.kind == "operations":
        return _strongest_edges(decision, mixture, weights)
    values = mixture.values.tolist()
    (options,) = eligible_rows(decision, mixture)
    order = sorted(options, key=lambda k: -values[k])
    if decision.kind == "choice":
        return decision.candidates[order[0]]
    return tuple(decision.candidates[k] for k in sorted(order[: decision.num_kept]))


def _strongest_edges(decision: Decision, mixture: Mixture, weights: list[float]) -> CellArchitecture:
    """The `num_kept` strongest incoming edges of every node, each with its strongest candidate."""
    values = mixture.values.tolist()
    best = [
        max(options, key=lambda k: row[k])
        for row, options in zip(values, eligible_rows(decision, mixture), strict=True)
    ]
    strength = [row[k] * weight for row, k, weight in zip(values, best, weights, strict=True)]
    kept = []
    for node in decision.nodes:
        incoming = sorted(decision.incoming(node), key=lambda edge: -strength[edge])
        for edge in sorted(incoming[: decision.num_kept]):
            source, target = decision.edges[edge]
            kept.append(KeptEdge(source, target, decision.names(edge)[best[edge]]))
    return CellArchitecture(tuple(kept), decision.output)
