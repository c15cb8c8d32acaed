"""The official order of NAS-Bench-201."""

import doctest
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

import dnas.table.order
from dnas.core.architecture import CellArchitecture
from dnas.formats import read_nasbench201, write_nasbench201
from dnas.space.nasbench201 import CANDIDATES
from dnas.table.order import official_operations, official_strings, rows_of_strings


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.table.order).failed == 0


@pytest.mark.parametrize(
    ("row", "text"),
    # The three that `generate_meta_info` of D-X-Y/AutoDL-Projects asserts.
    [
        (0, "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"),
        (9, "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"),
        (123, "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"),
    ],
)
def test_rows_are_those_that_the_official_source_asserts(row: int, text: str):
    assert official_strings()[row] == text
    assert rows_of_strings()[text] == row


def test_the_order_is_the_one_of_the_official_files_to_the_last_row():
    # Of the architectures in meta.pickle.pbz2 of NATS-tss-v1_0-3ffb9-simple, as ours are written.
    digest = hashlib.sha256("\n".join(official_strings()).encode()).hexdigest()
    assert digest == "83abc799e45cf34e9d2163654668ab998b9a54d01c39e72ca1f71f2cdf356d84"
    assert official_operations().shape == (15_625, 6)
    assert len(rows_of_strings()) == 15_625


def test_the_order_cannot_be_changed_by_who_asks_for_it():
    with pytest.raises(ValueError, match="read-only"):
        official_operations()[0, 0] = 1


def test_every_string_maps_to_our_architecture_and_back():
    for text, operations in zip(official_strings(), official_operations().tolist(), strict=True):
        architecture = read_nasbench201(text)
        cell = architecture.decisions["cell"]
        assert isinstance(cell, CellArchitecture)
        assert [edge.operation for edge in cell.edges] == [CANDIDATES[k] for k in operations]
        assert write_nasbench201(architecture) == text


def test_the_order_is_that_of_the_table_at_hand():
    if "DNAS_DATA" not in os.environ:
        pytest.skip("DNAS_DATA does not name a folder with nb201_cifar10.npz")
    table = np.load(Path(os.environ["DNAS_DATA"]) / "nb201_cifar10.npz", allow_pickle=False)
    assert tuple(table["arch"].tolist()) == official_strings()
    assert table["op_names"].tolist() == list(CANDIDATES)
    assert np.array_equal(table["ops"], official_operations())
