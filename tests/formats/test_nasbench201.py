"""NAS-Bench-201 strings; all 15,625 of them go there and back in tests/test_table_order.py."""

import doctest

import pytest
import torch

import dnas.formats.nasbench201
from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.formats import read_nasbench201, write_nasbench201
from dnas.space import NasBench201Space, space_of
from dnas.space.nasbench201 import EDGES

TEXT = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.formats.nasbench201).failed == 0


def test_each_operation_lies_on_its_edge():
    architecture = read_nasbench201(TEXT)
    assert architecture.decisions == {
        "cell": CellArchitecture(
            (
                KeptEdge(0, 1, "avg_pool_3x3"),
                KeptEdge(0, 2, "nor_conv_1x1"),
                KeptEdge(1, 2, "skip_connect"),
                KeptEdge(0, 3, "nor_conv_1x1"),
                KeptEdge(1, 3, "none"),
                KeptEdge(2, 3, "nor_conv_3x3"),
            ),
            (3,),
        )
    }
    assert space_of(architecture) == NasBench201Space()


def test_there_and_back_is_the_same():
    assert write_nasbench201(read_nasbench201(f"  {TEXT}\n")) == TEXT
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        drawn = NasBench201Space().random(generator)
        assert read_nasbench201(write_nasbench201(drawn)) == drawn


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 1 nodes, expected 3"),
        (TEXT.rpartition("+")[0], "has 2 nodes, expected 3"),
        (TEXT.replace("skip_connect", "skip"), "node 2 has an unknown operation 'skip'"),
        (TEXT.replace("none~1", "none~2"), "node 3 must have one operation from each of the states 0 to 2"),
        (TEXT.replace("|none~1", ""), "node 3 must have one operation"),
        (TEXT.replace("avg_pool_3x3~0", "avg_pool_3x3"), "node 1 must have one operation"),
        (TEXT[1:], "node 1 must have one operation"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(ValueError, match=f"^cell.txt.*{message}"):
        read_nasbench201(text, source="cell.txt")


def test_an_architecture_that_the_string_cannot_say_is_refused():
    cell = CellArchitecture((KeptEdge(0, 1, "none"),), (1,))
    with pytest.raises(ValueError, match="one operation on each of the edges"):
        write_nasbench201(Architecture({"cell": cell}, "nasbench201"))
    other = CellArchitecture(tuple(KeptEdge(*edge, "max_pool_3x3") for edge in EDGES), (3,))
    with pytest.raises(ValueError, match=r"has the operations none, .*; got 'max_pool_3x3'"):
        write_nasbench201(Architecture({"cell": other}, "nasbench201"))
    with pytest.raises(ValueError, match="got space 'darts'"):
        write_nasbench201(Architecture({}, "darts"))
