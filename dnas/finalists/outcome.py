"""The end of a contest of finalists: the winner, all others, and the same in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dnas.finalists.contest import Finalist
from dnas.system.words import aligned, number_of, readable_time
from dnas.task.words import called, shown

# What the figures of finalists are called: of several that are compared the best is partly the luckiest.
OPTIMISTIC = "selected, optimistic"


@dataclass(frozen=True)
class Outcome:
    """The end of a contest.

    Args:
        winner: the finalist that is taken.
        equals: finalists of the last rung that cannot be told apart from the best one, which comes first; the winner is
            the cheapest of them. Empty where nothing was trained to the end.
        finalists: all of them.
        compute: seconds of compute of all trainings and judgements (`dnas.system.compute`).
        seconds: the same by the clock.
        notes: what a person should know, in sentences.
    """

    winner: Finalist
    equals: tuple[Finalist, ...]
    finalists: tuple[Finalist, ...]
    compute: float
    seconds: float
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """The winner with its source and its figure, what it beat, and the notes."""
        lines = [*self.notes, f"Taken: {self.winner.name} ({self.winner.source}){self._figure()}."]
        if len(self.equals) > 1:
            others = ", ".join(f"{one.name} ({one.source})" for one in self.equals if one is not self.winner)
            lines.append(f"It cannot be told apart from {others} by the samples that judged them{self._why()}.")
        if self.finalists:
            lines.append(
                f"{number_of(len(self.finalists), 'finalist')} took {readable_time(self.seconds)} "
                f"({self.compute:.0f} s of compute)."
            )
        return "\n".join(lines)

    def _why(self) -> str:
        cheapest = self.winner.flops == min(one.flops for one in self.equals)
        return f", and none of these is cheaper ({self.winner.flops:,} FLOPs)" if cheapest else ", and was the best"

    def _figure(self) -> str:
        if not self.winner.judgements:
            return ", untrained"
        last = self.winner.last
        return f", {called(last.metric)} {shown(last.metric, last.value)} on held-out samples ({OPTIMISTIC})"

    def table(self) -> str:
        """All finalists with their figure after each rung, as aligned text."""
        # Where all diverge in the first rung, it is in the table too.
        num_rungs = max((len(one.judgements) or bool(one.failure) for one in self.finalists), default=0)
        metric = next((called(one.last.metric) for one in self.finalists if one.judgements), "")
        head = ("", "proposed by", "parameters", "FLOPs", *(f"rung {rung + 1}" for rung in range(num_rungs)))
        rows = [
            (
                str(one.number),
                one.source,
                f"{one.parameters:,}",
                f"{one.flops:,}",
                *(shown(j.metric, j.value) for j in one.judgements),
                *("diverged" if one.failure and i == 0 else "" for i in range(num_rungs - len(one.judgements))),
            )
            for one in self.finalists
        ]
        caption = f"{metric} on held-out samples after each rung ({OPTIMISTIC})" if metric else "nothing was judged"
        return "\n".join([caption, *aligned([head, *rows], "<" * len(head))])

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file; which samples were recognised stays with each judgement."""
        return {
            "winner": self.winner.number,
            "source": self.winner.source,
            "figures": OPTIMISTIC,
            "equals": [one.number for one in self.equals],
            "compute": self.compute,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "finalists": [
                {
                    "number": one.number,
                    "source": one.source,
                    "parameters": one.parameters,
                    "flops": one.flops,
                    "failure": one.failure,
                    "rungs": [
                        {"metric": j.metric, "better": j.better, "value": j.value, "loss": j.loss}
                        for j in one.judgements
                    ],
                    "architecture": one.architecture.to_data(),
                }
                for one in self.finalists
            ],
        }
