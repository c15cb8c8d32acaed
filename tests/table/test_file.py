"""The table file: there and back, readable by numpy alone, and what is wrong with one is said."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnas.table import Table, load_table, official_operations, official_strings, save_table
from dnas.table.file import read_arrays

N = 15_625
COLUMNS = {
    "test200_c10": np.linspace(10, 94.37, N),
    "latency_ms/pixel2": np.where(np.arange(N) % 3 == 0, np.nan, np.arange(N)),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_table(Table(COLUMNS, source="a test, by hand"), tmp_path / "table.npz")
    return tmp_path / "table.npz"


def test_a_table_comes_back_as_it_was(path: Path):
    table, loaded = Table(COLUMNS, source="a test, by hand"), load_table(path)
    assert loaded.source == table.source
    assert list(loaded.columns) == list(table.columns)
    for name, values in table.columns.items():
        assert loaded.columns[name].dtype == np.float32
        assert np.array_equal(loaded.columns[name], values, equal_nan=True)


def test_the_same_table_gives_the_same_bytes(path: Path):
    again = path.with_name("again.npz")
    save_table(load_table(path), again)
    assert again.read_bytes() == path.read_bytes()


def test_numpy_alone_reads_it_as_the_documentation_says(path: Path):
    with np.load(path, allow_pickle=False) as file:
        assert (str(file["format"]), int(file["version"]), str(file["space"])) == ("dnas-table", 1, "nasbench201")
        row = 123
        parts = [
            f"{target} from {source}: {file['op_names'][op]}"
            for (source, target), op in zip(file["edges"], file["ops"][row], strict=True)
        ]
        assert file["test200_c10"][row] == np.float32(COLUMNS["test200_c10"][row])
    assert official_strings()[row].count("avg_pool_3x3") == 3
    assert parts == [
        "1 from 0: avg_pool_3x3",
        "2 from 0: avg_pool_3x3",
        "2 from 1: nor_conv_1x1",
        "3 from 0: none",
        "3 from 1: avg_pool_3x3",
        "3 from 2: nor_conv_3x3",
    ]


def test_the_example_in_the_documentation_names_the_best(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    path.rename(path.with_name("nasbench201.npz"))
    monkeypatch.chdir(path.parent)
    text = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
    exec(text.rpartition("```python\n")[2].partition("```")[0], {})
    # The last row of this table has the largest value.
    assert official_strings()[N - 1] == (
        "|nor_conv_1x1~0|+|none~0|nor_conv_1x1~1|+|none~0|nor_conv_1x1~1|nor_conv_1x1~2|"
    )
    assert capsys.readouterr().out.splitlines() == [
        "0 -> 1: nor_conv_1x1",
        "0 -> 2: none",
        "1 -> 2: nor_conv_1x1",
        "0 -> 3: none",
        "1 -> 3: nor_conv_1x1",
        "2 -> 3: nor_conv_1x1",
    ]


def test_a_column_cannot_have_a_name_of_the_format(tmp_path: Path):
    for name in ("ops", "version", "file"):
        with pytest.raises(ValueError, match=f"column named '{name}'"):
            save_table(Table({name: np.zeros(N)}, source=""), tmp_path / "table.npz")
    assert not list(tmp_path.iterdir())


def with_rows(rows: Any) -> Callable[[dict[str, Any]], object]:
    return lambda arrays: arrays.update(ops=official_operations()[rows])


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda arrays: arrays.pop(name)


def having(**new: Any) -> Callable[[dict[str, Any]], object]:
    return lambda arrays: arrays.update({name: np.asarray(value) for name, value in new.items()})


SWAPPED = [1, 0, *range(2, N)]
TWICE = [0, 1, 1, *range(3, N)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("format"), "its 'format' is not 'dnas-table'"),
        (having(format="dnas-architecture"), "its 'format' is not 'dnas-table'"),
        (having(format=np.zeros(3)), "its 'format' is not 'dnas-table'"),
        (without("version"), "it has no version"),
        (without("ops"), "it has no ops"),
        (having(version=2), "of version 2, and this dnas reads version 1"),
        (having(space="darts"), "of space 'darts'; expected 'nasbench201'"),
        (having(source=3), "'source' must be a text"),
        (having(op_names=["none", "skip"]), "'op_names' must be"),
        (having(edges=np.zeros((6, 2), int)), "'edges' must be"),
        (having(ops=np.zeros((N, 5), np.uint8)), r"'ops' must be \(15625, 6\) of uint8; got \(15625, 5\)"),
        (having(ops=official_operations().astype(float)), "got .* of float64"),
        (having(ops=official_operations() + np.uint8(1)), "an operation 5; there are 5"),
        (with_rows(slice(0, N - 1)), "15,624 architectures, expected all 15,625"),
        (with_rows(TWICE), r"architecture .nor_conv_3x3~0.\+.nor_conv_3x3~0.avg_pool_3x3~1.* is there 2 times"),
        (with_rows(SWAPPED), "not in the official order: row 0 is"),
        (having(test200_c10=np.zeros(N - 1, np.float32)), r"'test200_c10' must hold one number .*\(15624,\)"),
        (having(test200_c10=np.zeros(N)), "'test200_c10' must be float32; got float64"),
        (having(note="hello"), "'note' must be float32"),
        (having(test200_c10=np.full(N, np.inf, np.float32)), "'test200_c10' is infinite in row 0"),
        (having(test200_c10=np.full(N, np.nan, np.float32)), "'test200_c10' knows no architecture"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(path: Path, change: Callable[[dict[str, Any]], object], message: str):
    arrays: dict[str, Any] = dict(read_arrays(path))
    change(arrays)
    wrong = path.with_name("wrong.npz")
    np.savez(wrong, **arrays)
    with pytest.raises(ValueError, match=rf"wrong\.npz cannot be used as a table: .*{message}"):
        load_table(wrong)


def test_a_file_of_arrays_is_told_how_it_becomes_a_table(tmp_path: Path):
    np.savez(tmp_path / "arrays.npz", arch=np.array(official_strings()))
    with pytest.raises(ValueError, match=r"it holds arch\. `dnas table` makes one of arrays with 'arch' strings"):
        load_table(tmp_path / "arrays.npz")


def test_damaged_files_are_named(path: Path):
    whole = path.read_bytes()
    (column,) = (info for info in zipfile.ZipFile(path).infolist() if info.filename == "test200_c10.npy")
    flipped = bytearray(whole)
    # Past the local header, in the compressed numbers.
    flipped[column.header_offset + 30 + len(column.filename) + 2000] ^= 0xFF
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:-10], bytes(flipped)):
        damaged = path.with_name("damaged.npz")
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match=r"damaged\.npz is damaged, or not a readable \.npz file"):
            load_table(damaged)


def test_files_that_numpy_reads_otherwise_are_no_tables(path: Path):
    single, pickled = path.with_name("single.npy"), path.with_name("pickled.npz")
    np.save(single, np.zeros(3))
    np.savez(pickled, format=np.array([{}], dtype=object))
    for other in (single, pickled):
        with pytest.raises(ValueError, match=rf"{other.stem}.np. is damaged, or not a readable .npz file"):
            load_table(other)
    with zipfile.ZipFile(path.with_name("plain.npz"), "w") as archive:
        archive.writestr("format", "dnas-table")
    with pytest.raises(ValueError, match=r"plain\.npz is damaged, or not a readable \.npz file"):
        load_table(path.with_name("plain.npz"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    for missing in (tmp_path / "missing.npz", tmp_path):
        with pytest.raises(ValueError, match=f"There is no file {missing}"):
            load_table(missing)
