"""Keep the strongest candidate on the strongest edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dnas.architecture import CellArchitecture, Kept, KeptEdge
from dnas.decision import Decision, edges_name
from dnas.discretization.base import Discretization, Evaluate, Train
from dnas.mixture import Mixture


@dataclass(frozen=True)
class Argmax(Discretization):
    """The strongest candidate; on cells the `num_kept` strongest incoming edges of each node (DARTS, section 2.4).

    An edge is as strong as its strongest candidate that may be kept, times its own weight where edges are weighed
    (PC-DARTS). Excluded candidates ('none' in DARTS) are passed over. Ties break by order.
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
            name: _keep(decision, mixtures[name].values.tolist(), _edge_weights(name, mixtures))
            for name, decision in decisions.items()
            if decision.kind != "edges"
        }


def _edge_weights(name: str, mixtures: Mapping[str, Mixture]) -> list[float] | None:
    edges = mixtures.get(edges_name(name))
    return None if edges is None else edges.values.tolist()


def _keep(decision: Decision, values: list, edge_weights: list[float] | None) -> Kept:
    if decision.kind == "operations":
        return strongest_edges(decision, values, edge_weights)
    order = sorted(_eligible(decision), key=lambda k: -values[k])
    if decision.kind == "choice":
        return decision.candidates[order[0]]
    return tuple(decision.candidates[k] for k in sorted(order[: decision.num_kept]))


def _eligible(decision: Decision) -> list[int]:
    return [k for k, name in enumerate(decision.candidates) if name not in decision.excluded]


def strongest_edges(
    decision: Decision, values: list[list[float]], edge_weights: list[float] | None = None
) -> CellArchitecture:
    """The `num_kept` strongest incoming edges of every node, each with its strongest candidate."""
    best = [max(_eligible(decision), key=lambda k: row[k]) for row in values]
    weights = edge_weights or [1.0] * len(values)
    strength = [row[k] * weight for row, k, weight in zip(values, best, weights, strict=True)]
    kept = []
    for node in decision.nodes:
        incoming = sorted(decision.incoming(node), key=lambda edge: -strength[edge])
        for edge in sorted(incoming[: decision.num_kept]):
            source, target = decision.edges[edge]
            kept.append(KeptEdge(source, target, decision.candidates[best[edge]]))
    return CellArchitecture(tuple(kept), decision.output)
