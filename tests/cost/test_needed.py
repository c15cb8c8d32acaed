"""Which cells need all that they keep."""

import pytest

from dnas.core.architecture import CellArchitecture, KeptEdge
from dnas.cost.needed import needs_all

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


@pytest.mark.parametrize(
    ("operations", "needed"),
    [
        ("xxxxxx", True),
        ("-x-xxx", False),  # state 1 is zeros, and state 3 looks at it
        ("x-xxxx", True),
        ("xx-x-x", False),  # nothing looks at state 1
        ("xxxxx-", False),  # nothing looks at state 2
        ("---x--", True),
    ],
)
def test_operations_on_zeros_and_operations_that_nothing_uses_are_not_needed(operations: str, needed: bool):
    names = {"x": "nor_conv_3x3", "-": "none"}
    edges = tuple(KeptEdge(*edge, names[one]) for edge, one in zip(EDGES, operations, strict=True))
    assert needs_all({"cell": CellArchitecture(edges, (3,)), "choice": "skip"}) == needed
