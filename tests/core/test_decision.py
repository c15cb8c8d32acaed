"""A decision knows its shape, its nodes, and how it differs from another."""

import dataclasses
import pickle

import pytest

from dnas.core.decision import Decision, edges_name

EDGES = ((0, 2), (1, 2), (0, 3), (2, 3))
CELL = Decision("cell", "operations", ("none", "conv"), EDGES, 2, ("none",), (2, 3))


@pytest.mark.parametrize(
    ("decision", "shape", "rows"),
    [
        (Decision("act", "choice", ("a", "b", "c")), (3,), 1),
        (Decision("from", "inputs", ("a", "b"), num_kept=1), (2,), 1),
        (CELL, (4, 2), 4),
        (Decision("cell.edges", "edges", ("a", "b", "c", "d"), EDGES), (4,), 1),
    ],
)
def test_each_kind_has_its_shape_and_rows(decision, shape, rows):
    assert (decision.shape, decision.num_rows) == (shape, rows)


def test_nodes_and_their_incoming_edges_are_in_order():
    assert CELL.nodes == (2, 3)
    assert [CELL.incoming(node) for node in CELL.nodes] == [(0, 1), (2, 3)]
    assert CELL.incoming(0) == ()


def test_equal_decisions_have_no_difference_whatever_their_names():
    assert CELL.difference(dataclasses.replace(CELL, name="other")) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "choice"),
        ("candidates", ("none", "pool")),
        ("edges", EDGES[:3]),
        ("num_kept", None),
        ("excluded", ()),
        ("output", (3,)),
        ("on_edges", (("none", "conv"),) * 3 + (("pool", "conv"),)),
    ],
)
def test_the_first_difference_is_named_with_both_values(field, value):
    other = dataclasses.replace(CELL, **{field: value})
    assert CELL.difference(other) == f"{field}: {getattr(CELL, field)} and {value}"


def test_names_are_those_of_the_row():
    assert [CELL.names(row) for row in range(4)] == [("none", "conv")] * 4
    own = dataclasses.replace(CELL, candidates=("#0", "#1"), on_edges=(("none", "conv"),) * 3 + (("pool", "conv"),))
    assert [own.names(row)[0] for row in range(4)] == ["none", "none", "none", "pool"]
    assert own.shape == CELL.shape
    assert Decision("act", "choice", ("a", "b")).names(0) == ("a", "b")


def test_a_cells_edge_decision_has_a_name_of_its_own():
    assert edges_name("normal") == "normal.edges"


def test_decisions_can_be_pickled_and_compared():
    assert pickle.loads(pickle.dumps(CELL)) == CELL
