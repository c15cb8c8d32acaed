"""Every architecture of small decisions, one by one: what integer programs and expected costs are compared with."""

from collections.abc import Iterator, Mapping
from itertools import combinations, product

from hypothesis import strategies

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Active
from dnas.cost.decomposition import Decomposition
from dnas.cost.layout import Group, Item, allowed, groups, kept_of

EDGES = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def architectures(
    decisions: Mapping[str, Decision], *, independent: bool = False, options: Mapping[str, Active] | None = None
) -> Iterator[tuple[tuple[Item, ...], dict[str, Kept]]]:
    """The items of each architecture, and what it keeps."""
    own = groups(decisions, options or allowed(decisions), independent=independent)
    for parts in product(*(list(_ways(group)) for group in own)):
        items = tuple(item for part in parts for item in part)
        yield items, kept_of(items, decisions)


def _ways(group: Group) -> Iterator[tuple[Item, ...]]:
    for number in range(group.least, group.most + 1):
        for rows in combinations(group.rows, number):
            yield from product(*rows)


@strategies.composite
def decision_sets(draw: strategies.DrawFn) -> dict[str, Decision]:
    """Choices (two or more, so that pairs of them may cost something), and perhaps inputs and a small cell."""
    found: dict[str, Decision] = {}
    for name in ("width", "layer", "other")[: draw(strategies.integers(2, 3))]:
        candidates = ("a", "b", "c")[: draw(strategies.integers(2, 3))]
        excluded = draw(strategies.sampled_from([(), ("a",)]))
        found[name] = Decision(name, "choice", candidates, excluded=excluded)
    if draw(strategies.booleans()):
        found["inputs"] = Decision("inputs", "inputs", ("x", "y", "z"), num_kept=draw(strategies.integers(1, 2)))
    if draw(strategies.booleans()):
        num_kept = draw(strategies.sampled_from([1, 2, None]))
        found["cell"] = Decision("cell", "operations", ("none", "conv", "skip"), EDGES, num_kept, ("none",), (2, 3))
    return found


@strategies.composite
def decompositions(draw: strategies.DrawFn, decisions: Mapping[str, Decision]) -> Decomposition:
    """Whole numbers, with a pair of choices that cost something together."""
    numbers = strategies.integers(0, 40).map(float)

    def table(rows: int, columns: int) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(draw(numbers) for _ in range(columns)) for _ in range(rows))

    single = {name: table(one.num_rows, len(one.candidates)) for name, one in decisions.items()}
    width, layer = (len(decisions[name].candidates) for name in ("width", "layer"))
    pairs = {("width", "layer"): table(width, layer)} if draw(strategies.booleans()) else {}
    return Decomposition(float(draw(strategies.integers(0, 50))), single, pairs)
