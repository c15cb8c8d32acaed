"""Tables: values, ranks and percentiles in closed form, and published numbers of the real one."""

import doctest
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import dnas.table.table
from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.formats import read_nasbench201
from dnas.space import DartsSpace, NasBench201Space
from dnas.space.nasbench201 import EDGES
from dnas.table import Entry, Table, from_arrays, official_strings

N = 15_625


def table(**columns: np.ndarray) -> Table:
    return Table(columns, source="a test")


def counting() -> np.ndarray:
    """Row i has i."""
    return np.arange(N, dtype=np.float64)


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.table.table).failed == 0


def test_rows_and_architectures_are_each_others_inverse():
    of_rows = table(a=counting())
    for row in (0, 9, 123, N - 1):
        architecture = of_rows.architecture(row)
        assert architecture == read_nasbench201(official_strings()[row])
        assert of_rows.row_of(architecture) == row
        assert of_rows.accuracy(architecture, "a") == row


def test_the_edges_of_an_architecture_may_come_in_any_order():
    found = table(a=counting()).architecture(77)
    cell = found.decisions["cell"]
    assert isinstance(cell, CellArchitecture)
    turned = NasBench201Space().architecture({"cell": CellArchitecture(cell.edges[::-1], cell.output)})
    assert table(a=counting()).row_of(turned) == 77


