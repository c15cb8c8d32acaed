"""The sections of a report, each as HTML; empty where a run has nothing for it."""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from dnas.core.architecture import Architecture
from dnas.core.decision import Decision
from dnas.picture.architecture import cells_of, choices_of
from dnas.picture.bars import bars
from dnas.picture.cell import cell_pictures
from dnas.picture.chain import MOST_BOXES
from dnas.picture.curves import Series, curves
from dnas.picture.heat import MOST_CELLS, heat_map
from dnas.picture.png import SIGNATURE
from dnas.picture.scatter import Point, scatter
from dnas.report.diagnosis import diagnosis
from dnas.report.facts import Facts
from dnas.report.html import film, paragraph, picture, plot, plots, table
from dnas.report.plain import entry, items, number, words
from dnas.report.result import rows_of
from dnas.searching.mixture_history import EpochMixtures
from dnas.system.errors import UserError
from dnas.system.words import number_of
from dnas.task.words import called

_EPOCH, _VALUE, _MOST_LINES = 2, 4, 12  # columns of trajectory.csv, and runs that are drawn
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,30})?")
_MOST_IMAGES, _LARGEST_IMAGE = 24, 40_000  # characters of a PNG in base 64


def signs(facts: Facts) -> str:
    """What to know about the run, and what to do."""
    return "".join(paragraph(sign.words, "good" if sign.is_good else "warn") for sign in diagnosis(facts))


# The cell over the epochs


def evolution(facts: Facts) -> str:
    """The architecture and the mixtures after each epoch, with a slider."""
    course = list(facts.evolution)
    if facts.architecture is not None and (not course or course[-1][1].decisions != facts.architecture.decisions):
        course.append((0, facts.architecture))  # the end may keep another than the last epoch, to meet a budget
    try:
        drawn = _drawn([architecture for _, architecture in course])
    except UserError as error:
        return paragraph(str(error), "soft")
    mixtures = {one.epoch: one for one in facts.mixtures}
    if not course:
        course_frames = [(f"epoch {epoch}", _mixtures(one)) for epoch, one in mixtures.items()]
        return film(course_frames) if course_frames else ""
    accuracies = {row.get("epoch"): number(row, "validation_accuracy") for row in facts.epochs}
    frames = []
    for (epoch, _), body in zip(course, drawn, strict=True):
        accuracy = accuracies.get(epoch)
        about = "" if accuracy is None else paragraph(f"Supernet on validation images: {accuracy:.2%} right.", "soft")
        heat = _mixtures(mixtures[epoch]) if epoch in mixtures else ""
        frames.append((f"epoch {epoch}" if epoch else "result", body + about + heat))
    changes = sum(one.decisions != other.decisions for (_, one), (_, other) in pairwise(course))
    note = (
        f"The architecture that each epoch would have given; it changed {number_of(changes, 'time')}."
        if len(course) > 1
        else ""
    )
    return (paragraph(note, "soft") if note else "") + film(frames)


def _drawn(course: Sequence[Architecture]) -> list[str]:
    """Each architecture as HTML; cells of the same name share one layout."""
    data = [architecture.to_data() for architecture in course]
    cells = [cells_of(one) for one in data]
    bodies = ["" for _ in course]
    for name in cells[0] if cells else ():
        alike = [own.get(name) for own in cells]
        shown = [cell for cell in alike if cell is not None and cell.inputs == cells[0][name].inputs]
        if len(shown) == len(alike):
            for index, svg in enumerate(cell_pictures(name, shown)):
                bodies[index] += picture(svg)
    for index, one in enumerate(data):
        others = choices_of(one)[:MOST_BOXES]
        bodies[index] += table(["decision", "kept"], others) if others else ""
    return bodies


def _mixtures(mixtures: EpochMixtures) -> str:
    """Heat maps of the weights that the candidates have, one for each decision with edges, one for all others."""
    maps, plain = [], []
    for name, decision in mixtures.decisions.items():
        values = mixtures.values[name]
        if decision.kind == "operations" and not decision.on_edges:
            maps.append(_heat(f"{name}: weight of each candidate", _edge_names(decision), decision.candidates, values))
        elif decision.kind != "operations":
            plain.append((name, decision, values[0]))
    for group in _of_equal_candidates(plain):
        names = [name for name, _, _ in group]
        maps.append(_heat("weight of each candidate", names, group[0][1].candidates, [own for _, _, own in group]))
    if not any(maps):
        return ""
    return f'<details open><summary>Mixtures</summary><div class="maps">{"".join(maps)}</div></details>'


