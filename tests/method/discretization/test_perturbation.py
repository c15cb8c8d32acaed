"""Selection by what the supernet misses: which questions are asked, in which order, and what is kept."""

from collections.abc import Mapping

import pytest
import torch

from dnas.core.architecture import CellArchitecture, Kept, KeptEdge
from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.method.discretization import Perturbation

ALL = (0, 1, 2)
NAMES = ("none", "conv", "skip")
PAIR = Decision("c", "operations", NAMES, ((0, 1), (0, 2)), None, (), (1, 2))  # as in NAS-Bench-201: all edges stay
CELL = Decision("normal", "operations", NAMES, ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), 2, ("none",), (2, 3))


class Supernet:
    """Accuracy is 1 less the worth of what is missing; it notes what it is asked, and what it is trained with."""

    def __init__(self, worth: Mapping[str, list[list[float]]]):
        self.worth = worth
        self.log: list[tuple] = []

    def evaluate(self, active: Mapping[str, Active]) -> float:
        self.log.append(("evaluate", dict(active)))
        return 1 - sum(
            value
            for name, rows in self.worth.items()
            for row, values in enumerate(rows)
            for k, value in enumerate(values)
            if k not in active[name][row]
        )

    def train(self, epochs: int, active: Mapping[str, Active] | None) -> None:
        self.log.append(("train", epochs, dict(active or {})))

    def count(self, what: str) -> int:
        return sum(entry[0] == what for entry in self.log)


def keep(
    discretization: Perturbation, supernet: Supernet, *decisions: Decision, active: Mapping[str, Active] | None = None
) -> dict[str, Kept]:
    mixtures = {d.name: Mixture(torch.full(d.shape, 1 / 3), (active or {}).get(d.name)) for d in decisions}
    return discretization({d.name: d for d in decisions}, mixtures, evaluate=supernet.evaluate, train=supernet.train)


def cell(output: tuple[int, ...], *edges: tuple[int, int, str]) -> CellArchitecture:
    return CellArchitecture(tuple(KeptEdge(*edge) for edge in edges), output)


def test_each_edge_is_asked_without_each_operation_and_the_supernet_tuned_before_the_next():
    def log_from(first: int) -> list[tuple]:
        # Row 0 misses 'conv' most, row 1 'none'; the row that comes second is asked with the first one settled.
        best = {0: 1, 1: 0}

        def rows(first_row: tuple[int, ...], second_row: tuple[int, ...]) -> dict[str, Active]:
            return {"c": (first_row, second_row) if first == 0 else (second_row, first_row)}

        without = ((1, 2), (0, 2), (0, 1))
        return [
            *(("evaluate", rows(left, ALL)) for left in without),
            ("train", 5, rows((best[first],), ALL)),
            *(("evaluate", rows((best[first],), left)) for left in without),
        ]

    seen = []
    for seed in range(20):
        supernet = Supernet({"c": [[0.1, 0.2, 0.05], [0.3, 0.1, 0.0]]})
        kept = keep(Perturbation(seed=seed), supernet, PAIR)
        assert kept == {"c": cell((1, 2), (0, 1, "conv"), (0, 2, "none"))}
        assert supernet.log in (log_from(0), log_from(1))
        seen.append(supernet.log == log_from(0))
    assert len(set(seen)) == 2  # the order of edges is random


