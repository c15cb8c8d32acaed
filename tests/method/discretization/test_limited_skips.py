"""At most so many skip connections, as P-DARTS keeps them."""

from typing import NoReturn

import pytest
import torch

from dnas import DartsSpace, Run, SearchSettings, search
from dnas.core.architecture import CellArchitecture, Kept, KeptEdge
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.method.discretization import Argmax, LimitedSkips, Perturbation, Threshold

NAMES = ("none", "skip_connect", "conv")
EDGES = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))

# Kept are 0->2, 1->2, 0->3 and 2->3, all with skip connections; the weakest of them are 1->2 and then 2->3.
VALUES = [[0.2, 0.6, 0.2], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1], [0.3, 0.25, 0.45], [0.4, 0.5, 0.1]]


def decision(name: str = "normal", **fields) -> Decision:
    return Decision(name, "operations", NAMES, EDGES, 2, ("none",), (2, 3), **fields)


def keep(discretization: LimitedSkips, values=VALUES, edges=None, *decisions: Decision) -> dict[str, Kept]:
    cells = decisions or (decision(),)
    known = {cell.name: cell for cell in cells}
    mixtures = {cell.name: Mixture(torch.tensor(values, dtype=torch.float64)) for cell in cells}
    if edges is not None:
        mixtures["normal.edges"] = Mixture(torch.tensor(edges, dtype=torch.float64))

    def never(*arguments) -> NoReturn:
        raise AssertionError("strengths alone decide")

    return discretization(known, mixtures, evaluate=never, train=never)


def cell(*edges: tuple[int, int, str]) -> CellArchitecture:
    return CellArchitecture(tuple(KeptEdge(*edge) for edge in edges), (2, 3))


S, C = "skip_connect", "conv"
ALL_FOUR = cell((0, 2, S), (1, 2, S), (0, 3, S), (2, 3, S))


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (8, ALL_FOUR),
        (4, ALL_FOUR),
        # 1->2 (0.4) goes: its next operation takes the place, since state 2 has no other edge.
        (3, cell((0, 2, S), (1, 2, C), (0, 3, S), (2, 3, S))),
        # 2->3 (0.5) goes: the edge 1->3 is stronger (0.45) than what is left on 2->3 (0.1).
        (2, cell((0, 2, S), (1, 2, C), (0, 3, S), (1, 3, C))),
        (1, cell((0, 2, C), (1, 2, C), (0, 3, S), (1, 3, C))),
        # 0->3 (0.8) goes: 0.1 for 'conv' there and on 2->3, and the first one stays.
        (0, cell((0, 2, C), (1, 2, C), (0, 3, C), (1, 3, C))),
    ],
)
def test_the_weakest_skip_connections_give_way_one_at_a_time(most, expected):
    assert keep(LimitedSkips(most=most)) == {"normal": expected}


def test_two_are_kept_in_the_normal_cell_by_default_and_others_are_left_alone():
    cells = decision("normal"), decision("reduce")
    assert keep(LimitedSkips(), VALUES, None, *cells) == {
        "normal": cell((0, 2, S), (1, 2, C), (0, 3, S), (1, 3, C)),
        "reduce": ALL_FOUR,
    }
    both = keep(LimitedSkips(decisions=("normal", "reduce")), VALUES, None, *cells)
    assert both["reduce"] == both["normal"]


def test_a_skip_connection_that_comes_in_for_another_counts_too():
    # Kept are 1->3 and 2->3; when 1->3 goes, 0->3 comes in with a skip connection, and goes as well.
    values = [[0.1, 0.1, 0.8], [0.1, 0.1, 0.8], [0.0, 0.4, 0.2], [0.0, 0.5, 0.3], [0.0, 0.9, 0.1]]
    assert keep(LimitedSkips(most=1), values) == {"normal": cell((0, 2, C), (1, 2, C), (1, 3, C), (2, 3, S))}


