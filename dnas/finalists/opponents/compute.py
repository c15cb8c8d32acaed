"""The compute that an opponent may spend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dnas.finalists.contest import Contest
from dnas.system.atomic import cannot_write, write_text
from dnas.system.errors import UserError
from dnas.system.reading import read_text


class Compute:
    """The compute that an opponent may spend; a training that has begun is finished, in the opponent's favour.

    Everything since this was made counts: proposals, scores, trainings and judgements, and trainings of an earlier call
    that are read from their folders. What was spent each time that the opponent asked is kept in a file, so that a call
    that goes on with another is told the same, and decides the same.

    Args:
        limit: in seconds of `clock`.
        contest: counts trainings.
        clock: `dnas.system.compute.compute_clock`.
        kept: the file; None where nothing goes on.

    Raises:
        UserError: the file is damaged.
    """

    def __init__(self, limit: float, contest: Contest, clock: Callable[[], float], kept: Path | None = None) -> None:
        self.limit = limit
        self._contest = contest
        self._clock = clock
        self._started = clock()
        self._kept = kept
        self._answers = [] if kept is None else _read(kept)
        self._num_asked = 0

    @property
    def spent(self) -> float:
        """Seconds so far; never less than what was told before."""
        besides = self._clock() - self._started - self._contest.compute_now
        return max(self._contest.compute + max(besides, 0.0), *self._answers[: self._num_asked], 0.0)

    def is_left(self, share: float = 1.0) -> bool:
        """Whether less than this share of the limit is spent."""
        if self._num_asked == len(self._answers):
            self._answers.append(self.spent)
            self._keep(self._answers[-1])
        self._num_asked += 1
        return self._answers[self._num_asked - 1] < share * self.limit

    def _keep(self, spent: float) -> None:
        if self._kept is None:
            return
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            with self._kept.open("a", encoding="utf-8") as file:
                file.write(f"{spent!r}\n")
        except OSError as error:
            raise cannot_write(self._kept, error) from error


def _read(path: Path) -> list[float]:
    """The numbers of a file, one a line; a last line that was cut short by a kill is removed from it."""
    if not path.exists():
        return []
    text = read_text(path)
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(path, whole)
    try:
        return [float(line) for line in whole.splitlines()]
    except ValueError as error:
        raise UserError(f"{path} must hold a number a line: {error}. Move its folder away.") from error
