"""The search of widths and blocks by gradient, from a trained model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import torch

from dnas.core.run import Run
from dnas.core.schedule import Cosine
from dnas.data.batches import Batches
from dnas.searching.search import search
from dnas.searching.settings import AlphaAdam, SearchSettings, WeightSGD
from dnas.searching.supernet import Supernet
from dnas.shrinking.budget import WidthLimits
from dnas.shrinking.costs import Value
from dnas.shrinking.expected import own_values
from dnas.shrinking.program import Program
from dnas.shrinking.searchable import Narrowable
from dnas.shrinking.supernet import MaskedModel
from dnas.system.display import Display
from dnas.task.base import Task

# From a trained model a few epochs are enough: the weights follow at a small rate, the alphas start where the rises of
# the loss put them.
SEARCHING = SearchSettings(
    epochs=1,
    weights=WeightSGD(lr=Cosine(0.005, 0.0), weight_decay=5e-4),
    alphas=AlphaAdam(lr=0.02, weight_decay=0.0),
    validate_every=0,
)

# The odds between the largest width and the worst value of a decision at the start, exp(4): 55 to 1. From more, a
# softmax would hardly move; from less, the trained weights would first be spoilt.
_SPREAD = 4.0


def masked_search(
    searchable: Narrowable,
    limits: WidthLimits,
    rises: Mapping[Value, float],
    ranking: Mapping[str, Sequence[int]],
    *,
    train: Batches,
    held_out: Batches,
    task: Task,
    settings: SearchSettings,
    run: Run | None,
    display: Display,
) -> dict[Value, float]:
    """How good each value of each decision is, by a bilevel search (DARTS, Liu et al. 2019) over masks.

    The alphas start at the scores of the one-shot search, up to a factor, so that after no step at all the result would
    be the same; they are trained on held-out data and the weights, at a small rate, on training data. The expected
    cost is held at the limits. The weights serve the search alone.

    Args:
        searchable: the trained model.
        limits: of the budget.
        rises: scores of the one-shot search: minus the rise of the loss for each value.
        ranking: of each group's classes, the most important first.
        train: batches for the weights.
        held_out: batches for the alphas.
        task: whose criterion is the loss.
        settings: method and length.
        run: folder of the search.
        display: where progress is shown.

    Returns:
        For each value log p(value) - log p of the decision's best value; 0 for widths inside of blocks that are out.

    Raises:
        NonFiniteLoss, Interrupted: as `dnas.search`.
    """
    program = limits.program
    widths = {group.name: own_values(program, group.name) for group in searchable.structure.groups}
    masked = MaskedModel(searchable.model, searchable.structure, widths, ranking)
    supernet = Supernet(masked, task=task, seed=settings.seed)
    _start(supernet, program, rises)
    search(supernet, train, held_out, settings=settings, run=run, display=display, held=limits)
    mixtures = supernet.expected(settings.relaxation, torch.ones((), device=supernet.device))
    found: dict[Value, float] = {}
    for name in program.values:
        chances = mixtures[name].values.double().clamp(min=1e-300).log()
        found |= {(name, value): 0.0 for value in program.values[name]}
        own = zip(own_values(program, name), (chances - chances.max()).tolist(), strict=True)
        found |= {(name, value): score for value, score in own}
    return found


def _start(supernet: Supernet, program: Program, rises: Mapping[Value, float]) -> None:
    """Alphas in proportion to the scores: the median decision's worst value is 4 below its best."""
    rows = {name: torch.tensor([rises[name, value] for value in own_values(program, name)]) for name in program.values}
    unit = median((row.max() - row.min()).item() for row in rows.values()) / _SPREAD or 1.0
    with torch.no_grad():
        for name, row in rows.items():
            supernet.alphas[name].copy_((row - row.max()) / unit)
