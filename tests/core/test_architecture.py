"""What was found survives JSON, and does not fit where it does not belong."""

import dataclasses
import json
import pickle

import pytest
import torch

from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.core.decision import Decision
from tests.support.limited import lines_under_limit

EDGES = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
DECISIONS = {
    "act": Decision("act", "choice", ("relu", "tanh")),
    "from": Decision("from", "inputs", ("a", "b", "c"), num_kept=2),
    "cell": Decision("cell", "operations", ("none", "conv", "skip"), EDGES, 2, ("none",), (2, 3)),
    "cell.edges": Decision("cell.edges", "edges", tuple(f"{i}->{j}" for i, j in EDGES), EDGES),
}
CELL = CellArchitecture(
    (KeptEdge(1, 2, "conv"), KeptEdge(0, 2, "skip"), KeptEdge(2, 3, "conv"), KeptEdge(0, 3, "conv")), (2, 3)
)
FOUND = Architecture({"act": "tanh", "from": ("a", "c"), "cell": CELL}, "own", 3, {"nodes": 2, "names": ["x"]})


def test_json_there_and_back_is_the_same():
    assert Architecture.from_json(FOUND.to_json()) == FOUND


def test_a_file_there_and_back_is_the_same(tmp_path):
    FOUND.save(tmp_path / "deep" / "architecture.json")
    assert Architecture.load(tmp_path / "deep" / "architecture.json") == FOUND


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        Architecture.load(tmp_path / "architecture.json")


def test_it_is_frozen_and_can_be_pickled():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FOUND.space = "other"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(FOUND)) == FOUND


def data(**changes) -> str:
    return json.dumps(json.loads(FOUND.to_json()) | changes)


def cell(**changes) -> dict:
    return {"decisions": {"cell": {"edges": [[0, 2, "conv"]], "output": [2]} | changes}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", 'expected an object with "format"'),
        (data(format="other"), 'expected an object with "format"'),
        (data(format_version=2), "has format_version 2; this dnas reads 1"),
        (data(more=1), r"unknown entries \['more'\]"),
        (data(space=3), "space must be a string; got 3"),
        (data(version=True), "version must be a whole number; got True"),
        (data(arguments=[]), "arguments must be an object"),
        (data(decisions=[]), "decisions must be an object"),
        (data(decisions={"act": 3}), r"decisions\.act must be a cell, list or name; got 3"),
        (data(decisions={"from": ["a", 1]}), r"decisions\.from must be a list of names"),
        (data(decisions={"cell": {"edges": []}}), r"decisions\.cell must be a cell, list or name"),
        (data(**cell(edges=3)), r"decisions\.cell\.edges must be a list; got 3"),
        (data(**cell(edges=[[0, 2]])), r"a list of \[source, target, operation\]"),
        (data(**cell(edges=[[0, True, "conv"]])), r"a list of \[source, target, operation\]"),
        (data(**cell(edges=[[2, 2, "conv"]])), "edges that go upward"),
        (data(**cell(edges=[[-1, 2, "conv"]])), "edges that go upward"),
        (data(**cell(edges=[[0, 3, "conv"], [0, 2, "conv"]])), "in order of their targets"),
        (data(**cell(output=[])), r"decisions\.cell\.output must be a list of state indices"),
        (data(**cell(output=[-1])), r"decisions\.cell\.output must be a list of state indices"),
    ],
)
def test_a_text_that_is_none_is_refused_with_source_and_place(text, message):
    with pytest.raises(ValueError, match=f"^found.json.*{message}"):
        Architecture.from_json(text, source="found.json")


def test_it_fits_the_decisions_it_answers():
    FOUND.check(DECISIONS)


def with_decision(name: str, kept) -> Architecture:
    return dataclasses.replace(FOUND, decisions={**FOUND.decisions, name: kept})