def test_what_was_settled_first_changes_what_is_missed_later():
    # On the second edge 'conv' counts only when the first one is settled.
    without: dict[tuple[int, ...], float] = {(1, 2): 0.5, (0, 2): 0.4, (0, 1): 0.3}

    def evaluate(active: Mapping[str, Active]) -> float:
        first, second = active["c"]
        if len(first) > 1:
            return without.get(first, 0.6)
        return 0.1 if 1 not in second else 0.6

    kept = {}
    for seed in range(20):
        mixtures = {"c": Mixture(torch.full((2, 3), 1 / 3))}
        trained = []
        result = Perturbation(epochs_between=1, seed=seed)(
            {"c": PAIR},
            mixtures,
            evaluate=evaluate,
            train=lambda epochs, active, trained=trained: trained.append(active),
        )
        (settled,) = trained
        kept[len(settled["c"][0])] = result["c"]
    # With the first edge to be settled yet, all questions about the second give 0.6, and its first candidate stays.
    assert kept[1] == cell((1, 2), (0, 1, "skip"), (0, 2, "conv"))
    assert kept[3] == cell((1, 2), (0, 1, "skip"), (0, 2, "none"))


WORTH = [[0.5, 0.01, 0.02], [0.5, 0.04, 0.03], [0.5, 0.01, 0.02], [0.5, 0.03, 0.01], [0.5, 0.01, 0.05]]


def test_in_a_cell_of_darts_edges_are_settled_first_then_the_two_inputs_of_each_node():
    reduce = Decision("reduce", "operations", NAMES, CELL.edges, 2, ("none",), (2, 3))
    supernet = Supernet({"normal": WORTH, "reduce": WORTH})
    kept = keep(Perturbation(seed=3), supernet, CELL, reduce)
    # Into state 3 the settled operations are worth 0.02, 0.03 and 0.05, so the first edge goes. 'none' is never kept,
    # though it is worth most.
    expected = cell((2, 3), (0, 2, "skip"), (1, 2, "conv"), (1, 3, "conv"), (2, 3, "skip"))
    assert kept == {"normal": expected, "reduce": expected}
    # Five rounds for the edges and one for the node of three inputs, each with both cells, and tuning between rounds.
    per_round = [4, 4, 4, 4, 4, 6]
    assert [entry[0] for entry in supernet.log] == [
        kind for index, count in enumerate(per_round) for kind in (["train"] if index else []) + ["evaluate"] * count
    ]


def test_the_two_cells_of_a_round_follow_one_another():
    reduce = Decision("reduce", "operations", NAMES, CELL.edges, 2, ("none",), (2, 3))
    supernet = Supernet({"normal": WORTH, "reduce": WORTH})
    keep(Perturbation(), supernet, CELL, reduce)
    settled = [sum(len(row) == 1 for row in entry[1]["normal"]) for entry in supernet.log[2:4]]
    assert settled == [1, 1]
    assert all(row == ALL for entry in supernet.log[:2] for row in entry[1]["reduce"])


def test_inputs_of_a_node_are_taken_away_one_at_a_time_and_leave_an_empty_row():
    supernet = Supernet({"normal": WORTH})
    keep(Perturbation(), supernet, CELL)
    settled = ((2,), (1,), (2,), (1,), (2,))
    assert supernet.log[-4:] == [
        ("train", 5, {"normal": settled}),
        *(("evaluate", {"normal": (*settled[:edge], (), *settled[edge + 1 :])}) for edge in (2, 3, 4)),
    ]


def test_none_takes_part_until_its_edge_is_settled():
    supernet = Supernet({"normal": WORTH})
    keep(Perturbation(), supernet, CELL)
    first = supernet.log[0][1]["normal"]
    assert sorted(first) == [ALL, ALL, ALL, ALL, (0, 2)]
    settled = supernet.log[2][2]["normal"]
    assert sorted(len(row) for row in settled) == [1, 3, 3, 3, 3]


def test_a_choice_and_an_input_choice_are_settled_alike():
    choice = Decision("op", "choice", NAMES, excluded=("none",))
    inputs = Decision("from", "inputs", ("a", "b", "c"), num_kept=2)
    supernet = Supernet({"op": [[0.3, 0.1, 0.2]], "from": [[0.2, 0.1, 0.3]]})
    assert keep(Perturbation(epochs_between=2), supernet, choice, inputs) == {"op": "skip", "from": ("a", "c")}
    assert supernet.log == [
        ("evaluate", {"op": ((0, 2),), "from": (ALL,)}),
        ("evaluate", {"op": ((0, 1),), "from": (ALL,)}),
        ("train", 2, {"op": ((2,),), "from": (ALL,)}),
        *(("evaluate", {"op": ((2,),), "from": (left,)}) for left in ((1, 2), (0, 2), (0, 1))),
    ]


