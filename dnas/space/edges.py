"""What the edges of a supernet's cells do, and how these cells are built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import nn

from dnas.core.cell import Cell
from dnas.core.decision import Decision, edges_name
from dnas.core.progress import Scheduled
from dnas.core.schedule import Schedule
from dnas.space.edge_cell import EdgeCell
from dnas.space.ops import Form, operation
from dnas.space.partial import PartialChannels
from dnas.space.skip_dropout import SkipDropout
from dnas.system.errors import UserError


@dataclass(frozen=True)
class EdgeSettings:
    """What the edges of a supernet's cells do besides mixing operations; evaluation networks do not depend on it.

    Args:
        edge_weights: whether each edge has a weight of its own (PC-DARTS, Xu et al. 2020).
        partial_channels: K: the operations see 1 / K of the channels (PC-DARTS).
        auxiliary_skip: beta, weight of a skip beside each edge's operations (DARTS-, Chu et al. 2021); None for no
            skip.
        skip_dropout: rate of the dropout after skip connections (P-DARTS, Chen et al. 2019); None for no dropout.
        drop_path: rate at which edges are dropped (RobustDARTS, Zela et al. 2020); None for no drop-path.
        running_statistics: whether batch norm keeps running statistics for evaluation.

    Raises:
        UserError: there are no parts, or a rate is outside [0, 1).
    """

    edge_weights: bool = False
    partial_channels: int = 1
    auxiliary_skip: Schedule | None = None
    skip_dropout: Schedule | None = None
    drop_path: Schedule | None = None
    running_statistics: bool = False

    def __post_init__(self) -> None:
        if self.partial_channels < 1:
            raise UserError(
                f"partial_channels must be 1 (all channels) or the number of parts; got {self.partial_channels}."
            )
        for name, rate in (("skip_dropout", self.skip_dropout), ("drop_path", self.drop_path)):
            if rate is not None:
                _check_rate(name, rate)

    @staticmethod
    def of(space: object) -> EdgeSettings:
        """Those of a space, which has them as settings of the same names."""
        return EdgeSettings(*(getattr(space, field.name) for field in fields(EdgeSettings)))

    @property
    def only_mix(self) -> bool:
        """Whether a plain `Cell` is enough, with or without weights of the edges."""
        return self.partial_channels == 1 and not (self.auxiliary_skip or self.skip_dropout or self.drop_path)

    def formed(self, form: Form) -> Form:
        """The form of the batch norm with these settings."""
        return replace(form, running=form.running or self.running_statistics)

    def with_edges(self, decision: Decision) -> dict[str, Decision]:
        """The decisions of a cell by name: its operations and, if edges have weights, its edges."""
        found = {decision.name: decision}
        if self.edge_weights:
            name = edges_name(decision.name)
            found[name] = Decision(name, "edges", tuple(f"{i}->{j}" for i, j in decision.edges), decision.edges)
        return found


def _check_rate(name: str, rate: Schedule) -> None:
    values = rate(torch.linspace(0, 1, 101))
    if not bool(((values >= 0) & (values < 1)).all()):
        raise UserError(
            f"{name} is the probability of dropping something, in [0, 1); {rate} goes from {values.min().item():g} to "
            f"{values.max().item():g}."
        )


class CellBuilder:
    """Builds the cells of one supernet, which share the values that change with the progress.

    Args:
        settings: what edges do.
        form: form of the batch norm.
    """

    def __init__(self, settings: EdgeSettings, form: Form):
        self.settings = settings
        self.form = settings.formed(form)
        self.auxiliary_weight, self.skip_dropout, self.drop_path = (
            None if schedule is None else Scheduled(schedule)
            for schedule in (settings.auxiliary_skip, settings.skip_dropout, settings.drop_path)
        )

    def cell(self, decision: Decision, channels: int, *, num_inputs: int, strides: Sequence[int]) -> Cell:
        """A cell for this decision.

        Args:
            decision: the decision of the cell's edges, of kind 'operations'.
            channels: number of channels of its states.
            num_inputs: number of input states.
            strides: stride of each edge.

        Raises:
            UserError: the channels cannot be divided into equal parts.
        """
        width = self._width(channels)
        candidates: list[Mapping[str, nn.Module]] = [
            {name: self._candidate(name, width, stride) for name in decision.names(row)}
            for row, stride in enumerate(strides)
        ]
        if self.settings.only_mix:
            return Cell(
                decision.name,
                decision.edges,
                candidates,
                num_inputs=num_inputs,
                output=decision.output,
                num_kept=decision.num_kept,
                excluded=decision.excluded,
                edge_weights=self.settings.edge_weights,
                own_candidates=bool(decision.on_edges),
            )
        weighs_skips = self.auxiliary_weight is not None
        return EdgeCell(
            decision.name,
            decision.edges,
            candidates,
            num_inputs=num_inputs,
            output=decision.output,
            strides=strides,
            num_kept=decision.num_kept,
            excluded=decision.excluded,
            edge_weights=self.settings.edge_weights,
            own_candidates=bool(decision.on_edges),
            partial=PartialChannels(parts) if (parts := self.settings.partial_channels) > 1 else None,
            auxiliary=[operation("skip_connect", width, s, self.form) for s in strides] if weighs_skips else None,
            auxiliary_weight=self.auxiliary_weight,
            drop_path=self.drop_path,
        )

    def _width(self, channels: int) -> int:
        """Number of channels that the operations see.

        Raises:
            UserError: the channels cannot be divided into equal parts.
        """
        parts = self.settings.partial_channels
        if channels % parts:
            raise UserError(
                f"partial_channels={parts} cuts the channels of a cell into {parts} equal parts, but there are "
                f"{channels}: choose channels that are a multiple of {parts}."
            )
        return channels // parts

    def _candidate(self, name: str, channels: int, stride: int) -> nn.Module:
        if name == "skip_connect" and stride == 1 and self.skip_dropout is not None:
            return SkipDropout(self.skip_dropout)
        return operation(name, channels, stride, self.form)
