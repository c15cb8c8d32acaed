"""Keep few skip connections in a cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dnas.core.architecture import CellArchitecture, Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.method.discretization.argmax import Argmax, edge_weights
from dnas.method.discretization.base import Discretization, Evaluate, Train
from dnas.system.accepted import accept
from dnas.system.errors import UserError


@dataclass(frozen=True)
class LimitedSkips(Discretization):
    """The choice of `rule`, with at most `most` skip connections in a cell (P-DARTS, Chen et al. 2019, section 3.3).

    As long as there are more, the weakest kept one counts as 0 and `rule` is asked again; the next strongest operation
    or edge takes its place (https://arxiv.org/abs/1904.12760; official code chenxin061/pdarts, `delete_min_sk_prob`,
    which limits only the normal cell). The weakest has the smallest product of its mixture weight and, if edges have
    weights, the weight of its edge; ties go to the first edge. If a node can keep nothing but skip connections, more of
    them stay.

    Args:
        rule: a discretization by strength.
        candidate: name of the operation that is limited.
        most: largest number of these operations that a cell may keep; 0 or more.
        decisions: names of the cells that are limited.
    """

    rule: Discretization = Argmax()
    candidate: str = "skip_connect"
    most: int = 2
    decisions: tuple[str, ...] = ("normal",)

    def __post_init__(self) -> None:
        accept(self)
        if self.most < 0:
            raise UserError(f"most must be at least 0; got {self.most}.")
        if not isinstance(self.rule, Discretization):  # a recipe's parser leaves a bare name in here as it is
            raise UserError(
                f"rule must be a discretization; got {self.rule!r}; in a recipe, {{class_path: {self.rule}}}."
            )
        if self.rule.needs_training:
            raise UserError(
                f"LimitedSkips asks its rule several times, with changed strengths, so it must not train or evaluate; "
                f"got {type(self.rule).__name__}: use Argmax or Threshold."
            )

    def __call__(
        self,
        decisions: Mapping[str, Decision],
        mixtures: Mapping[str, Mixture],
        *,
        evaluate: Evaluate,
        train: Train,
    ) -> dict[str, Kept]:
        self.check(decisions)
        mixtures = dict(mixtures)
        while True:
            kept = self.rule(decisions, mixtures, evaluate=evaluate, train=train)
            changes = {
                name: weaker
                for name in self.decisions
                if (weaker := self._weaker(decisions[name], kept[name], mixtures))
            }
            if not changes:
                return kept
            mixtures |= changes

    def _weaker(self, decision: Decision, kept: Kept, mixtures: Mapping[str, Mixture]) -> Mixture | None:
        """The cell's mixture without its weakest skip connection; None if none has to be removed, or none can be."""
        assert isinstance(kept, CellArchitecture)
        skips = [decision.edges.index((e.source, e.target)) for e in kept.edges if e.operation == self.candidate]
        place = {edge: decision.names(edge).index(self.candidate) for edge in skips}
        values, weights = mixtures[decision.name].values, edge_weights(decision, mixtures)
        strength = {edge: values[edge, place[edge]].item() * weights[edge] for edge in skips}
        strong = [edge for edge in skips if strength[edge] > 0]
        if len(skips) <= self.most or not strong:
            return None
        weakest = min(strong, key=lambda edge: strength[edge])
        values = values.clone()
        values[weakest, place[weakest]] = 0.0
        return mixtures[decision.name].with_values(values)

    def check(self, decisions: Mapping[str, Decision]) -> None:
        """Check that these decisions include the limited cells, and that these have the candidate.

        Raises:
            UserError: names what is missing, and what there is.
        """
        cells = {name: decision for name, decision in decisions.items() if decision.kind == "operations"}
        for name in self.decisions:
            if name not in cells or self.candidate not in _names(cells[name]):
                found = {cell: list(_names(decision)) for cell, decision in cells.items()}
                raise UserError(
                    f"LimitedSkips limits {self.candidate!r} in cell {name!r}, which this model does not have; "
                    f"its cells and their candidates: {found}. Set decisions and candidate to what is there."
                )


def _names(decision: Decision) -> dict[str, None]:
    """The names of a cell's operations, each once, in order."""
    return dict.fromkeys(name for row in range(decision.num_rows) for name in decision.names(row))
