"""What a notebook shows of a supernet and of a search's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from dnas.core.architecture import Architecture
from dnas.core.decision import Decision
from dnas.picture.curves import Series, curves
from dnas.picture.heat import MOST_CELLS, heat_map
from dnas.system.errors import UserError


def result_html(architecture: Architecture, metrics: Sequence[Mapping[str, float]]) -> str:
    """The picture of what was found, and the accuracies over the epochs; text where there is no picture."""
    try:
        picture = architecture.to_svg()
    except UserError as error:
        picture = f"<p>{error}</p>"
    series = []
    for name in ("train_accuracy", "validation_accuracy"):
        points = tuple((float(row["epoch"]), row[name]) for row in metrics if name in row)
        if points:
            series.append(Series(name.replace("_", " "), points))
    plot = curves(series, title="Search", x_axis="epoch", y_axis="share right") if series else ""
    return f"<div>{picture}</div><div>{plot}</div>"


def supernet_html(decisions: Mapping[str, Decision], alphas: Mapping[str, Tensor]) -> str:
    """A heat map for each decision: the softmax of its alphas, whatever the relaxation."""
    maps = []
    for name, decision in decisions.items():
        values = alphas[name].detach().float().cpu().reshape(decision.num_rows, -1).softmax(dim=1).tolist()
        rows = [f"{i} to {j}" for i, j in decision.edges] if decision.kind == "operations" else [name]
        if len(rows) * len(decision.candidates) <= MOST_CELLS:
            shown = [[f"{value:.2f}" for value in row] for row in values]
            title = f"{name}: softmax of alpha"
            maps.append(heat_map(rows, decision.candidates, values, title=title, shown=shown))
    return "".join(f"<div>{one}</div>" for one in maps)
