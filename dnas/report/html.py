"""A page of HTML that needs nothing but itself: text is escaped, and the browser is told to load nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from dnas.system.reading import read_text

_LONG = 40  # characters of a cell that may be broken into lines


def page(title: str, body: str) -> str:
    """A whole page.

    Args:
        title: plain text.
        body: HTML.
    """
    style, script = (read_text(Path(__file__).with_name(name)) for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body><main>\n{body}\n</main>"
        f"<script>{script}</script></body></html>\n"
    )


def paragraph(words: str, kind: str = "") -> str:
    """A paragraph of plain text; `kind` is 'lead', 'soft', 'good' or 'warn'."""
    return f'<p class="{kind}">{escape(words)}</p>' if kind else f"<p>{escape(words)}</p>"


def heading(words: str, level: int = 2) -> str:
    """A heading of plain text."""
    return f"<h{level}>{escape(words)}</h{level}>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, marked: Sequence[int] = ()) -> str:
    """A table of plain text; the first column is on the left, columns of numbers are on the right.

    Args:
        head: names of the columns.
        rows: cells of each row, as many as names.
        marked: indices of rows that stand out.
    """
    columns = [[row[index] for row in rows] for index in range(len(head))]
    kinds = ["", *map(_kind, columns[1:])]

    def written(cells: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))

    lines = [
        f'<tr class="marked">{written(row, "td")}</tr>' if index in marked else f"<tr>{written(row, 'td')}</tr>"
        for index, row in enumerate(rows)
    ]
    return f'<div class="scroll"><table><tr>{written(head, "th")}</tr>{"".join(lines)}</table></div>'


def plot(svg: str) -> str:
    """A picture that shrinks with the screen."""
    return f'<div class="scroll plot">{svg}</div>'


def plots(svgs: Iterable[str]) -> str:
    """Pictures that shrink with the screen, side by side where there is room; those that are empty are left out."""
    shown = "".join(plot(svg) for svg in svgs if svg)
    return f'<div class="plots">{shown}</div>' if shown else ""


def picture(svg: str) -> str:
    """A picture that keeps its size, and can be scrolled."""
    return f'<div class="scroll picture">{svg}</div>'


def film(frames: Sequence[tuple[str, str]]) -> str:
    """Frames of which a slider shows one, at first the last.

    Args:
        frames: label in plain text and HTML of each; one or more.
    """
    last = len(frames) - 1
    shown = "".join(
        f'<div class="frame" data-label="{escape(label)}"{"" if index == last else " hidden"}>{body}</div>'
        for index, (label, body) in enumerate(frames)
    )
    if not last:
        return shown
    slider = (
        f'<div class="slider"><button type="button">Play</button><input type="range" min="0" max="{last}" '
        f'value="{last}" aria-label="epoch"><output>{escape(frames[last][0])}</output></div>'
    )
    return f'<div class="film">{slider}{shown}</div>'


def _kind(column: Sequence[str]) -> str:
    """The class of a column's cells, as an attribute."""
    if all(map(_is_number, column)):
        return ' class="number"'
    return ' class="long"' if any(len(cell) > _LONG for cell in column) else ""


def _is_number(cell: str) -> bool:
    return not cell or cell[0].isdigit() or (cell[0] in "+-" and cell[1:2].isdigit())
