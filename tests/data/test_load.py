"""One entry for every kind of source."""

import subprocess
import sys

import pytest
from PIL import Image

from dnas.data import load_source, open_source


def test_a_catalog_tells_what_a_source_holds_before_decoding():
    catalog = open_source("digits")
    assert (catalog.num_train, catalog.num_test, catalog.native_size, catalog.default_size) == (1797, 0, 8, 8)
    assert len(catalog.class_names) == 10


def test_a_folder_is_read_from_its_path(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (100, 120), (1, 2, 3)).save(tmp_path / name / "1.png")
    catalog = open_source(str(tmp_path))
    assert (catalog.num_train, catalog.native_size, catalog.default_size) == (2, 100, 64)
    assert load_source(str(tmp_path), size=9).train.size == (9, 9)


@pytest.mark.parametrize("spec", ["", "no/such/folder", "digit"])
def test_what_does_not_exist_is_told_with_what_to_write(spec):
    with pytest.raises(FileNotFoundError, match=f"There is no file or folder '{spec}'. Expected 'digits', a folder"):
        load_source(spec)


def test_a_file_is_no_source(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.png is a file\. Expected"):
        load_source(str(tmp_path / "a.png"))


def test_hf_needs_a_name():
    with pytest.raises(ValueError, match="names no data set"):
        load_source("hf:")


def test_a_column_is_refused_where_there_are_none():
    with pytest.raises(ValueError, match="label_column='x' has no effect on 'digits'"):
        load_source("digits", label_column="x")


def test_importing_the_package_loads_torch_and_numpy_alone():
    heavy = ["PIL", "sklearn", "datasets", "pyarrow"]
    code = f"import sys, dnas.data; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
