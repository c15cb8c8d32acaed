"""What the numbers of a run say about it, in words, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from dnas.core.architecture import Architecture
from dnas.report.facts import Facts
from dnas.report.plain import entry, number
from dnas.searching.decidedness import Decidedness
from dnas.searching.observer import skip_share
from dnas.system.words import number_of

COLLAPSED = 0.5  # share of skip connections among what is kept
_UNDECIDED = 0.95  # mean entropy of the mixtures; 1 is undecided
_RISING = 0.02  # of the accuracy over the last quarter of a search
_OVERFITTED = 0.15  # accuracy on training images less that on held-out ones
_ALL_IS_WELL = (
    "No sign of trouble: few skip connections, mixtures that have decided, an architecture that came to rest."
)


@dataclass(frozen=True)
class Sign:
    """Something to know about a run.

    Args:
        words: what was seen, and what to do.
        is_good: whether all is well.
    """

    words: str
    is_good: bool = False


def diagnosis(facts: Facts) -> list[Sign]:
    """All that can be seen; one good sign if nothing is wrong."""
    if not facts.epochs:
        return []
    found = [
        *_collapse(facts),
        *_undecided(facts),
        *_too_short(facts),
        *_no_better_than_random(facts),
        *_overfitted(facts),
    ]
    return found or [Sign(_ALL_IS_WELL, True)]


def _collapse(facts: Facts) -> Iterator[Sign]:
    architecture = facts.architecture or (facts.evolution[-1][1] if facts.evolution else None)
    share = None if architecture is None else skip_share(architecture)
    if share is not None and share > COLLAPSED:
        yield Sign(
            f"Collapse: {share:.0%} of the kept operations are skip connections, which help a supernet early and are "
            "preferred for it (RobustDARTS, Zela et al. 2020). Use a recipe that resists it, such as beta_darts, "
            "fair_darts, darts_minus or robust_darts_es."
        )


def verdict(facts: Facts) -> Decidedness | None:
    """How decided the search said that it was; None where it said nothing, as in runs of earlier versions."""
    epochs, stability, lead = (number(facts.search, "decidedness", name) for name in ("epochs", "stability", "lead"))
    if epochs is None or stability is None or lead is None:
        return None
    return Decidedness(int(epochs), stability, lead)


def _undecided(facts: Facts) -> Iterator[Sign]:
    decided = verdict(facts)
    if decided is not None:
        if not decided.is_decided:
            yield Sign(str(decided))
        return
    entropy = number(facts.epochs[-1], "entropy")
    if entropy is not None and entropy > _UNDECIDED:
        yield Sign(
            f"Undecided: the mixtures have an entropy of {entropy:.2f} of 1, so candidates differ by little and the "
            "choice may be chance. Search for more epochs, or with a higher --search.alphas.lr."
        )


def _too_short(facts: Facts) -> Iterator[Sign]:
    changes = _late_changes(facts)
    if changes and verdict(facts) is None:  # a verdict counts these changes
        yield Sign(
            f"Perhaps too short: the architecture changed {number_of(changes, 'time')} in the last quarter of the "
            "epochs. More epochs (--search.epochs) let it come to rest."
        )
    values = [value for row in facts.epochs if (value := number(row, "validation_accuracy")) is not None]
    if len(values) >= 4 and values[-1] - values[-1 - len(values) // 4] > _RISING:
        rise = values[-1] - values[-1 - len(values) // 4]
        yield Sign(
            f"Perhaps too short: the supernet's accuracy rose by {100 * rise:.1f} points in the last quarter of the "
            "search. More epochs (--search.epochs) let its weights settle."
        )


def _late_changes(facts: Facts) -> int:
    """How often the architecture was another than before in the last quarter of the epochs."""
    course: list[Architecture] = [architecture for _, architecture in facts.evolution]
    quarter = len(course) // 4
    late = course[len(course) - quarter - 1 :] if quarter else []
    return sum(one.decisions != other.decisions for one, other in pairwise(late))


def _no_better_than_random(facts: Facts) -> Iterator[Sign]:
    if facts.comparison and entry(facts.comparison, "search_wins") is False:
        yield Sign(
            "No better than random search with the same compute. That happens in small spaces and with short searches: "
            "search longer, try another recipe (dnas compare), or use the best of the random networks."
        )


def _overfitted(facts: Facts) -> Iterator[Sign]:
    last = facts.retraining[-1] if facts.retraining else {}
    train, held_out = number(last, "train_top1"), number(last, "validation_top1")
    if train is not None and held_out is not None and train - held_out > _OVERFITTED:
        yield Sign(
            f"The retrained network knows its training images better ({train:.0%}) than held-out ones "
            f"({held_out:.0%}): fewer --retrain.channels, more --retrain.drop_path or --retrain.cutout, or more images."
        )
