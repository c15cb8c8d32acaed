"""What every space checks and stamps."""

import pytest
import torch

from dnas.core.architecture import CellArchitecture, Kept, KeptEdge
from dnas.space.base import check_cell, check_size, draw_distinct
from dnas.space.darts import DartsSpace
from dnas.space.nasbench201 import NasBench201Space
from dnas.system.errors import UserError


def cell(*edges: tuple[int, int, str], output: tuple[int, ...] = (2,)) -> CellArchitecture:
    return CellArchitecture(tuple(KeptEdge(*edge) for edge in edges), output)


BAD_CELLS: list[tuple[Kept, str]] = [
    ("sep_conv_3x3", "must be a cell"),
    (cell((0, 2, "conv_9x9")), "unknown operation 'conv_9x9'"),
    (cell((2, 2, "none")), "from state 2 to 2"),
    (cell((0, 1, "none")), "from state 0 to 1"),
    (cell((-1, 2, "none")), "from state -1 to 2"),
    (cell((0, 3, "none"), (0, 2, "none")), "in order of their targets"),
    (cell((0, 4, "none")), r"no edge into states \[2, 3\]"),
    (cell((0, 2, "none"), output=(3,)), "states from 1 to 2"),
    (cell((0, 2, "none"), output=(0,)), "states from 1 to 2"),
    (cell((0, 2, "none"), output=()), r"got \[\]"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_CELLS)
def test_a_cell_that_cannot_be_built_is_refused_by_name(bad: Kept, message: str):
    with pytest.raises(ValueError, match=message) as error:
        check_cell("normal", bad, num_inputs=2, first_output=1)
    assert "'normal'" in str(error.value)


def test_a_cell_may_repeat_an_edge_and_have_one_edge_per_node():
    check_cell(
        "normal", cell((0, 2, "none"), (0, 2, "sep_conv_7x7"), (2, 3, "skip_connect"), output=(3, 2, 3)), num_inputs=2
    )


@pytest.mark.parametrize("name", ["channels", "cells", "num_classes", "in_channels"])
def test_numbers_below_one_are_refused_by_name(name: str):
    sizes = {"channels": 1, "cells": 1, "num_classes": 1, "in_channels": 1, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be 1 or more; got 0"):
        check_size(**sizes)


def test_arguments_are_plain_json_values():
    assert DartsSpace(nodes=2, candidates=("none", "skip_connect")).arguments == {
        "nodes": 2,
        "candidates": ["none", "skip_connect"],
        "edge_weights": False,
        "partial_channels": 1,
    }
    assert NasBench201Space().arguments == {"edge_weights": False, "partial_channels": 1}


def test_an_architecture_carries_name_version_and_arguments_of_its_space():
    space = DartsSpace(nodes=3)
    architecture = space.architecture({"normal": cell((0, 2, "skip_connect"))})
    assert (architecture.space, architecture.version, architecture.arguments) == ("darts", 1, space.arguments)


def test_distinct_draws_cover_all_pairs_about_equally():
    generator = torch.Generator().manual_seed(0)
    pairs = [tuple(draw_distinct(4, 2, generator)) for _ in range(1200)]
    counts = {pair: pairs.count(pair) for pair in set(pairs)}
    assert len(counts) == 6
    # 200 expected, standard deviation 13.
    assert all(135 < count < 265 for count in counts.values())


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"cells": 10**6}, "cells must be at most 1,000; got 1,000,000"),
        ({"channels": 10**6}, "channels must be at most 10,000"),
        ({"num_classes": 2**62}, "num_classes must be at most 1,000,000"),
        ({"in_channels": 10**6}, "in_channels must be at most 1,000"),
    ],
)
def test_a_network_that_nobody_builds_is_refused_before_it_is_built(size, said):
    with pytest.raises(UserError, match=said):
        check_size(**{"channels": 1, "cells": 1, "num_classes": 1, "in_channels": 1, **size})
