"""Where an architecture stands, in words and on the command line."""

import doctest
import sys
from pathlib import Path

import numpy as np

from dnas.core.run import Run
from dnas.table import Table, load_table, official_strings, save_table, standing, standing_data
from tests.support.cli import SMALL, dnas, done, make_photos


def table() -> Table:
    values = np.arange(15625) / 200
    unknown = np.where(values > 70, np.nan, values)
    return Table({"test200_c10": values, "valid200_c10": unknown, "mflops_c10": values}, source="made up")


def test_a_line_for_each_accuracy_that_is_known():
    found = table()
    assert (
        standing(found, found.architecture(15624)) == "test200_c10: 78.12, rank 1 of 15,625, better than 99.99 % of all"
    )
    assert standing(found, found.architecture(0)).splitlines() == [
        "test200_c10: 0.00, rank 15,625 of 15,625, better than 0.00 % of all",
        "valid200_c10: 0.00, rank 14,001 of 15,625, better than 0.00 % of all",
    ]


def test_as_data_it_keeps_all_digits_and_says_of_which_table():
    data = standing_data(table(), table().architecture(15621))
    assert (data["table"], data["num_architectures"]) == ("made up", 15625)
    assert data["columns"] == {
        "test200_c10": {"value": float(np.float32(15621 / 200)), "rank": 4, "percentile": 100 * 15621 / 15625}
    }
    assert standing_data(table(), table().architecture(0))["columns"]["valid200_c10"]["rank"] == 14001


def test_the_example_of_its_docstring_holds():
    assert doctest.testmod(sys.modules["dnas.table.standing"]).failed == 0


def test_a_search_and_a_description_say_where_their_architecture_stands(tmp_path: Path):
    photos = make_photos(tmp_path / "photos", count=19)
    save_table(table(), tmp_path / "table.npz")
    sizes = ("--image_size", 8, "--batch_size", 8, "--channels", 2, "--cells", 1, "--search.epochs", 1)
    space = ("--space", "dnas.NasBench201Space", "--device", "cpu", "--threads", 1)
    look_up = ("--table", tmp_path / "table.npz")
    said = done("search", "--data", photos, "--run", tmp_path / "run", *sizes, *space, *look_up)
    assert "of 15,625, better than" in said
    line = next(line for line in said.splitlines() if line.startswith("test200_c10"))
    assert line in done("describe", tmp_path / "run", *look_up)
    kept = Run(tmp_path / "run").load_json("standing")
    assert kept == standing_data(load_table(tmp_path / "table.npz"), Run(tmp_path / "run").load_architecture())
    done("search", "--resume", tmp_path / "run")
    assert Run(tmp_path / "run").load_json("standing") == kept


def test_a_table_of_another_space_and_a_file_that_is_none_are_refused_before_anything_is_read(tmp_path: Path):
    save_table(table(), tmp_path / "table.npz")
    other = dnas("search", "--data", "nowhere", *SMALL, "--table", tmp_path / "table.npz")
    assert other.code == 2
    assert "table of the space 'nasbench201', but 'darts' is searched" in other.err
    (tmp_path / "none.npz").write_text("no table")
    damaged = dnas("search", "--data", "nowhere", *SMALL, "--table", tmp_path / "none.npz")
    assert damaged.code == 2
    assert "none.npz" in damaged.err


def test_arrays_become_a_table_on_the_command_line(tmp_path: Path):
    found = table()
    np.savez(tmp_path / "arrays.npz", arch=np.array(official_strings()), test200_c10=found.columns["test200_c10"])
    said = done("table", tmp_path / "arrays.npz", tmp_path / "made.npz")
    assert "15,625 architectures" in said
    assert dnas("table", tmp_path / "made.npz", tmp_path / "again.npz").code == 2
