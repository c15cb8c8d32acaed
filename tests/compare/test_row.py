"""Rows are read as they were written, and their settings are those asked for or the first other one is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dnas import NasBench201Space
from dnas.compare.row import CompareRow, Found
from dnas.jobs.job import Job
from dnas.system.plain_data import to_plain

SPACE = NasBench201Space()


def architecture(seed: int):
    return SPACE.random(torch.Generator().manual_seed(seed))


def a_row(**changes) -> CompareRow:
    row = CompareRow(
        recipe="darts_1st",
        seed=1,
        settings=to_plain(Job(space=SPACE)),
        environment={"device": "cpu, 1 threads"},
        seconds=2.5,
        found=Found(architecture(0), {"valid": 90.5}),
        trajectory=(Found(architecture(1), {"valid": 80.0}, epoch=1), Found(architecture(0), epoch=2)),
        table="0123",
    )
    return replace(row, **changes)


# Files


@pytest.mark.parametrize(
    "row",
    [
        a_row(),
        a_row(agreement=-0.25, compute=3.5, flops=2e12),
        a_row(found=None, trajectory=(), failure="the loss is nan"),
    ],
)
def test_a_row_comes_back_as_it_was_saved(tmp_path: Path, row: CompareRow):
    row.save(tmp_path / "row.json")
    assert CompareRow.load(tmp_path / "row.json") == row


def test_a_row_without_an_agreement_is_written_as_before_there_was_one():
    assert "kendall_tau" not in a_row().to_data()
    assert a_row(agreement=0.5).to_data() == {**a_row().to_data(), "kendall_tau": 0.5}


def test_a_row_holds_the_string_of_the_benchmark(tmp_path: Path):
    a_row().save(tmp_path / "row.json")
    string = json.loads((tmp_path / "row.json").read_text())["found"]["string"]
    assert string.count("~") == 6


@pytest.mark.parametrize(
    ("written", "shown"),
    [("cpu, 1 threads", "cpu, 1 thread"), ("cpu, 11 threads", "cpu, 11 threads"), ("NVIDIA H100", "NVIDIA H100")],
)
def test_the_device_is_said_in_words(written: str, shown: str):
    assert a_row(environment={"device": written}).device == shown


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data.pop("seed"), "expected the entries"),
        (lambda data: data.update(seed="1"), "seed must be of type int"),
        (lambda data: data.update(kendall_tau="high"), "kendall_tau must be of type float"),
        (lambda data: data["settings"].update(seed=7), "settings in it are not those"),
        (lambda data: data.update(found=None), "either what was found or a failure"),
        (lambda data: data["found"]["values"].update(valid="high"), "'valid' must be a number"),
        (lambda data: data["found"]["architecture"].pop("space"), "found, architecture"),
        (lambda data: data["trajectory"][1].pop("epoch"), "trajectory, entry 1"),
    ],
)
def test_a_damaged_row_is_named_with_what_is_wrong(tmp_path: Path, damage, message: str):
    path = tmp_path / "row.json"
    data = a_row().to_data()
    damage(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message) as caught:
        CompareRow.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["", '{"recipe": "dar', "[]", "null", "3", "\x00"])
def test_what_is_no_row_at_all_is_named(tmp_path: Path, content: str):
    path = tmp_path / "row.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="damaged") as caught:
        CompareRow.load(path)
    assert str(path) in str(caught.value)
