"""Colours that colour-blind readers can tell apart, and the colour of each kind of operation."""

from __future__ import annotations

# Okabe and Ito, 2008, https://jfly.uni-koeln.de/color/; without yellow and black, which vanish on white and on dark.
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#8A949E"
SERIES = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)

# What the name of an operation contains -> its colour; the first that fits. A picture says the name too.
_KINDS = (
    ("none", GREY),
    ("zero", GREY),
    ("skip", PURPLE),
    ("identity", PURPLE),
    ("pool", ORANGE),
    ("dil_", GREEN),
    ("relu", GREEN),
    ("sep_", BLUE),
    ("tanh", BLUE),
    ("conv", SKY),
    ("sigmoid", VERMILLION),
    ("attention", VERMILLION),
    ("mlp", GREEN),
    ("k3", SKY),
    ("k5", BLUE),
    ("k7", GREEN),
)


def colour_of(operation: str) -> str:
    """The colour of an operation by its name; operations of one kind share one."""
    lowered = operation.lower()
    return next((colour for part, colour in _KINDS if part in lowered), VERMILLION)
