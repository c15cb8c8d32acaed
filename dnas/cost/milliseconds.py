"""Milliseconds of a delivered network, predicted from measured candidates, as a table that can be handed over."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from dnas.core.architecture import Kept
from dnas.cost.candidates import candidate_costs
from dnas.cost.counts import remembered
from dnas.cost.decomposition import Decomposition, Table, decompose
from dnas.cost.delivered import Delivered
from dnas.cost.flops import call_arguments
from dnas.cost.needed import needs_all
from dnas.cost.stopwatch import TURNS, Runtime, Stopwatch, Work
from dnas.system.atomic import write_text
from dnas.system.devices import device_name
from dnas.system.errors import UserError
from dnas.system.reading.json_data import read_json

FORMAT, FORMAT_VERSION = "dnas-milliseconds", 1
# Networks that are measured whole: the constant part is fitted on the first, the error reported on the others.
FITTED, TESTED = 10, 20
# How far the parts' milliseconds within a network may be from those by themselves, as a standard deviation.
SCALE_DEVIATION = 0.3


@dataclass(frozen=True)
class Host:
    """What was measured on.

    Args:
        runtime: what ran the networks.
        device: name of the processor or GPU.
        kind: 'cpu' or 'cuda'.
        threads: CPU threads of one run.
    """

    runtime: Runtime
    device: str
    kind: str
    threads: int

    @staticmethod
    def here(runtime: Runtime, device: torch.device, threads: int) -> Host:
        """This machine."""
        return Host(runtime, device_name(device), device.type, threads)


@dataclass(frozen=True)
class Fit:
    """How near predictions are to measurements, on networks that the constant part was not fitted on.

    Args:
        mean_error, largest_error: |predicted - measured| / measured.
        predicted, measured: milliseconds of each of these networks.
    """

    mean_error: float
    largest_error: float
    predicted: tuple[float, ...]
    measured: tuple[float, ...]

    @staticmethod
    def of(predicted: Sequence[float], measured: Sequence[float]) -> Fit:
        errors = [abs(p - m) / m for p, m in zip(predicted, measured, strict=True)]
        return Fit(statistics.mean(errors), max(errors), tuple(predicted), tuple(measured))


@dataclass(frozen=True)
class Milliseconds:
    """A table: what networks of some sizes take on some machine, as a sum over what is kept.

    Args:
        host: what was measured on.
        sizes: of the networks (`Delivered.sizes`).
        cost: in milliseconds.
        fit: how near it comes.
    """

    host: Host
    sizes: Mapping[str, Any]
    cost: Decomposition
    fit: Fit

    def __str__(self) -> str:
        host = self.host
        where = host.device if host.kind != "cpu" else f"{host.device}, {host.threads} thread(s)"
        return (
            f"milliseconds in {host.runtime} on {where}: predictions differ from {len(self.fit.measured)} measured "
            f"networks by {self.fit.mean_error:.1%} on average, {self.fit.largest_error:.1%} at most"
        )

    def save(self, path: Path) -> None:
        """Write as JSON; an interrupted write leaves the old file."""
        pairs = [{"choices": list(names), "table": table} for names, table in self.cost.pairs.items()]
        cost = {"constant": self.cost.constant, "single": dict(self.cost.single), "pairs": pairs}
        data = {"host": asdict(self.host), "sizes": dict(self.sizes), "cost": cost, "fit": asdict(self.fit)}
        write_text(path, json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **data}, indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> Milliseconds:
        """Read a table.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: the file is damaged, or no such table.
        """
        data = read_json(path)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UserError(f"{path} is no table of milliseconds: `dnas measure` makes one.")
        if data.get("format_version") != FORMAT_VERSION:
            raise UserError(f"{path} has format_version {data.get('format_version')!r}; expected {FORMAT_VERSION}.")
        try:
            cost, fit = data["cost"], data["fit"]
            single = {str(name): _table(rows) for name, rows in cost["single"].items()}
            pairs = {}
            for pair in cost["pairs"]:
                one, other = pair["choices"]
                pairs[str(one), str(other)] = _table(pair["table"])
            host = Host(**data["host"])
            if host.runtime not in get_args(Runtime) or type(host.threads) is not int:
                raise TypeError(f"runtime {host.runtime!r}, threads {host.threads!r}")
            numbers = [tuple(map(_number, fit[name])) for name in ("predicted", "measured")]
            found = Fit(_number(fit["mean_error"]), _number(fit["largest_error"]), numbers[0], numbers[1])
            whole = Decomposition(_number(cost["constant"]), single, pairs)
            return Milliseconds(host, dict(data["sizes"]), whole, found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path} is damaged ({type(error).__name__}: {error}): make it anew with `dnas measure`."
            ) from error

    def check_sizes(self, delivered: Delivered, source: str) -> None:
        """See that the table is of these networks.

        Raises:
            UserError: names the first size that differs.
        """
        wanted = json.loads(json.dumps(delivered.sizes))
        for name in dict.fromkeys([*wanted, *self.sizes]):
            if wanted.get(name) != self.sizes.get(name):
                raise UserError(
                    f"{source} is of networks with {name} {self.sizes.get(name)!r}; the budget is about networks with "
                    f"{name} {wanted.get(name)!r}. Measure those (dnas measure), or search for the table's sizes."
                )
        decisions = delivered.decisions
        for name, table in self.cost.single.items():
            shape = (len(table), len(table[0]) if table else 0)
            one = decisions.get(name)
            if one is None or shape != (one.num_rows, len(one.candidates)) or len({len(row) for row in table}) > 1:
                raise UserError(f"{source} is damaged: its numbers of {name!r} do not fit the space; measure anew.")

    def check_threads(self, device: torch.device, threads: int, source: str) -> None:
        """See that a table of this machine was made with so many threads.

        Raises:
            UserError: it was not.
        """
        host = self.host
        if self.is_of_here(device) and host.kind == "cpu" and host.threads != threads:
            raise UserError(
                f"{source} was made with {host.threads} threads and the networks are to run with {threads}: give "
                f"--threads {host.threads}, or measure with dnas measure --threads {threads}."
            )

    def is_of_here(self, device: torch.device) -> bool:
        """Whether it was made on a machine like this one, so that built networks can be measured here."""
        return (self.host.kind, self.host.device) == (device.type, device_name(device))


def measure_milliseconds(
    delivered: Delivered,
    stopwatch: Stopwatch,
    draw: Callable[[int], Mapping[str, Kept]],
    say: Callable[[int, int], None] = lambda done, total: None,
) -> Milliseconds:
    """Measure the candidates of a delivered network where they stand, and thirty whole networks, all in turns.

    Args:
        delivered: on the device that is measured.
        stopwatch: what measures.
        draw: architecture number 0, 1 ...; those that do not need all that they keep are passed over, if others are
            found.
        say: is told how many of the networks are prepared and how many turns are taken.
    """
    arguments, keywords = call_arguments(delivered.inputs)
    assert not keywords, "a delivered network takes tensors"
    device = next(x.device for x in arguments if isinstance(x, Tensor))
    works: list[Work] = []

    def prepared(work: Work) -> float:
        works.append(work)
        return 0.0  # is measured later

    _costs(
        delivered, lambda *part: prepared(stopwatch.part(*part)), lambda n: prepared(stopwatch.network(n, arguments))
    )
    networks, total = _drawn(draw), FITTED + TESTED + TURNS
    wholes: list[Work] = []
    for kept in networks:
        wholes.append(stopwatch.network(delivered.network(kept), arguments))
        say(len(wholes), total)
    for turn in range(TURNS):
        for work in (*works, *wholes):
            work.turn()
        say(len(wholes) + turn + 1, total)
    in_order = iter(works)
    cost = _costs(delivered, lambda *_: next(in_order).milliseconds, lambda _: next(in_order).milliseconds)
    sums = [cost.of(kept, delivered.decisions) - cost.constant for kept in networks]
    milliseconds = [work.milliseconds for work in wholes]
    constant, scale = _fitted(sums[:FITTED], milliseconds[:FITTED])
    fit = Fit.of([constant + scale * own for own in sums[FITTED:]], milliseconds[FITTED:])
    sizes = json.loads(json.dumps(delivered.sizes))
    host = Host.here(stopwatch.runtime, device, stopwatch.threads)
    return Milliseconds(host, sizes, replace(cost.scaled(scale), constant=constant), fit)


def _costs(
    delivered: Delivered, of_part: Callable[..., float], of_network: Callable[[nn.Module], float]
) -> Decomposition:
    measure = remembered(of_part) if delivered.descriptions_tell else of_part
    return decompose(delivered, lambda model: candidate_costs(model, delivered.inputs, measure), of_network)


def _drawn(draw: Callable[[int], Mapping[str, Kept]]) -> list[Mapping[str, Kept]]:
    """Architectures that need all that they keep; others where there are too few of these."""
    found = [draw(index) for index in range(FITTED + TESTED)]
    rest = (draw(index) for index in range(len(found), 10 * len(found)))
    needed = [kept for kept in found if needs_all(kept)]
    while len(needed) < len(found) and (kept := next(rest, None)) is not None:
        needed += [kept] if needs_all(kept) else []
    return needed if len(needed) == len(found) else found


def _fitted(sums: Sequence[float], measured: Sequence[float]) -> tuple[float, float]:
    """Constant and scale of measured = constant + scale * sum, where the scale is 1 +- 0.3 before anything is measured.

    Parts by themselves find their data in the cache, and a short run is disturbed less than a long one. The constant is
    a median, so that one network that something has slowed down does not move it.
    """
    x, y = (array - array.mean() for array in (np.array(sums), np.array(measured)))
    xx, xy = float(x @ x), float(x @ y)
    rest = y - (xy / xx if xx else 1.0) * x
    prior = float(rest @ rest) / (len(x) - 2) / SCALE_DEVIATION**2
    scale = (xy + prior) / (xx + prior) if xx + prior else 1.0
    return statistics.median(m - scale * own for own, m in zip(sums, measured, strict=True)), scale


def _table(rows: Any) -> Table:
    return tuple(tuple(map(_number, row)) for row in rows)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no number")
    return float(value)
