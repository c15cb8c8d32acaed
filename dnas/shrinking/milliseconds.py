"""Milliseconds of smaller networks, predicted from operators that are measured at some widths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.batch import tensors_in
from dnas.cost.flops import Inputs
from dnas.cost.stopwatch import SECONDS, TURNS, Stopwatch, Work, measured
from dnas.shrinking.costs import Names
from dnas.shrinking.expected import own_values
from dnas.shrinking.operations import Operation, OperationTimes, Timed
from dnas.shrinking.program import Program
from dnas.shrinking.searchable import Narrowable
from dnas.shrinking.time_table import TimeTable
from dnas.shrinking.trace import copied
from dnas.system.errors import UserError
from dnas.training.evaluate import call

# Widths of a decision at which operators are measured, the first and the last among them; linear between these.
KNOTS = 4
# Random networks that are measured: the correction is fitted on the first, and on the largest and the smallest network
# of all, so that what is out of reach is not extrapolated; the error is told of the others.
FITTED, TESTED = 5, 5
# Of so many random assignments of widths the one is taken that shows most of what is still missing.
_TRIES = 8


@dataclass(frozen=True)
class Predicted:
    """What a table predicts, and how near that comes.

    Args:
        table: of milliseconds.
        whole: milliseconds of the model as it is, measured.
        error: mean of |predicted - measured| / measured over networks that nothing was fitted on.
    """

    table: TimeTable
    whole: float
    error: float

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {"table": self.table.to_data(), "whole": self.whole, "error": self.error}

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Predicted:
        """What `to_data` gave."""
        return Predicted(TimeTable.from_data(data["table"]), data["whole"], data["error"])


def whole_work(network: nn.Module, example: Inputs) -> Work:
    """One forward pass over the example, here, with as many threads as torch uses; on one thread its CPU time."""
    tensors = tuple(tensors_in(example if isinstance(example, Tensor | dict) else list(example)))
    return Stopwatch(threads=torch.get_num_threads()).network(_Called(network, example), tensors)


def whole_milliseconds(network: nn.Module, example: Inputs) -> float:
    """Milliseconds of `whole_work`."""
    return measured(whole_work(network, example))


def operator_work(operator: nn.Module, tensors: tuple[Tensor, ...]) -> Timed:
    """One call of an operator, likewise."""
    return Stopwatch(threads=torch.get_num_threads()).part(operator, tensors)


def seconds_to_predict(searchable: Narrowable, example: Inputs) -> float:
    """Seconds that `predicted_milliseconds` takes at most, if each operator runs for a turn's least time."""
    operators = OperationTimes(operator_work).of(copied(searchable.model), example)
    return len(operators) * KNOTS**2 * TURNS * SECONDS


class _Called(nn.Module):
    """A network with its inputs."""

    def __init__(self, network: nn.Module, example: Inputs) -> None:
        super().__init__()
        self.network = network
        self._example = example

    def forward(self, *tensors: Tensor) -> Any:
        return call(self.network, self._example)


def predicted_milliseconds(
    searchable: Narrowable,
    program: Program,
    example: Inputs,
    *,
    delivered: Callable[[nn.Module], nn.Module] = lambda network: network,
    operator: Callable[[nn.Module, tuple[Tensor, ...]], Timed] = operator_work,
    whole: Callable[[nn.Module, Inputs], Timed] = whole_work,
    seed: int = 0,
) -> Predicted:
    """Measures the operators of the model at some widths, each pair of widths that meets in one, and whole networks.

        ms(v) = constant + scale * sum over operators of (t_i(v_a, v_b) + r)

    where t_i is measured by itself, with the tensors that a network of these widths gives it, and r is what a network
    takes beyond its operators, in equal parts. Constant and scale are fitted on whole networks by least squares, since
    an operator that is repeated finds its tensors in the cache. All that is measured takes turns, so that what disturbs
    the machine for a while disturbs all alike.

    Args:
        searchable: the model.
        program: its decisions and values.
        example: inputs, whose time it is.
        delivered: puts a network into the form in which it will be delivered, such as its memory format.
        operator: what measures an operator.
        whole: what measures a network.
        seed: of the networks that are measured.

    Raises:
        UserError: which operators the model runs changes with its widths, or with the kind of a convolution.
    """
    if searchable.structure.separables:
        raise UserError(
            "Milliseconds cannot be predicted where convolutions may become depthwise-separable: give a budget in "
            "flops or parameters, or leave separable=True out of the rules."
        )
    networks, times = _Networks(searchable, example, delivered), OperationTimes(operator)
    generator = torch.Generator().manual_seed(seed)
    options = {name: own_values(program, name) for name in program.values}
    tables = _Tables(networks, times, program, {name: _knots(some) for name, some in options.items()}, generator)
    drawn = [_drawn(searchable, options, generator) for _ in range(FITTED + TESTED)]
    smallest = searchable.consistent({name: min(some) for name, some in options.items()})
    wholes = [whole(networks.of(values), example) for values in (searchable.largest, smallest, *drawn)]
    for _ in range(TURNS):
        for work in (*times.works.values(), *wholes):
            work.turn()
    original, least, *taken = (work.milliseconds for work in wholes)
    table = tables.table(original)
    fitted = [table.of(values) for values in (searchable.largest, smallest, *drawn[:FITTED])]
    table = table.corrected(*_line(fitted, [original, least, *taken[:FITTED]]))
    errors = [abs(table.of(v) - m) / m for v, m in zip(drawn[FITTED:], taken[FITTED:], strict=True)]
    return Predicted(table, original, mean(errors))


