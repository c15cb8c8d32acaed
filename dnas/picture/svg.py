"""The pieces of an SVG: tags, text that is escaped, and a sheet whose colours follow a light or a dark screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

FONT = "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
_LONGEST = 28  # characters of a name that a picture shows

# Colours of what carries no meaning: (on light, on dark).
_TONES = {
    "paper": ("#ffffff", "#171b20"),
    "box": ("#f3f5f7", "#252c34"),
    "ink": ("#1b1f24", "#e9edf1"),
    "soft": ("#57616b", "#a9b4bf"),
    "wire": ("#8a949e", "#7d8894"),
    "grid": ("#dde2e7", "#343c45"),
}
# Programs that know no style sheets, and print, see the light colours: they are attributes, which a sheet overrules.
STYLE = "@media (prefers-color-scheme: dark) {{ {} }}".format(
    " ".join(
        f".dnas-{name} {{ fill: {dark}; }} .dnas-{name}-line {{ stroke: {dark}; }}"
        for name, (_, dark) in _TONES.items()
    )
)


def fill(tone: str) -> dict[str, object]:
    """Attributes that fill a shape or a text with a tone such as 'ink'."""
    return {"class": f"dnas-{tone}", "fill": _TONES[tone][0]}


def stroke(tone: str) -> dict[str, object]:
    """Attributes that draw a line in a tone such as 'wire'."""
    return {"class": f"dnas-{tone}-line", "stroke": _TONES[tone][0], "fill": "none"}


def tag(name: str, attributes: Mapping[str, object], *children: str) -> str:
    """An element; its attributes are escaped, its children are SVG already."""
    said = "".join(f' {key}="{escape(_short(value))}"' for key, value in attributes.items())
    return f"<{name}{said}>{''.join(children)}</{name}>" if children else f"<{name}{said}/>"


def text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    size: float = 13,
    tone: str = "ink",
    bold: bool = False,
) -> str:
    """Words at a place, escaped; long ones are cut, and whole in the tooltip."""
    shown = words if len(words) <= _LONGEST * 3 else f"{words[: _LONGEST * 3 - 1]}…"
    place: dict[str, object] = {"x": x, "y": y, "text-anchor": anchor, "font-size": size, **fill(tone)}
    if bold:
        place["font-weight"] = 600
    tooltip = [tag("title", {}, escape(words))] if shown != words else []
    return tag("text", place, *tooltip, escape(shown))


def cut(name: str) -> str:
    """A name as a picture shows it: its first characters where it is long."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def text_width(words: str, size: float = 13) -> float:
    """About how wide words are, in the units of a picture."""
    return 0.58 * size * len(words)


def line(start: tuple[float, float], end: tuple[float, float], tone: str = "grid") -> str:
    """A straight line."""
    (x1, y1), (x2, y2) = start, end
    return tag("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, **stroke(tone)})


def sheet(width: float, height: float, children: Sequence[str], *, label: str) -> str:
    """A whole picture.

    Args:
        width, height: in pixels; smaller screens shrink it.
        children: what is drawn, from back to front.
        label: what a screen reader says.
    """
    size = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {_short(width)} {_short(height)}"}
    about = {"width": width, "height": height, "role": "img", "aria-label": label, "font-family": FONT}
    paper = tag("rect", {"width": width, "height": height, "rx": 6, **fill("paper")})
    return tag("svg", {**size, **about}, tag("style", {}, STYLE), paper, *children) + "\n"


def moved(x: float, y: float, children: Sequence[str]) -> str:
    """Children in a group that is moved."""
    return tag("g", {"transform": f"translate({_short(x)} {_short(y)})"}, *children)


def _short(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
