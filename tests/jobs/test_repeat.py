"""A search is carried out again from its run folder, to the same bits, and what is other is told."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from dnas.core.run import Run
from tests.support.cli import SMALL, done, make_photos, refused


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def first(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "first"
    done("search", "--data", photos, "--run", run, *SMALL)
    return run


def test_a_repeated_search_ends_with_the_same_bits_and_says_so(first: Path, tmp_path: Path):
    out = done("search", "--repeat", first, "--run", tmp_path / "again")
    assert f"Versions, machine, threads and data are those of {first}." in out
    assert f"The same as {first}: the architecture, and every number of " in out
    states = [Run(path).load_checkpoint("last")["supernet"]["model"] for path in (first, tmp_path / "again")]
    assert all(bool((states[0][name] == value).all()) for name, value in states[1].items())


def test_other_versions_and_other_pixels_are_told(first: Path, photos: Path, tmp_path: Path):
    config = Run(first).read_config()
    config["environment"]["torch"] = "1.0"
    (first / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    image = sorted((photos / "cat").iterdir())[0]
    before = image.read_bytes()
    Image.new("RGB", (10, 10), (1, 2, 3)).save(image)
    out = done("search", "--repeat", first, "--run", tmp_path / "again")
    image.write_bytes(before)
    assert "torch: 1.0 there, " in out
    assert "data: the images, their names or their classes are others" in out
    assert "Numbers differ from step 1 on." in out


def test_settings_beside_repeat_are_refused(first: Path):
    assert "--seed would have no effect: with --repeat" in refused("search", "--repeat", first, "--seed", 1)