class _Networks:
    """Networks of the model by the values of its decisions; which channels they keep does not matter here."""

    def __init__(self, searchable: Narrowable, example: Inputs, delivered: Callable[[nn.Module], nn.Module]) -> None:
        self.searchable = searchable
        self.example = example
        self._delivered = delivered
        self._ranking = {group.name: range(len(group)) for group in searchable.structure.groups}

    def of(self, values: Mapping[str, int]) -> nn.Module:
        return self._delivered(self.searchable.derive(self.searchable.selection(values, self._ranking)))


class _Tables:
    """Has networks run until every pair of knots that meets in an operator was seen."""

    def __init__(
        self,
        networks: _Networks,
        times: OperationTimes,
        program: Program,
        knots: Mapping[str, Sequence[int]],
        generator: torch.Generator,
    ) -> None:
        self._networks = networks
        self._times = times
        self._program = program
        self._knots = knots
        self._generator = generator
        structure = networks.searchable.structure
        self._groups = [part.name for part in (*structure.groups, *structure.kernels)]
        self._blocks = [block.name for block in structure.blocks]
        self._largest = networks.searchable.largest
        self._base = self._operations({})
        self._depends = self._dependences()
        self._operations_seen = self._seen()

    def table(self, whole: float) -> TimeTable:
        """The table, once all operators were measured.

        Args:
            whole: milliseconds of the model as it is.
        """
        beyond = whole - sum(map(self._times.milliseconds, self._base))
        each = max(beyond, 0.0) / max(len(self._base), 1)
        seen = {at: self._times.milliseconds(operation) for at, operation in self._operations_seen.items()}
        tables: dict[Names, dict[tuple[int, ...], float]] = defaultdict(lambda: defaultdict(float))
        for index, operation in enumerate(self._base):
            names = self._names(index)
            if len(names) <= 2:
                for at in product(*(self._knots[name] for name in names)):
                    tables[names][at] += seen[index, tuple(zip(names, at, strict=True))] + each
                continue
            # Three or more decisions: what each does alone.
            always = tuple(name for name in names if name in self._blocks)
            tables[always][(1,) * len(always)] += self._times.milliseconds(operation) + each
            for name in names:
                if name not in self._blocks:
                    for knot in self._knots[name]:
                        at = tuple(sorted([*((block, 1) for block in always), (name, knot)]))
                        change = seen[index, ((name, knot),)] - self._times.milliseconds(operation)
                        tables[tuple(one for one, _ in at)][tuple(value for _, value in at)] += change
        constant = sum(tables.pop((), {}).values())
        return TimeTable(constant, self._knots, {names: dict(table) for names, table in tables.items()})

    def _names(self, index: int) -> Names:
        """The decisions that an operator's time depends on, with the block that it is in unless one tells that."""
        names, block = self._depends[index], self._base[index].block
        told = block is None or any(self._program.inside.get(name) == block for name in names)
        return tuple(sorted(names if told else (*names, str(block))))

    def _seen(self) -> dict[tuple[int, tuple[tuple[str, int], ...]], Operation]:
        """Operators, by index and by the values of what they depend on."""
        wanted = {
            tuple(zip(names, at, strict=True))
            for names in self._pairs()
            for at in product(*(self._knots[name] for name in names))
        }
        seen: dict[tuple[int, tuple[tuple[str, int], ...]], Operation] = {}
        alone = {
            name for index in range(len(self._base)) if len(self._names(index)) > 2 for name in self._depends[index]
        }
        for name in sorted(alone):
            for knot in self._knots[name]:
                self._note(seen, {name: knot}, alone=True)
        while wanted:
            chosen = self._assignment(wanted)
            self._note(seen, chosen, alone=False)
            wanted = {some for some in wanted if not _within(some, chosen)}
        return seen

    def _pairs(self) -> set[Names]:
        """Every two groups that meet in an operator, and every group alone."""
        found: set[Names] = {(name,) for name in self._groups}
        for index in range(len(self._base)):
            if len(self._names(index)) <= 2:
                found |= set(combinations(self._depends[index], 2))
        return found

    def _assignment(self, wanted: set[tuple[tuple[str, int], ...]]) -> dict[str, int]:
        """Knots for all groups that show something wanted, and much of the rest."""
        first = dict(min(wanted))
        drawn = [{**self._random_knots(), **first} for _ in range(_TRIES)]
        return max(drawn, key=lambda chosen: sum(_within(some, chosen) for some in wanted))

    def _random_knots(self) -> dict[str, int]:
        def draw(knots: Sequence[int]) -> int:
            return knots[int(torch.randint(len(knots), (), generator=self._generator))]

        return {name: draw(self._knots[name]) for name in self._groups}

    def _note(self, seen: dict, chosen: Mapping[str, int], *, alone: bool) -> None:
        """Run a network of these widths and blocks that all stay; the others are as large as they can be."""
        values = {**self._largest, **chosen}
        for index, operation in enumerate(self._operations(chosen)):
            if alone:
                seen.setdefault((index, tuple(chosen.items())), operation)
            elif len(self._names(index)) <= 2:
                at = tuple((name, values[name]) for name in self._names(index))
                seen.setdefault((index, at), operation)

    def _operations(self, chosen: Mapping[str, int]) -> list[Operation]:
        network = self._networks.of({**self._largest, **chosen})
        return self._times.of(network, self._networks.example, self._blocks)

    def _dependences(self) -> list[tuple[str, ...]]:
        """For each operator, the groups whose width changes what it is given."""
        found: list[list[str]] = [[] for _ in self._base]
        for name in self._groups:
            smaller = self._operations({name: self._knots[name][0]})
            if [one.name for one in smaller] != [one.name for one in self._base]:
                raise UserError(
                    "Milliseconds of this model cannot be predicted: which operators it runs changes with the width of "
                    f"{name}. Give a budget in flops or parameters, or keep {name} by a rule."
                )
            for index, (ours, theirs) in enumerate(zip(self._base, smaller, strict=True)):
                if ours.signature != theirs.signature:
                    found[index].append(name)
        return [tuple(sorted(names)) for names in found]


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Constant and slope of the least squares y = constant + slope x; a slope of 1 where the x say nothing."""
    spread = sum((one - mean(x)) ** 2 for one in x)
    slope = sum((a - mean(x)) * (b - mean(y)) for a, b in zip(x, y, strict=True)) / spread if spread else 1.0
    slope = slope if slope > 0 else 1.0
    return mean(y) - slope * mean(x), slope


def _within(some: Sequence[tuple[str, int]], chosen: Mapping[str, int]) -> bool:
    return all(chosen[name] == value for name, value in some)


def _knots(values: Sequence[int]) -> tuple[int, ...]:
    """At most `KNOTS` of the values, evenly spread; of a block only that it stays."""
    values = [value for value in values if value]
    if len(values) <= KNOTS:
        return tuple(values)
    return tuple(values[round(place * (len(values) - 1) / (KNOTS - 1))] for place in range(KNOTS))


def _drawn(searchable: Narrowable, options: Mapping[str, Sequence[int]], generator: torch.Generator) -> dict[str, int]:
    values = {name: some[int(torch.randint(len(some), (), generator=generator))] for name, some in options.items()}
    return searchable.consistent(values)
