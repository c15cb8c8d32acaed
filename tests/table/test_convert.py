"""Arrays of others become a table, in whatever order they list the architectures."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnas.table import Table, convert, from_arrays, load_table, official_strings, save_table

N = 15_625
ARCH = np.array(official_strings())


def arrays() -> dict[str, np.ndarray]:
    return {
        "arch": ARCH,
        "ops": np.zeros((N, 6), dtype=np.int8),
        "iso_class": np.arange(N, dtype=np.int16),
        "test200_c10": np.linspace(10, 94.37, N),
        "unknown": np.full(N, np.nan),
        "latency_ms": np.stack([np.arange(N), 2.0 * np.arange(N)], axis=1),
        "device": np.array(["pixel2", "1080ti_32"]),
        "seeds": np.stack([np.arange(N), np.full(N, np.nan), np.arange(N)], axis=1).astype(np.float32),
        "seed_ids": np.array([777, 888, 999]),
        "embedding": np.zeros((N, 4)),
        "short": np.zeros(7),
    }


def test_floating_point_arrays_are_columns_and_named_parts_too():
    table = from_arrays(arrays(), source="by hand")
    # No name for the parts of the embedding, nothing known of seed 888, integers are no measurements.
    expected = {"test200_c10", "latency_ms/pixel2", "latency_ms/1080ti_32", "seeds/777", "seeds/999"}
    assert set(table.columns) == expected
    assert table.columns["latency_ms/1080ti_32"][7] == 14
    assert table.source == "by hand"


def test_the_order_of_the_arrays_does_not_matter():
    order = np.random.default_rng(0).permutation(N)
    mixed = {name: array[order] if len(array) == N else array for name, array in arrays().items()}
    one, other = from_arrays(arrays(), source=""), from_arrays(mixed, source="")
    assert all(np.array_equal(one.columns[name], other.columns[name]) for name in one.columns)


def test_parts_that_two_arrays_could_name_are_left_out():
    twofold = {**arrays(), "owner": np.array(["a", "b"])}
    assert "latency_ms/pixel2" not in from_arrays(twofold, source="").columns
    repeated = {**arrays(), "device": np.array(["same", "same"])}
    assert not any(name.startswith("latency") for name in from_arrays(repeated, source="").columns)


def having(**new: Any) -> Callable[[], dict[str, np.ndarray]]:
    return lambda: {**arrays(), **new}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: {"test": np.zeros(N)}, r"no list of official strings named 'arch'; it has test \(15625,\)"),
        (having(arch=np.arange(N)), "no list of official strings"),
        (having(arch=ARCH[:-1]), "15,624 architectures, expected all 15,625"),
        (having(arch=ARCH[[0, *range(N - 1)]]), r"'arch' has .avg_pool_3x3~0.*skip_connect~2. 2 times"),
        (having(arch=np.array(["none", *ARCH[1:]])), "'arch', entry 0, has 1 nodes"),
        (having(arch=np.char.replace(ARCH, "none", "zero")), "unknown operation 'zero'"),
        (lambda: {"arch": ARCH, "ops": np.zeros((N, 6))}, "no array holds 15,625 floating-point numbers; it has arch"),
        (having(test200_c10=np.full(N, np.inf)), "'test200_c10' is infinite"),
        (having(device=np.array(["a device", "b"])), "'latency_ms/a device'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, make: Callable[[], dict[str, Any]], message: str):
    np.savez(tmp_path / "theirs.npz", **make())
    with pytest.raises(ValueError, match=rf"theirs\.npz cannot be made a table: .*{message}"):
        convert(tmp_path / "theirs.npz", tmp_path / "table.npz")
    assert not (tmp_path / "table.npz").exists()


def test_convert_writes_a_table_file_and_says_so(tmp_path: Path):
    theirs: dict[str, Any] = arrays()
    np.savez(tmp_path / "theirs.npz", **theirs)
    line = convert(tmp_path / "theirs.npz", tmp_path / "folder" / "table.npz")
    assert line == (
        f"{tmp_path / 'folder' / 'table.npz'}: 15,625 architectures of nasbench201 with 5 columns "
        "(test200_c10, latency_ms/pixel2, latency_ms/1080ti_32, seeds/777, seeds/999) from theirs.npz."
    )
    assert (
        load_table(tmp_path / "folder" / "table.npz").accuracy(
            load_table(tmp_path / "folder" / "table.npz").architecture(9), "seeds/777"
        )
        == 9
    )


def test_sources_and_targets_that_are_none_are_refused(tmp_path: Path):
    table = tmp_path / "table.npz"
    save_table(Table({"a": np.zeros(N)}, source=""), table)
    text = tmp_path / "table.csv"
    text.write_text("arch,accuracy\n")
    with pytest.raises(ValueError, match=r"table\.npz is a table of dnas already"):
        convert(table, tmp_path / "new.npz")
    with pytest.raises(ValueError, match=r"table\.csv is neither a NATS-Bench folder"):
        convert(text, tmp_path / "new.npz")
    with pytest.raises(ValueError, match=r"There is no file .*missing"):
        convert(tmp_path / "missing.npz", tmp_path / "new.npz")
    with pytest.raises(ValueError, match=r"There is no file or folder .*missing"):
        convert(tmp_path / "missing.pickle.pbz2", tmp_path / "new.npz")
    with pytest.raises(ValueError, match="is no folder of NATS-Bench"):
        convert(tmp_path, tmp_path / "new.npz")
    with pytest.raises(ValueError, match="is a folder; name the table file to write"):
        convert(table, tmp_path)


def test_the_data_at_hand_becomes_a_table(tmp_path: Path):
    if "DNAS_DATA" not in os.environ:
        pytest.skip("DNAS_DATA does not name a folder with nb201_cifar10.npz")
    source = Path(os.environ["DNAS_DATA"]) / "nb201_cifar10.npz"
    assert "with 35 columns (test200_c10, valid200_c10" in convert(source, tmp_path / "table.npz")
    table = load_table(tmp_path / "table.npz")
    with np.load(source, allow_pickle=False) as theirs:
        for name in ("test200_c10", "valid200_c10", "test12_c10", "valid12_c10", "mflops_c10"):
            assert np.array_equal(table.columns[name], theirs[name].astype(np.float32))
        place = theirs["latency_device"].tolist().index("pixel2")
        assert np.array_equal(table.columns["latency_ms/pixel2"], theirs["latency_ms"][:, place])
