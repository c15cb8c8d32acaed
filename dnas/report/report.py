"""The report of one run or of several side by side, as one page of HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from dnas.report import sections
from dnas.report.facts import Facts
from dnas.report.html import heading, page, table
from dnas.report.result import measures, result, sentence
from dnas.system.errors import UserError

LARGEST = 8_000_000  # bytes of a report

# Title, and what makes its HTML of a run.
_SECTIONS: tuple[tuple[str, Callable[[Facts], str]], ...] = (
    ("Result", result),
    ("What to know", sections.signs),
    ("Layers, before and after", sections.layers),
    ("The architecture, epoch by epoch", sections.evolution),
    ("Course of the recipes", sections.trajectories),
    ("Curves of the search", sections.search_curves),
    ("Curves of the retraining", sections.training_curves),
    ("Beside random networks", sections.networks),
    ("Networks for a row of budgets", sections.fronts),
    ("What is mixed up", sections.confusion),
    ("Settings, and how to do it again", sections.settings),
)


def report(runs: Sequence[Facts]) -> str:
    """The page.

    Args:
        runs: one or more, in order.

    Raises:
        UserError: it would be larger than 8 MB.
    """
    title = ", ".join(facts.name for facts in runs)
    parts = [heading(f"dnas: {title}", 1)]
    if len(runs) > 1:
        parts.append(_overview(runs))
    for name, section in _SECTIONS:
        bodies = [section(facts) for facts in runs]
        if any(bodies):
            parts.append(f"<section>{heading(name)}{_beside(runs, bodies)}</section>")
    text = page(f"dnas: {title}", "\n".join(parts))
    size = len(text.encode())
    if size > LARGEST:
        raise UserError(f"The report would have {size:,} bytes, more than {LARGEST:,}: report on fewer runs at once.")
    return text


def _overview(runs: Sequence[Facts]) -> str:
    """One row for each run."""
    known = [measures(facts) for facts in runs]
    names = list(dict.fromkeys(name for own in known for name in own))
    rows = [
        [facts.name, *(own.get(name, "") for name in names), sentence(facts)]
        for facts, own in zip(runs, known, strict=True)
    ]
    return f'<div class="card">{table(["run", *names, "in words"], rows)}</div>'


def _beside(runs: Sequence[Facts], bodies: Sequence[str]) -> str:
    """A card for each run that has something."""
    several = len(runs) > 1
    cards = [
        f'<div class="card">{f"<h3>{escape(facts.name)}</h3>" if several else ""}{body}</div>'
        for facts, body in zip(runs, bodies, strict=True)
        if body
    ]
    return f'<div class="beside">{"".join(cards)}</div>'