def test_ties_break_by_order():
    supernet = Supernet({"normal": [[0.0] * 3] * 5, "from": [[0.0] * 3]})
    inputs = Decision("from", "inputs", ("a", "b", "c"), num_kept=2)
    assert keep(Perturbation(), supernet, CELL, inputs) == {
        "normal": cell((2, 3), (0, 2, "conv"), (1, 2, "conv"), (0, 3, "conv"), (1, 3, "conv")),
        "from": ("a", "b"),
    }


def test_ruled_out_candidates_take_no_part_and_a_single_one_is_not_asked_about():
    supernet = Supernet({"c": [[0.1, 0.2, 0.05], [0.3, 0.1, 0.0]]})
    kept = keep(Perturbation(), supernet, PAIR, active={"c": ((0, 2), (2,))})
    assert kept == {"c": cell((1, 2), (0, 1, "none"), (0, 2, "skip"))}
    assert supernet.log == [("evaluate", {"c": ((2,), (2,))}), ("evaluate", {"c": ((0,), (2,))})]


def test_an_edge_that_was_left_with_none_alone_gets_its_other_candidates_back():
    supernet = Supernet({"normal": WORTH})
    kept = keep(Perturbation(), supernet, CELL, active={"normal": ((0,), ALL, ALL, ALL, ALL)})["normal"]
    assert isinstance(kept, CellArchitecture)
    assert kept.edges[0] == (0, 2, "skip")


def test_edges_with_candidates_of_their_own_keep_them_by_their_names():
    decision = Decision(
        "c", "operations", ("0", "1"), ((0, 1), (0, 2)), None, ("none",), (1, 2), (("none", "conv"), ("skip", "pool"))
    )
    supernet = Supernet({"c": [[0.4, 0.0], [0.1, 0.2]]})
    assert keep(Perturbation(), supernet, decision) == {"c": cell((1, 2), (0, 1, "conv"), (0, 2, "pool"))}
    assert supernet.log == [("evaluate", {"c": ((1,), (1,))}), ("evaluate", {"c": ((1,), (0,))})]


def test_edge_decisions_are_not_settled():
    edges = Decision("normal.edges", "edges", tuple(map(str, CELL.edges)), CELL.edges)
    supernet = Supernet({"normal": WORTH})
    assert list(keep(Perturbation(), supernet, CELL, edges)) == ["normal"]
    assert all(list(entry[1]) == ["normal"] for entry in supernet.log if entry[0] == "evaluate")


def test_without_tuning_nothing_is_trained():
    supernet = Supernet({"normal": WORTH})
    keep(Perturbation(epochs_between=0), supernet, CELL)
    assert (supernet.count("train"), supernet.count("evaluate")) == (0, 5 * 2 + 3)


def test_the_order_follows_the_seed():
    def log(seed: int) -> list[tuple]:
        supernet = Supernet({"normal": WORTH})
        keep(Perturbation(seed=seed), supernet, CELL)
        return supernet.log

    assert log(1) == log(1)
    assert len({str(log(seed)) for seed in range(5)}) > 1


def test_an_interruption_is_passed_on():
    def interrupted(active: Mapping[str, Active]) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Perturbation()(
            {"c": PAIR}, {"c": Mixture(torch.ones(2, 3))}, evaluate=interrupted, train=lambda epochs, active: None
        )


def test_a_negative_number_of_epochs_is_refused():
    with pytest.raises(ValueError, match="epochs_between must be at least 0; got -1"):
        Perturbation(epochs_between=-1)
