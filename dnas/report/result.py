"""The result of a run first: one sentence, and a table whose row to use is marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dnas.report.facts import Facts
from dnas.report.html import paragraph, table
from dnas.report.plain import entry, items, number, pair, words
from dnas.system.words import number_of, readable_time
from dnas.task.words import called, shown

USE = "use this one"


def result(facts: Facts) -> str:
    """Sentence and table, as HTML."""
    if facts.compared:
        rows = [list(row) for row in facts.compared[1:] if len(row) == len(facts.compared[0])]
        shown = table([*facts.compared[0]], [[*map(_rounded, row)] for row in rows])
        return paragraph(sentence(facts), "lead") + (paragraph(facts.caption) if facts.caption else "") + shown
    if facts.shrinking:
        return paragraph(sentence(facts), "lead") + _shrunk_table(facts)
    if facts.is_language:
        return paragraph(sentence(facts), "lead") + (f"<pre>{escape(facts.cells)}</pre>" if facts.cells else "")
    if facts.comparison:
        findings = [paragraph(found) for found in items(facts.comparison, "findings") if isinstance(found, str)]
        return paragraph(sentence(facts), "lead") + _comparison_table(facts) + "".join(findings)
    return paragraph(sentence(facts), "lead") + _single_table(facts)


def sentence(facts: Facts) -> str:
    """The result in one or two sentences of plain text."""
    if facts.compared:
        names = [row[0] for row in facts.compared[1:] if row]
        return f"A comparison of {', '.join(names)} over seeds."
    if facts.shrinking:
        return _shrunk(facts.shrinking)
    if facts.is_language:
        return _language(facts)
    if facts.comparison:
        return _against_random(facts)
    if facts.evaluation:
        return f"The network that was found reaches {_evaluated(facts)} on the test part."
    if facts.retraining:
        to_do = f"dnas evaluate {facts.folder}"
        return f"The network that was found was retrained; it has not seen the test part; to measure it there: {to_do}"
    if facts.architecture is not None:
        return f"The search has ended; its network has not been trained yet; to train it: dnas retrain {facts.folder}"
    done = number_of(len(facts.epochs), "epoch")
    return f"The search has not ended; it has done {done}; to go on: dnas search --resume {facts.folder}"


def _language(facts: Facts) -> str:
    if facts.cells:
        return "Recurrent cells in a language model, trained alike; the lower the perplexity, the better."
    how = f"dnas language --resume {facts.folder}"
    return f"The search for a recurrent cell has done {number_of(len(facts.epochs), 'epoch')}; to go on: {how}"


def measures(facts: Facts) -> dict[str, str]:
    """What is known of the network that was found, in words, by name."""
    metric = words(facts.comparison, "metric") or "top1"
    test = number(facts.evaluation, "top1")
    name = "top1"
    if test is None and facts.comparison:
        test, name = number(facts.comparison, "found", "test"), metric
    parameters = number(facts.evaluation, "parameters") or number(facts.comparison, "found", "parameters")
    flops = number(facts.evaluation, "forward_flops")
    found = {
        f"test {called(name)}": "" if test is None else shown(name, test),
        "parameters": "" if parameters is None else f"{parameters:,.0f}",
        "FLOPs": "" if flops is None else f"{flops:,.0f}",
        "against random search": _verdict(facts.comparison),
        "budget": budget_words(facts.budget),
    }
    return {name: value for name, value in found.items() if value}


def budget_words(budget: Mapping[str, Any]) -> str:
    """Limits and how much of them is used; empty without a budget."""
    said = []
    for limit in items(budget, "limits"):
        cost, most = number(limit, "cost"), number(limit, "most")
        if cost is not None and most:
            said.append(f"{words(limit, 'limit')}: {cost:,.6g} of {most:,.6g} ({cost / most:.0%})")
    return "; ".join(said)


def _verdict(comparison: Mapping[str, Any]) -> str:
    if not comparison:
        return ""
    return "better" if entry(comparison, "search_wins") is True else "not better"


def _evaluated(facts: Facts) -> str:
    values = entry(facts.evaluation, "metrics")
    metric = next(iter(values), "top1") if isinstance(values, Mapping) else "top1"
    value = number(facts.evaluation, "metrics", metric, "value")
    value = number(facts.evaluation, metric) if value is None else value
    interval = pair(facts.evaluation, "metrics", metric, "interval_95") or pair(facts.evaluation, "top1_interval_95")
    if value is None:
        return "a result that its file does not name"
    low_high = (
        "" if interval is None else f" (95% interval {shown(metric, interval[0])} to {shown(metric, interval[1])})"
    )
    return f"{called(metric)} {shown(metric, value)}{low_high}"


def _against_random(facts: Facts) -> str:
    c = facts.comparison
    metric = words(c, "metric") or "top1"
    found = _value(c, "found", "test")
    expected = _value(c, "same_compute", "expected_test")
    said = f"The network that was found reaches {called(metric)} {_shown(metric, found)} on the test part"
    if expected is not None:
        said += f"; random search with the same compute is expected to reach {_shown(metric, expected)}"
    best = _best_by_validation(c)
    name = words(items(c, "random")[best - 1], "name") if best else ""
    use = f"{name or 'a random one'}, which is best on held-out images" if best else "the network that was found"
    better = "The search did better." if _verdict(c) == "better" else "Random search was as good or better."
    return f"{said}. {better} Use {use}."


def _value(comparison: Mapping[str, Any], *path: str) -> float | None:
    """A value of the deciding metric, also in files that name it top1."""
    found = number(comparison, *path)
    return number(comparison, *path[:-1], f"{path[-1]}_top1") if found is None else found


def _shown(metric: str, value: float | None) -> str:
    return "" if value is None else shown(metric, value)


def _comparison_rows(comparison: Mapping[str, Any]) -> list[Any]:
    return [entry(comparison, "found"), *items(comparison, "random"), *items(comparison, "beside")]


def _best_by_validation(comparison: Mapping[str, Any]) -> int:
    """Index of the row to use: by held-out images, never by the test part; 0, the found one, where it is tied."""
    sign = -1 if words(comparison, "better") == "lower" else 1
    rows = [entry(comparison, "found"), *items(comparison, "random")]
    values = [_value(row, "validation") for row in rows]
    known = [index for index, value in enumerate(values) if value is not None]
    return max(known, key=lambda index: sign * (values[index] or 0.0), default=0)


def _comparison_table(facts: Facts) -> str:
    metric = words(facts.comparison, "metric") or "top1"
    rows = _comparison_rows(facts.comparison)
    use = _best_by_validation(facts.comparison)
    cells = []
    for index, row in enumerate(rows):
        seconds, parameters = number(row, "seconds"), number(row, "parameters")
        cells.append(
            [
                words(row, "name") or "?",
                USE if index == use else "",
                _shown(metric, _value(row, "test")),
                _shown(metric, _value(row, "validation")),
                "" if parameters is None else f"{parameters:,.0f}",
                "" if seconds is None else readable_time(seconds),
            ]
        )
    head = ["network", "", f"test {called(metric)}", f"held-out {called(metric)}", "parameters", "training"]
    return table(head, cells, marked=[use])


def _single_table(facts: Facts) -> str:
    found = measures(facts)
    if not found:
        return ""
    return table([*found], [[*found.values()]])


def _shrunk(shrinking: Mapping[str, Any]) -> str:
    rows = {words(row, "name"): row for row in items(shrinking, "rows")}
    before, after = rows.get("original"), rows.get("found")
    metric = words(shrinking, "metric") or "top1"
    shares = []
    for unit, name in (("flops", "FLOPs"), ("parameters", "parameters"), ("milliseconds", "time")):
        old, new = number(before, unit), number(after, unit)
        if old and new is not None:
            shares.append(f"{new / old:.0%} of the {name}")
    was, now = number(before, "score", "value"), number(after, "score", "value")
    scores = f"{called(metric)} goes from {_shown(metric, was)} to {_shown(metric, now)}"
    return f"The smaller model has {', '.join(shares)}; {scores}."


def _shrunk_table(facts: Facts) -> str:
    metric = words(facts.shrinking, "metric") or "top1"
    rows = items(facts.shrinking, "rows")
    cells = []
    for row in rows:
        interval = pair(row, "score", "interval")
        seconds = number(row, "seconds")
        cells.append(
            [
                words(row, "name") or "?",
                USE if words(row, "name") == "found" else "",
                _shown(metric, number(row, "score", "value")),
                "" if interval is None else f"{shown(metric, interval[0])} to {shown(metric, interval[1])}",
                *(_count(number(row, unit)) for unit in ("parameters", "flops")),
                "" if number(row, "milliseconds") is None else f"{number(row, 'milliseconds'):.2f}",
                "" if seconds is None else readable_time(seconds),
            ]
        )
    found = [index for index, row in enumerate(rows) if words(row, "name") == "found"]
    head = ["network", "", called(metric), "95 %", "parameters", "FLOPs", "milliseconds", "compute"]
    limits = ", ".join(one for one in items(facts.shrinking, "budget") if isinstance(one, str))
    return table(head, cells, marked=found) + paragraph(
        f"Budget {limits}; measured on {words(facts.shrinking, 'measured_on')}.", "soft"
    )


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _rounded(cell: str) -> str:
    """A cell of a table of numbers with all digits, with two of them."""
    try:
        return f"{float(cell):.2f}" if "." in cell else cell
    except ValueError:
        return cell


def rows_of(comparison: Mapping[str, Any]) -> Sequence[tuple[str, float, float]]:
    """Name, parameters and test value of each network of a comparison that has both."""
    found = [
        (words(row, "name"), number(row, "parameters"), _value(row, "test")) for row in _comparison_rows(comparison)
    ]
    return [(name, x, y) for name, x, y in found if x is not None and y is not None]
