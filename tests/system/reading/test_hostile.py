"""Files that were made to harm are refused within 4 GiB and a few seconds."""

import zipfile
from pathlib import Path

import pytest
import torch

from tests.support.limited import lines_under_limit


def test_yaml_and_json_that_multiply_or_nest_are_refused_under_4_gib():
    found = lines_under_limit(
        r"""
from dnas.system.reading import parse_json, parse_yaml
multiplying = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
merging = "a0: &a0 {k: v}\n" + "".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 40))
for text in (multiplying, merging, "a: &a [*a]", "[" * 10**5, "a: " + "1:" * 10**5 + "1", "x" * (3 * 2**20)):
    refused(parse_yaml, text)
for text in ("[" * 10**7, "1" * 10**7, '{"a":' * 10**6, "1e" + "9" * 10**6):
    refused(parse_json, text)
"""
    )
    assert len(found) == 10
    assert "nothing was refused" not in found
    assert all("is not readable YAML" in line for line in found[:6])
    assert all("is not JSON" in line for line in found[6:])


def test_tensors_larger_than_their_file_are_refused_under_4_gib(tmp_path: Path):
    repeated = torch.zeros(1).expand(2**40)  # 8 TB of one number
    torch.save({"a": repeated}, tmp_path / "repeated.pt")
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as old,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry.filename, content if b"plain" in content else content * 2000)  # 8 GB of zeros
            break
    (tmp_path / "short.pt").write_bytes((tmp_path / "plain.pt").read_bytes()[:5000])
    found = lines_under_limit(
        f"""
from pathlib import Path
from dnas.system.tensor_file import load_tensors
for name in ("repeated.pt", "packed.pt", "short.pt"):
    refused(load_tensors, Path({str(tmp_path)!r}) / name)
"""
    )
    assert "a is larger than the file" in found[0]
    assert all("is damaged or no checkpoint" in line for line in found[1:])


def test_sizes_of_networks_that_no_memory_holds_are_refused_under_4_gib():
    found = lines_under_limit(
        """
import torch
from dnas.space import DartsSpace, NasBench201Space
for space in (DartsSpace(nodes=1), NasBench201Space()):
    architecture = space.random(torch.Generator().manual_seed(0))
    for sizes in ({"cells": 10**6}, {"channels": 10**9}, {"num_classes": 10**12}):
        arguments = {"cells": 3, "channels": 4, "num_classes": 3, **sizes}
        refused(lambda: space.network(architecture, **arguments))
        refused(lambda: space.model(**arguments))
from dnas.data.resize import ResizeRule
refused(lambda: ResizeRule(20_000))
refused(lambda: DartsSpace(nodes=10**12))
"""
    )
    assert len(found) == 14
    assert all("at most" in line for line in found)


def test_parquet_files_that_are_damaged_or_packed_are_refused_under_4_gib(tmp_path: Path):
    pytest.importorskip("datasets")
    (tmp_path / "noise.parquet").write_bytes(b"PAR1" + bytes(range(256)) * 40 + b"PAR1")
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "long.parquet").write_bytes(b"PAR1" + b"\xff\xff\xff\x7f" + b"PAR1")
    found = lines_under_limit(
        f"""
from dnas.data import open_source
for name in ("noise", "empty", "long"):
    refused(open_source, {str(tmp_path)!r} + f"/{{name}}.parquet")
"""
    )
    assert len(found) == 3
    assert all(".parquet" in line and line != "nothing was refused" for line in found)