def with_edges(*edges: tuple[int, int, str], output: tuple[int, ...] = (2, 3)) -> Architecture:
    return with_decision("cell", CellArchitecture(tuple(KeptEdge(*edge) for edge in edges), output))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Architecture({"act": "relu"}), r"decides \['act'\], the model needs \['act', 'cell', 'from'\]"),
        (with_decision("more", "relu"), "different spaces"),
        (with_decision("act", ("relu",)), r"'act' is of kind 'choice'; the architecture has \('relu',\)"),
        (with_decision("act", "sigmoid"), r"'act' has no candidate 'sigmoid': \['relu', 'tanh'\]"),
        (with_decision("from", "a"), "'from' is of kind 'inputs'"),
        (with_decision("from", ("a", "d")), "'from' has no candidate 'd'"),
        (with_decision("from", ()), "keeps 1 to 2 different inputs"),
        (with_decision("from", ("a", "a")), "keeps 1 to 2 different inputs"),
        (with_decision("from", ("a", "b", "c")), "keeps 1 to 2 different inputs"),
        (with_decision("cell", "conv"), "'cell' is of kind 'operations'"),
        (with_edges((0, 2, "conv"), (0, 4, "conv")), "'cell' has no edge from state 0 to 4"),
        (with_edges((0, 2, "conv"), (0, 3, "pool")), "'cell' has no candidate 'pool'"),
        (with_edges((0, 2, "conv")), r"keeps no edge into states \[3\]"),
        (with_edges((0, 3, "conv"), (0, 2, "conv")), r"in order of their targets; got \[3, 2\]"),
        (with_edges((0, 2, "conv"), (0, 3, "conv"), output=(3,)), r"gives out states \[2, 3\]; the architecture \[3\]"),
    ],
)
def test_what_does_not_fit_is_named(architecture, message):
    with pytest.raises(ValueError, match=message):
        architecture.check(DECISIONS)


def test_its_one_hot_is_1_at_what_is_kept_and_lets_only_that_be_computed():
    one_hot = FOUND.one_hot(DECISIONS, torch.zeros((), dtype=torch.float64))
    assert one_hot["act"].values.tolist() == [0, 1]
    assert one_hot["act"].active == ((1,),)
    assert one_hot["from"].values.tolist() == [1, 0, 1]
    assert one_hot["from"].active == ((0, 2),)
    assert one_hot["cell"].values.tolist() == [[0, 0, 1], [0, 1, 0], [0, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert one_hot["cell"].active == ((2,), (1,), (1,), (), (1,))
    assert one_hot["cell.edges"].values.tolist() == [1] * 5
    assert {mixture.values.dtype for mixture in one_hot.values()} == {torch.float64}


def test_an_operation_kept_twice_on_one_edge_counts_twice_and_is_computed_once():
    architecture = with_edges((0, 2, "conv"), (0, 2, "conv"), (0, 3, "conv"), (0, 3, "skip"))
    mixture = architecture.one_hot(DECISIONS, torch.zeros(()))["cell"]
    assert mixture.values[0].tolist() == [0, 2, 0]
    assert mixture.values[2].tolist() == [0, 1, 1]
    assert mixture.active == ((1,), (), (1, 2), (), ())


def test_hostile_sizes_in_a_file_are_refused_under_a_memory_limit(tmp_path):
    one = '{"format": "dnas-architecture", "format_version": 1, "space": "darts", "version": 1, "arguments": {}, '
    hostile = {
        "node": one + '"decisions": {"cell": {"edges": [[0, 1000000000000, "a"]], "output": [2]}}}',
        "edges": one
        + '"decisions": {"cell": {"edges": ['
        + ", ".join(['[0, 2, "a"]'] * 20_000)
        + '], "output": [2]}}}',
        "outputs": one + f'"decisions": {{"cell": {{"edges": [], "output": [{", ".join(["2"] * 100_000)}]}}}}}}',
        "nodes": one.replace('"arguments": {}', '"arguments": {"nodes": 1000000000000}') + '"decisions": {}}',
        "large": "[" + "0," * 10**7 + "0]",
    }
    for name, text in hostile.items():
        (tmp_path / f"{name}.json").write_text(text)
    found = lines_under_limit(
        f"""
from pathlib import Path
from dnas.core.architecture import Architecture
from dnas.space.lookup import space_of
for name in {list(hostile)}:
    refused(lambda: space_of(Architecture.load(Path({str(tmp_path)!r}) / f"{{name}}.json")))
"""
    )
    said = (
        "edges that go upward, to states below 1,000; got [0, 1000000000000, 'a']",
        "decisions.cell.edges must be at most 5,000; got 20000",
        "a list of state indices, each below 1,000; got [2, 2, 2",
        "nodes must be at most 100; got 1,000,000,000,000",
        "at most 10,000,000 are read",
    )
    assert [words in line for words, line in zip(said, found, strict=True)] == [True] * 5, found


def test_no_flipped_bit_of_an_architecture_file_is_read_as_another_architecture(tmp_path):
    path = tmp_path / "architecture.json"
    FOUND.save(path)
    content = path.read_bytes()
    for place in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"architecture\.json"):
            Architecture.load(path)


def test_an_architecture_file_without_a_digest_is_read(tmp_path):
    (tmp_path / "architecture.json").write_text(FOUND.to_json())
    assert Architecture.load(tmp_path / "architecture.json") == FOUND