def test_weak_is_what_has_the_least_product_with_the_weight_of_its_edge():
    # Products of the kept ones: 0.06, 0.36, 0.16, 0.3: the first edge goes, whose gate is not the least.
    assert keep(LimitedSkips(most=3), VALUES, [0.1, 0.9, 0.2, 0.2, 0.6]) == {
        "normal": cell((0, 2, C), (1, 2, S), (0, 3, S), (2, 3, S))
    }


def test_ties_give_way_in_order():
    assert keep(LimitedSkips(most=3), [[0.0, 0.6, 0.4]] * 5) == {
        "normal": cell((0, 2, C), (1, 2, S), (0, 3, S), (1, 3, S))
    }


def test_other_rules_are_limited_as_well():
    values = [[0.0, 0.9, 0.2], [0.0, 0.95, 0.2], [0.0, 0.92, 0.9], [0.0, 0.3, 0.2], [0.0, 0.99, 0.1]]
    assert keep(LimitedSkips(Threshold(0.85)), values) == {"normal": cell((1, 2, S), (0, 3, C), (2, 3, S))}


def test_nothing_changes_where_few_skip_connections_win():
    values = [[0.2, 0.2, 0.6]] * 4 + [[0.2, 0.6, 0.2]]
    assert keep(LimitedSkips(), values)["normal"] == keep(LimitedSkips(most=8), values)["normal"]


def test_where_a_node_has_nothing_else_more_of_them_stay():
    own = tuple(("none", S) for _ in range(2)) + tuple((S, C) for _ in range(3))
    cells = Decision("normal", "operations", ("0", "1"), EDGES, 2, ("none",), (2, 3), own)
    values = [[0.5, 0.5], [0.5, 0.5], [0.6, 0.4], [0.4, 0.6], [0.3, 0.7]]
    assert keep(LimitedSkips(most=1), values, None, cells) == {
        "normal": cell((0, 2, S), (1, 2, S), (1, 3, C), (2, 3, C))
    }


def test_mixtures_are_left_as_they_were():
    mixture = Mixture(torch.tensor(VALUES))
    LimitedSkips(most=0)({"normal": decision()}, {"normal": mixture}, evaluate=lambda a: 0.0, train=lambda e, a: None)
    assert mixture.values.tolist() == torch.tensor(VALUES).tolist()


def test_a_cell_or_candidate_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="limits 'skip_connect' in cell 'middle', which this model does not have"):
        keep(LimitedSkips(decisions=("middle",)))
    with pytest.raises(ValueError, match=r"limits 'identity' in cell 'normal'.*'none', 'skip_connect', 'conv'"):
        keep(LimitedSkips(candidate="identity"))


def test_a_supernet_without_the_cell_is_refused_before_the_first_step(tmp_path):
    # DARTS's space has a reduction cell, but a supernet of one cell has none.
    settings = SearchSettings(discretization=LimitedSkips(decisions=("reduce",)), epochs=1)

    def never(outputs, targets) -> NoReturn:
        raise AssertionError("no step is taken")

    batches = [(torch.zeros(2, 3, 8, 8), torch.zeros(2))]
    model = DartsSpace().model(channels=2, cells=1, num_classes=2)
    with pytest.raises(ValueError, match="limits 'skip_connect' in cell 'reduce', which this model does not have"):
        search(model, batches, batches, criterion=never, settings=settings, run=Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match="most must be at least 0; got -1"):
        LimitedSkips(most=-1)


def test_a_rule_that_trains_is_refused():
    with pytest.raises(ValueError, match="got Perturbation: use Argmax or Threshold"):
        LimitedSkips(Perturbation())
    assert LimitedSkips(Argmax()) == LimitedSkips()


def test_a_rule_that_no_name_stands_for_is_refused():
    with pytest.raises(ValueError, match=r"there is no Discretization .* known are Argmax, Evolution"):
        LimitedSkips("dnas.Nothing")  # type: ignore[arg-type]
