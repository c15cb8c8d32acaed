"""`dnas front`: architectures for a row of budgets from one search, without training its supernet again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.cost.bounds import Bounds, Range, amount, bounds_of, decompositions
from dnas.cost.budget import Budget, Limit, Unit
from dnas.cost.layout import allowed
from dnas.data.sample_kind import SampleKind
from dnas.jobs.budget import activation_bytes, delivered_network, stamped
from dnas.jobs.job import Job
from dnas.jobs.milliseconds import table_of
from dnas.method.discretization.base import Trying
from dnas.method.discretization.within import WithinBudget, program_of, rules_of
from dnas.picture.scatter import Point, scatter
from dnas.searching.final_mixtures import final_mixtures
from dnas.system.atomic import write_text
from dnas.system.errors import UserError
from dnas.system.words import aligned
from dnas.training.row import Row

FOLDER = "front"  # in the folder of the search


@dataclass(frozen=True)
class Place:
    """An architecture on the front.

    Args:
        limit: the budget.
        most: the same in its unit.
        costs: of the architecture, by unit: that of the budget, FLOPs and parameters.
        activation_bytes: memory of its network's activations at their peak, for one image.
        architecture: the best within the budget.
        trained: how good its network is; None where it was not asked for.
    """

    limit: Limit
    most: float
    costs: Mapping[Unit, float]
    activation_bytes: int
    architecture: Architecture
    trained: Row | None = None

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {
            "limit": str(self.limit),
            "most": self.most,
            "costs": dict(self.costs),
            "activation_bytes": self.activation_bytes,
            "trained": None if self.trained is None else self.trained.to_data(),
        }


@dataclass(frozen=True)
class Front:
    """The architectures for a row of budgets.

    Args:
        unit: of the budgets.
        places: from the smallest budget to the largest.
    """

    unit: Unit
    places: tuple[Place, ...]

    def trained(self, numbers: Sequence[int], train: Callable[[str, Architecture], Row]) -> Front:
        """The front with some of its networks trained.

        Args:
            numbers: from 1 on; budgets that have the same architecture share one training.
            train: trains a network under a name.

        Raises:
            UserError: there is no such number.
        """
        named = {one.to_json(): name for name, one in self.to_train(numbers).items()}
        rows: dict[str, Row] = {}
        places = list(self.places)
        for number in sorted(set(numbers)):
            place = places[number - 1]
            key = place.architecture.to_json()
            if key not in rows:
                rows[key] = train(named[key], place.architecture)
            places[number - 1] = replace(place, trained=rows[key])
        return replace(self, places=tuple(places))

    def to_train(self, numbers: Sequence[int]) -> dict[str, Architecture]:
        """The architectures of these numbers, each once, by the names of their trainings.

        Raises:
            UserError: there is no such number.
        """
        for number in numbers:
            if not 1 <= number <= len(self.places):
                raise UserError(f"--retrain {number}: the front has the numbers 1 to {len(self.places)}.")
        found: dict[str, tuple[str, Architecture]] = {}
        for place in (self.places[number - 1] for number in sorted(set(numbers))):
            name = f"{self.unit}_{place.costs[self.unit]:.0f}"
            found.setdefault(place.architecture.to_json(), (name, place.architecture))
        return dict(found.values())

    def table(self) -> str:
        """The table as text."""
        units = list(self.places[0].costs)
        rows = [["", "budget", "at most", *units, "activations", "used", "validation", "test"]]
        for number, place in enumerate(self.places, start=1):
            row = place.trained
            values = ["", ""] if row is None else [_value(row, row.validation), _value(row, row.test)]
            costs = [amount(place.costs[unit]) for unit in units]
            used = f"{place.costs[self.unit] / place.most:.1%}"
            memory = f"{place.activation_bytes / 1e3:.1f} kB"
            rows.append([str(number), str(place.limit), amount(place.most), *costs, memory, used, *values])
        return "\n".join(aligned(rows, "><>" + ">" * len(units) + ">>>>"))

    def picture(self) -> str:
        """Cost and, where networks were trained, what they reach on held-out images; numbered as the table, as SVG."""
        trained = [(n, place, place.trained) for n, place in enumerate(self.places, 1) if place.trained is not None]
        if trained:
            points = [Point(place.costs[self.unit], row.validation, str(number)) for number, place, row in trained]
            y_axis = f"{trained[0][2].metric}, held-out images"
            return scatter(points, title="What a budget buys", x_axis=self.unit, y_axis=y_axis)
        points = [Point(place.most, place.costs[self.unit], str(n)) for n, place in enumerate(self.places, 1)]
        return scatter(points, title="Budgets and costs", x_axis=f"budget, {self.unit}", y_axis=f"cost, {self.unit}")

    def write(self, run: Run) -> None:
        """Write table, data, picture and architectures into RUN/front/UNIT."""
        folder = run.child(FOLDER).child(self.unit)
        folder.save_json(FOLDER, [place.to_data() for place in self.places])
        write_text(folder.path / "front.txt", self.table() + "\n")
        write_text(folder.path / "front.svg", self.picture())
        for number, place in enumerate(self.places, start=1):
            place.architecture.save(folder.path / f"{number}.json")


def find_front(run: Run, job: Job, unit: Unit, limits: Sequence[str], points: int, kind: SampleKind) -> Front:
    """The best architecture for each of some budgets, by the mixtures with which the search has ended.

    Args:
        run: folder of a finished search.
        job: its job, with the sizes of its retraining.
        unit: of the budgets.
        limits: such as '50%' or '300k'; none for `points` evenly spaced from the cheapest to the costliest network.
        points: how many budgets there are then; 2 or more.
        kind: what the samples are like.

    Raises:
        UserError: a budget cannot be met, the search is not finished, or its discretization evaluates the supernet.
    """
    rule = job.search.discretization
    if isinstance(rule, Trying) or not job.search.relaxation.trains_alphas:
        raise UserError(
            f"dnas front reads the mixtures of a search, but {type(rule).__name__} decides by evaluating the supernet: "
            "search once for each budget (dnas search --budget)."
        )
    if points < 2:
        raise UserError(f"points must be 2 or more; got {points}.")
    delivered = delivered_network(job, kind)
    decisions = delivered.decisions
    program = program_of(decisions, allowed(decisions), rules_of(rule))
    units: tuple[Unit, ...] = tuple(dict.fromkeys((unit, "flops", "parameters")))
    predicted = table_of(run, delivered).cost if unit == "milliseconds" else None
    costs = decompositions(delivered, Budget(tuple(f"{one}<=100%" for one in units)), predicted)
    (whole,) = bounds_of(Budget((f"{unit}<=100%",)), costs, program, delivered).ranges
    ended = final_mixtures(run, job.search, decisions)
    places = []
    for own in sorted(_ranges(whole, limits, points), key=lambda one: one.most):
        within = WithinBudget(rule, Bounds(program, [own]), is_pushed=ended.is_pushed)
        kept = within(decisions, ended.mixtures, evaluate=_never, train=_never)
        spent: dict[Unit, float] = {one: cost.of(kept, decisions) for one, cost in costs.items()}
        memory = activation_bytes(delivered, kept)
        places.append(Place(own.limit, own.most, spent, memory, stamped(job, kept)))
    return Front(unit, tuple(places))


def _ranges(whole: Range, limits: Sequence[str], points: int) -> list[Range]:
    unit = whole.limit.unit
    if limits:
        found = [replace(whole, limit=Limit.parse(f"{unit}<={number}")) for number in limits]
    else:
        step = (whole.largest - whole.least) / (points - 1)
        numbers = [whole.least + step * index for index in range(points - 1)] + [whole.largest]
        found = [replace(whole, limit=Limit(unit, number, False)) for number in numbers]
    for one in found:
        one.check()
    return found


def _never(*arguments: object) -> NoReturn:
    raise AssertionError("discretizations by strength neither evaluate nor train")


def _value(row: Row, value: float) -> str:
    return f"{value:.2%}" if row.metric == "top1" else f"{value:.4g}"
