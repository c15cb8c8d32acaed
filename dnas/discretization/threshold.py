"""Keep what is strong on its own, for gates that do not compete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dnas.architecture import CellArchitecture, Kept, KeptEdge
from dnas.decision import Decision
from dnas.discretization.argmax import Argmax
from dnas.discretization.base import Discretization, Evaluate, Train
from dnas.mixture import Mixture


@dataclass(frozen=True)
class Threshold(Discretization):
    """On cells, every operation above `threshold`, at most `num_kept` into each node, the strongest first.

    FairDARTS (Chu et al. 2020, https://arxiv.org/abs/1911.12126, section 4.3 and official code): threshold 0.85, two
    per node; two operations of one edge may both stay. Where nothing passes, a node keeps its single strongest
    operation (there the paper leaves the node without input; a network needs one). Input choices keep what passes,
    at least the strongest; other choices keep their strongest candidate.

    Args:
        threshold: of the expected mixture, in [0, 1].
    """

    threshold: float = 0.85

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1]; got {self.threshold}.")

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
                kept[name] = self._cell(decision, mixtures[name].values.tolist())
            elif decision.kind == "inputs":
                kept[name] = self._inputs(decision, mixtures[name].values.tolist())
        return kept

    def _cell(self, decision: Decision, values: list[list[float]]) -> CellArchitecture:
        edges = []
        for node in decision.nodes:
            options = [
                (values[edge][k], edge, k)
                for edge in decision.incoming(node)
                for k, name in enumerate(decision.candidates)
                if name not in decision.excluded
            ]
            for _, edge, k in sorted(self._passing(options, decision.num_kept), key=lambda option: option[1:]):
                source, target = decision.edges[edge]
                edges.append(KeptEdge(source, target, decision.candidates[k]))
        return CellArchitecture(tuple(edges), decision.output)

    def _inputs(self, decision: Decision, values: list[float]) -> tuple[str, ...]:
        passing = self._passing([(value, 0, k) for k, value in enumerate(values)], decision.num_kept)
        return tuple(decision.candidates[k] for k in sorted(k for _, _, k in passing))

    def _passing(self, options: list[tuple[float, int, int]], limit: int | None) -> list[tuple[float, int, int]]:
        """At most `limit` options above the threshold, the strongest first; the strongest one where none is."""
        order = sorted(options, key=lambda option: -option[0])
        return [option for option in order if option[0] > self.threshold][:limit] or order[:1]