def _of_equal_candidates(
    rows: Sequence[tuple[str, Decision, list[float]]],
) -> list[list[tuple[str, Decision, list[float]]]]:
    groups: dict[tuple[str, ...], list[tuple[str, Decision, list[float]]]] = {}
    for row in rows:
        groups.setdefault(row[1].candidates, []).append(row)
    return list(groups.values())


def _edge_names(decision: Decision) -> list[str]:
    return [f"{source} to {target}" for source, target in decision.edges]


def _heat(title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    if not rows or not columns or len(rows) * len(columns) > MOST_CELLS:
        return ""
    shown = [[f"{value:.2f}" for value in row] for row in values]
    return picture(heat_map(rows, columns, values, title=title, shown=shown))


# Curves


def search_curves(facts: Facts) -> str:
    """Losses, accuracies, entropy and skip connections over the epochs of the search."""
    return plots(
        _curves(facts.epochs, title, y_axis, names)
        for title, y_axis, names in (
            ("Search: loss", "loss", ("train_loss", "val_loss", "validation_loss")),
            ("Search: accuracy", "share right", ("train_accuracy", "validation_accuracy")),
            ("Search: perplexity", "perplexity", ("validation_perplexity",)),
            ("Search: how decided it is", "from 0 to 1", ("entropy", "skip_share")),
        )
    )


def trajectories(facts: Facts) -> str:
    """What each run of a comparison would have found after each epoch."""
    if not facts.trajectory or len(facts.trajectory[0]) <= _VALUE:
        return ""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in facts.trajectory[1:]:
        if len(row) > _VALUE and all(_NUMBER.fullmatch(row[column]) for column in (_EPOCH, _VALUE)):
            lines.setdefault(f"{row[0]}, seed {row[1]}", []).append((float(row[_EPOCH]), float(row[_VALUE])))
    series = [Series(name, tuple(sorted(points))) for name, points in lines.items()][:_MOST_LINES]
    if not series:
        return ""
    name = facts.trajectory[0][_VALUE]
    return plot(curves(series, title="What each run would have found", x_axis="epoch", y_axis=name))


def training_curves(facts: Facts) -> str:
    """Losses and accuracies over the epochs of the retraining."""
    return plots(
        _curves(facts.retraining, title, y_axis, names)
        for title, y_axis, names in (
            ("Retraining: loss", "loss", ("train_loss", "validation_loss")),
            ("Retraining: accuracy", "share right", ("train_top1", "validation_top1")),
        )
    )


def _curves(rows: Sequence[Mapping[str, Any]], title: str, y_axis: str, names: Sequence[str]) -> str:
    series = []
    for name in names:
        points = [(number(row, "epoch"), number(row, name)) for row in rows]
        known = tuple((x, y) for x, y in points if x is not None and y is not None)
        if known:
            series.append(Series(name.replace("_", " "), known))
    return curves(series, title=title, x_axis="epoch", y_axis=y_axis) if series else ""


# Beside others


def networks(facts: Facts) -> str:
    """Found and random networks by parameters and test value."""
    rows = rows_of(facts.comparison)
    if len(rows) < 2:
        return ""
    metric = words(facts.comparison, "metric") or "top1"
    points = [Point(x, y, name, marked=name == "found") for name, x, y in rows]
    return plot(
        scatter(points, title="All networks", x_axis="parameters", y_axis=f"test {called(metric)}", joined=False)
    )


def fronts(facts: Facts) -> str:
    """What each budget buys."""
    body = ""
    for unit, places in facts.fronts.items():
        cells, points = [], []
        for place in places:
            cost, value = number(place, "costs", unit), number(place, "trained", "validation")
            parameters, flops = number(place, "costs", "parameters"), number(place, "costs", "flops")
            row = [words(place, "limit"), *("" if one is None else f"{one:,.0f}" for one in (cost, parameters, flops))]
            cells.append([*row, "" if value is None else f"{value:.4g}"])
            if cost is not None and value is not None:
                points.append(Point(cost, value, words(place, "limit")))
        if cells:
            body += table(["budget", unit, "parameters", "FLOPs", "held-out"], cells)
        if points:
            body += plot(scatter(points, title="What a budget buys", x_axis=unit, y_axis="held-out images"))
    return body


# What is mixed up


def confusion(facts: Facts) -> str:
    """Which classes are taken for which, and images that were misclassified."""
    return _matrix(facts) + _images(facts.mistakes)


def _matrix(facts: Facts) -> str:
    if facts.confusion is None:
        return ""
    names, counts = facts.confusion.names, facts.confusion.counts
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    shown = [[str(count) if count else "" for count in row] for row in counts]
    title = "rows: true class, columns: predicted class"
    return picture(heat_map(names, names, shares, title=title, shown=shown))


def _images(mistakes: Sequence[Any]) -> str:
    figures = []
    for mistake in mistakes[:_MOST_IMAGES]:
        source = _png(words(mistake, "png"))
        if source:
            said = f"{words(mistake, 'true')[:40]}, taken for {words(mistake, 'predicted')[:40]}"
            figures.append(
                f'<figure><img src="{source}" alt="{escape(said)}"><figcaption>{escape(said)}</figcaption></figure>'
            )
    return f'<h3>Misclassified images</h3><div class="images">{"".join(figures)}</div>' if figures else ""


def _png(text: str) -> str:
    """An address of a picture in the page itself; empty where the text is no small PNG in base 64."""
    try:
        start = base64.b64decode(text[:64], validate=True) if len(text) <= _LARGEST_IMAGE else b""
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return f"data:image/png;base64,{text}" if start.startswith(SIGNATURE) else ""


# A shrunk model


def layers(facts: Facts) -> str:
    """What a shrunk model has of each decision, before and after."""
    values = {words(row, "name"): entry(row, "values") for row in items(facts.shrinking, "rows")}
    before, after = values.get("original"), values.get("found")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return ""
    rows = []
    for name in before:
        whole, left = number(before, name), number(after, name)
        if whole is not None and left is not None and whole >= left >= 0:
            rows.append((str(name), whole, left))
    shown = rows[:300]
    frozen = [f"{words(one, 'name')} ({words(one, 'reason')})" for one in items(facts.shrinking, "frozen")][:40]
    note = paragraph(f"Stays as it is: {'; '.join(frozen)}", "soft") if frozen else ""
    return (
        picture(bars(shown, title="Channels of each layer (blocks: 1 or 0), before and after")) if shown else ""
    ) + note


# How to do it again


def settings(facts: Facts) -> str:
    """Commands that repeat the run, where it was made, and all settings."""
    import yaml

    environment = entry(facts.config, "environment")
    about = (
        "; ".join(f"{key} {value}" for key, value in environment.items()) if isinstance(environment, Mapping) else ""
    )
    made = paragraph(f"Made with {about}.", "soft") if about else ""
    commands = f"<pre>{escape(_commands(facts))}</pre>{made}"
    if not facts.config:
        return commands
    text = yaml.safe_dump(dict(facts.config), sort_keys=False, allow_unicode=True)[:100_000]
    return f"{commands}<details><summary>All settings (config.yaml)</summary><pre>{escape(text)}</pre></details>"


def _commands(facts: Facts) -> str:
    if isinstance(entry(facts.config, "shrink"), Mapping):
        return _shrink_command(facts)
    if "job" not in facts.config:
        return f"dnas report {facts.folder}"
    steps = [f"dnas search --recipe recipe.yaml --run NEW   # recipe.yaml: the entry job of {facts.folder}/config.yaml"]
    steps += ["dnas retrain NEW"] if facts.retraining else []
    steps += [f"dnas baseline NEW --num_random {len(items(facts.comparison, 'random'))}"] if facts.comparison else []
    steps += ["dnas evaluate NEW"] if facts.evaluation else []
    return "\n".join(steps)


def _shrink_command(facts: Facts) -> str:
    """The command with all that was set beside `settings`, which it takes from a file."""
    given = facts.config["shrink"]
    line = ["dnas", "shrink", words(given, "model")]
    for name, value in given.items():
        several = value if isinstance(value, list) else [value]
        if name in ("model", "settings") or any(isinstance(one, Mapping) for one in several) or value in (None, ""):
            continue
        line += [f"--{name}", *(str(one).lower() if isinstance(one, bool) else str(one) for one in several)]
    command = shlex.join([*line, "--settings", "settings.yaml", "--run", "NEW"])
    return f"{command}   # settings.yaml: the entry shrink.settings of {facts.folder}/config.yaml"
