"""A recurrent cell as a tree and in numbers, and `dnas describe` of it."""

import doctest
import json

import pytest
import torch

import dnas.report.describe_cell
from dnas.core.architecture import CellArchitecture, KeptEdge
from dnas.formats import published, read_architecture, write_genotype
from dnas.report.describe_cell import cell_tree, describe_cell
from dnas.space.recurrent import RecurrentSpace
from tests.support.cli import done, refused


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.report.describe_cell).failed == 0


@pytest.mark.parametrize("name", ["DARTS_RNN_V1", "DARTS_RNN_V2", "ENAS_RNN"])
def test_every_edge_stands_once_in_the_tree_below_the_state_it_leaves(name: str):
    cell = published(name).decisions["recurrent"]
    assert isinstance(cell, CellArchitecture)
    first, *lines, last = cell_tree(cell)
    path: list[int] = [0]
    seen = []
    for line in lines:
        indent = len(line) - len(line.lstrip(" |`-"))
        target, operation, source = (word.strip(":") for word in line[indent:].replace(" of ", " ").split())
        path = path[: indent // 4]  # from state 0 down to the one that this line stands below
        assert path[-1] == int(source)
        path.append(int(target))
        seen.append(KeptEdge(int(source), int(target), operation))
    assert sorted(seen) == sorted(cell.edges)
    assert first.startswith("0: ") and last.startswith("new hidden state: the mean of ")


def test_what_follows_a_node_with_two_inputs_is_shown_once():
    edges = (KeptEdge(0, 1, "tanh"), KeptEdge(0, 2, "relu"), KeptEdge(1, 2, "relu"), KeptEdge(2, 3, "tanh"))
    lines = list(cell_tree(CellArchitecture(edges, (3,))))
    assert sum("3: tanh of 2" in line for line in lines) == 1
    assert sum("2: relu of" in line for line in lines) == 2
    assert lines[-1] == "new hidden state: the mean of 3"


def test_numbers_are_those_of_the_matrices():
    h, v, n = 7, 11, 3
    cell = RecurrentSpace(nodes=n).random(torch.Generator().manual_seed(0))
    description = describe_cell(cell, hidden=h, vocabulary=v)
    assert description.parts == (
        ("embedding, and decoder", v * h + v, 2 * v * h),
        ("input gate", 4 * h * h, 8 * h * h),
        (f"nodes 1 to {n}", n * 2 * h * h, n * 4 * h * h),
    )
    assert description.parameters == sum(part[1] for part in description.parts)
    assert description.flops == sum(part[2] for part in description.parts)


def test_the_command_describes_names_texts_and_files(tmp_path):
    text = write_genotype(published("DARTS_RNN_V2"))
    (tmp_path / "cell.json").write_text(published("DARTS_RNN_V2").to_json())
    printed = done("describe", "DARTS_RNN_V2")
    assert printed == done("describe", text) == done("describe", tmp_path / "cell.json")
    assert "`-- 1: sigmoid of 0" in printed and "22,960,000" in printed
    data = json.loads(done("describe", "DARTS_RNN_V2", "--json", "--hidden", 10, "--vocabulary", 20))
    assert data["parameters"] == describe_cell(published("DARTS_RNN_V2"), hidden=10, vocabulary=20).parameters
    assert read_architecture(data["genotype"]) == published("DARTS_RNN_V2")


def test_options_of_the_other_kind_are_refused():
    line = refused("describe", "DARTS_RNN_V2", "--channels", 3, "--supernet")
    assert line.startswith("--channels, --supernet would have no effect: DARTS_RNN_V2 is a recurrent cell, for text.")
    assert refused("describe", "DARTS_V2", "--hidden=3").startswith("--hidden would have no effect: DARTS_V2 is no rec")
    assert "hidden must be 1 or more" in refused("describe", "DARTS_RNN_V2", "--hidden", 0)
    assert "unknown activation" in refused("describe", "Genotype(recurrent=[('sin', 0)], concat=[1])")