def test_rank_and_percentile_of_different_values():
    of_rows = table(a=counting())
    best, worst, middle = (of_rows.architecture(row) for row in (N - 1, 0, N // 2))
    assert [of_rows.rank(one, "a") for one in (best, middle, worst)] == [1, 7_813, N]
    assert of_rows.percentile(worst, "a") == 0
    assert of_rows.percentile(best, "a") == 100 * (N - 1) / N
    assert of_rows.percentile(middle, "a") == 100 * 7_812 / N
    assert of_rows.best("a") == Entry(N - 1, best, N - 1.0)


def test_lower_may_be_better():
    of_rows = table(a=counting())
    first = of_rows.architecture(0)
    assert of_rows.rank(first, "a", lower_is_better=True) == 1
    assert of_rows.percentile(first, "a", lower_is_better=True) == 100 * (N - 1) / N
    assert of_rows.best("a", lower_is_better=True).row == 0


def test_equal_values_share_the_best_rank_and_are_not_worse_than_each_other():
    values = np.repeat([5.0, 7.0, 9.0], [N - 12, 2, 10])
    tied = table(a=values)
    assert {tied.rank(tied.architecture(row), "a") for row in range(N - 10, N)} == {1}
    assert {tied.rank(tied.architecture(row), "a") for row in (N - 12, N - 11)} == {11}
    assert tied.rank(tied.architecture(0), "a") == 13
    assert tied.percentile(tied.architecture(N - 1), "a") == 100 * (N - 10) / N
    assert tied.percentile(tied.architecture(0), "a") == 0
    assert tied.best("a").row == N - 10


def test_unknown_values_take_no_part():
    values = np.full(N, np.nan)
    values[[3, 4, 5, 6]] = [1, 2, 3, 6]
    partly = table(a=values)
    summary = partly.summary("a")
    assert (summary.num_known, summary.mean, summary.median, summary.max) == (4, 3, 2.5, 6)
    assert summary.std == pytest.approx(3.5**0.5, rel=1e-15)
    assert partly.best("a").row == 6
    assert partly.best("a", lower_is_better=True).row == 3
    assert partly.rank(partly.architecture(4), "a") == 3
    assert partly.percentile(partly.architecture(4), "a") == 25
    for ask in (partly.accuracy, partly.rank, partly.percentile):
        with pytest.raises(ValueError, match=r"does not know architecture 7, \|"):
            ask(partly.architecture(7), "a")


def test_summary_of_integers_in_closed_form():
    # Of 0 to N - 1: mean (N - 1) / 2, variance (N^2 - 1) / 12; all integers below 2^24 are float32.
    summary = table(a=np.arange(N)).summary("a")
    assert (summary.num_known, summary.mean, summary.median, summary.max) == (N, (N - 1) / 2, (N - 1) / 2, N - 1)
    assert summary.std == pytest.approx(((N**2 - 1) / 12) ** 0.5, rel=1e-14)


def test_a_table_is_its_own_and_pickles():
    values = counting()
    own = table(a=values)
    values[0] = 99
    assert own.columns["a"][0] == 0
    with pytest.raises(ValueError, match="read-only"):
        own.columns["a"][0] = 1
    copy = pickle.loads(pickle.dumps(own))
    assert np.array_equal(copy.columns["a"], own.columns["a"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "at least one column"),
        ({"a": np.zeros(7)}, r"'a' must hold one number for each of the 15,625 architectures; got shape \(7,\)"),
        ({"a": np.zeros((N, 1))}, r"got shape \(15625, 1\) of float64"),
        ({"a": np.array(["x"] * N)}, "of <U1"),
        ({"a": np.zeros(N, dtype=bool)}, "of bool"),
        ({"a": np.full(N, np.nan)}, "'a' knows no architecture"),
        ({"a": np.where(np.arange(N) == 5, np.inf, 1)}, "'a' is infinite in row 5"),
        ({"a": np.where(np.arange(N) == 5, 1e300, 1)}, "'a' is infinite in row 5"),
        ({"a b": np.zeros(N)}, "got 'a b'"),
        ({"a/b/c": np.zeros(N)}, "got 'a/b/c'"),
        ({"../a": np.zeros(N)}, "got '../a'"),
        ({"": np.zeros(N)}, "got ''"),
    ],
)
def test_what_is_no_table_is_refused(columns: dict[str, np.ndarray], message: str):
    with pytest.raises(ValueError, match=message):
        Table(columns, source="a test")


def test_what_is_not_in_the_table_is_refused():
    of_rows = table(test200_c10=counting(), valid200_c10=counting())
    with pytest.raises(ValueError, match="no column 'test200'; it has test200_c10, valid200_c10"):
        of_rows.best("test200")
    with pytest.raises(ValueError, match="got space 'darts'"):
        of_rows.row_of(Architecture({}, DartsSpace.name))
    with pytest.raises(ValueError, match="one operation on each of the edges"):
        of_rows.row_of(NasBench201Space().architecture({"cell": CellArchitecture((), (3,))}))
    other = CellArchitecture(tuple(KeptEdge(*edge, "max_pool_3x3") for edge in EDGES), (3,))
    with pytest.raises(ValueError, match="got 'max_pool_3x3'"):
        of_rows.row_of(NasBench201Space().architecture({"cell": other}))
    for row in (-1, N):
        with pytest.raises(ValueError, match=f"Row {row} is not in the table"):
            of_rows.architecture(row)


@pytest.fixture(scope="module")
def real() -> Table:
    if "DNAS_DATA" not in os.environ:
        pytest.skip("DNAS_DATA does not name a folder with nb201_cifar10.npz")
    with np.load(Path(os.environ["DNAS_DATA"]) / "nb201_cifar10.npz", allow_pickle=False) as arrays:
        return from_arrays(dict(arrays), source="nb201_cifar10.npz")


def test_the_real_table_has_the_published_numbers(real: Table):
    summary = real.summary("test200_c10")
    assert summary.num_known == N
    # As the data's README gives them, to two digits.
    assert [round(value, 2) for value in (summary.max, summary.mean)] == [94.37, 87.06]
    assert summary.median == pytest.approx(90.745, abs=1e-4)  # "90.75"
    values = real.columns["test200_c10"].astype(np.float64)
    assert round(float(np.percentile(values, 99)), 2) == 93.77
    assert 100 * np.mean(values > 94) == pytest.approx(0.27, abs=0.005)
    assert round(real.best("valid200_c10").value, 2) == 91.61


def test_every_edge_a_3x3_convolution_is_good_but_166_are_better(real: Table):
    all_3x3 = read_nasbench201(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    assert round(real.accuracy(all_3x3, "test200_c10"), 2) == 93.76
    assert real.rank(all_3x3, "test200_c10") == 167
    # 6 others have the same accuracy.
    assert real.percentile(all_3x3, "test200_c10") == 100 * (N - 173) / N


def test_two_architectures_share_the_best_test_accuracy(real: Table):
    best = real.best("test200_c10")
    assert best.row == 6111
    assert np.count_nonzero(real.columns["test200_c10"] == np.float32(best.value)) == 2
    assert real.percentile(best.architecture, "test200_c10") == 100 * (N - 2) / N
