"""Programs over variables of 0 and 1 and products of two of them, solved by HiGHS.

    maximise    sum_i score_i x_i + sum_jk score_jk y_jk    over x in {0, 1}
    such that   least <= sum_i a_i x_i + sum_jk a_jk y_jk <= most               for each row

Of two choices, each with one x of 1, the products have y_jk >= 0 with sum_k y_jk = x_j and sum_j y_jk = x_k, which for
whole x leaves y_jk = x_j x_k alone. HiGHS (Huangfu and Hall 2018, https://doi.org/10.1007/s12532-017-0130-5) solves it
by `scipy.optimize.milp` with a gap of 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Generic, TypeVar

import numpy

from dnas.system.errors import MissingPackage, UserError

K = TypeVar("K", bound=Hashable)  # names a variable

# A solution that is over a limit by no more than the solver's tolerance is excluded, and the solver is called again, at
# most this many times.
TRIES = 1000
# The programs of searches take a second or two; one that takes this long may take forever.
SECONDS = 300.0


class BinaryProgram(Generic[K]):
    """Variables by name, and rows that they must meet.

    Args:
        variables: names of the x; a pair of them names their product.
    """

    def __init__(self, variables: Iterable[K]):
        self._variables = tuple(variables)
        self._columns: dict[K | tuple[K, K], int] = {key: column for column, key in enumerate(self._variables)}
        self._rows: list[tuple[dict[int, float], float, float]] = []  # (column -> coefficient, least, most)

    def add(self, row: Mapping[Any, float], least: float, most: float) -> None:
        """Require least <= row <= most, where a row has coefficients of variables and of products."""
        self._rows.append(({self._columns[key]: value for key, value in row.items()}, least, most))

    def multiply(self, ours: Sequence[K], theirs: Sequence[K]) -> None:
        """Let there be products of the variables of two choices, if there are none yet."""
        if (ours[0], theirs[0]) in self._columns:
            return
        for pair in product(ours, theirs):
            self._columns[pair] = len(self._columns)
        for one in ours:
            self.add({one: -1.0, **{(one, other): 1.0 for other in theirs}}, 0.0, 0.0)
        for other in theirs:
            self.add({other: -1.0, **{(one, other): 1.0 for one in ours}}, 0.0, 0.0)

    def best(
        self,
        scores: Mapping[Any, float],
        fits: Callable[[Sequence[K]], bool],
        *,
        gap: float = 0.0,
        seconds: float = SECONDS,
    ) -> list[K] | None:
        """The variables that are 1 in the best solution that also fits; None if there is none.

        Args:
            scores: of variables and of products; what is missing counts as 0.
            fits: whether a solution meets all rows exactly, where the solver has a tolerance.
            gap: share of the best sum of scores by which the result may fall short.
            seconds: that the solver may take for one solution.

        Raises:
            MissingPackage: scipy is not installed.
            UserError: the solver has found no best solution in this time.
        """
        for _ in range(TRIES):
            chosen = self._solve(scores, gap, seconds)
            if chosen is None or fits(chosen):
                return chosen
            ones = set(chosen)
            self.add({key: 1.0 if key in ones else -1.0 for key in self._variables}, -math.inf, len(ones) - 1)
        raise AssertionError(f"{TRIES} solutions were over a limit by the solver's tolerance")

    def _solve(self, scores: Mapping[Any, float], gap: float, seconds: float) -> list[K] | None:
        try:
            from scipy.optimize import Bounds, LinearConstraint, milp
            from scipy.sparse import csr_array
        except ImportError as error:
            raise MissingPackage('Budgets need scipy: pip install ".[cli]" in a clone of dnas') from error
        size = len(self._columns)
        entries = [(row, column, x) for row, (line, _, _) in enumerate(self._rows) for column, x in line.items()]
        numbers, places = [x for *_, x in entries], ([row for row, *_ in entries], [column for _, column, _ in entries])
        matrix = csr_array((numbers, places), shape=(len(self._rows), size))
        least, most = ([row[end] for row in self._rows] for end in (1, 2))
        objective = numpy.zeros(size)
        for key, score in scores.items():
            objective[self._columns[key]] = -score
        found: Any = milp(
            objective,
            integrality=numpy.arange(size) < len(self._variables),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(matrix, least, most),  # pyright: ignore[reportArgumentType]
            options={"mip_rel_gap": gap, "time_limit": seconds},
        )
        if found.status == 2:  # infeasible
            return None
        if found.status == 1:  # time
            raise UserError(
                f"The integer program of the budget ({len(self._variables)} choices, {len(self._rows)} conditions) was "
                f"not solved within {seconds:g} seconds: give fewer choices, such as fewer steps of widths, or a "
                "budget in fewer units."
            )
        assert found.status == 0, found.message
        return [key for key, value in zip(self._variables, found.x, strict=False) if value > 0.5]
