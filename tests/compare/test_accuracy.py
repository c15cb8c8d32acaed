"""Accuracies from a table."""

import numpy as np

from dnas.compare.accuracy import table_digest, table_values
from dnas.table import Table

NUM = 15625
TABLE = Table({"valid200_c10": np.arange(NUM), "test200_c10": np.arange(NUM)[::-1]}, source="made up")


def test_the_digest_of_a_table_changes_with_any_number_and_name():
    changed = np.arange(NUM, dtype=float)
    changed[7] += 0.5
    others = [{"a": changed}, {"b": np.arange(NUM)}, {"a": np.arange(NUM), "b": np.arange(NUM)}]
    digests = [table_digest(Table(columns, source="")) for columns in ({"a": np.arange(NUM)}, *others)]
    assert len(set(digests)) == 4


def test_unknown_values_are_left_out():
    known = np.arange(NUM, dtype=float)
    architecture = TABLE.architecture(3)
    known[3] = np.nan
    assert table_values(Table({"a": known, "b": np.arange(NUM)}, source=""), architecture) == {"b": 3.0}
