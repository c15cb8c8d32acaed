"""What a newcomer types: the same command again, a folder of images to predict, a space without an auxiliary head."""

from pathlib import Path

import pytest

from dnas import Run
from tests.support.cli import SMALL, done, make_photos, refused

IN_NASBENCH201 = (
    *("--image_size", "8", "--batch_size", "8", "--channels", "2", "--cells", "3", "--space", "dnas.NasBench201Space"),
    *("--epochs", "1", "--retrain.epochs", "1", "--retrain.channels", "2", "--retrain.cells", "3", "--device", "cpu"),
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos")


def test_the_same_retraining_goes_on_and_another_is_refused(photos: Path, tmp_path: Path):
    run = tmp_path / "run"
    done("search", "--data", photos, "--run", run, *SMALL)
    done("retrain", run, "--threads", 1, "--epochs", 1)
    done("retrain", run, "--threads", 1, "--epochs", 1)
    done("retrain", run, "--threads", 1)  # the value is what it was
    assert "--threads has no effect any more" in refused("retrain", run, "--threads", 2)
    assert "epochs is 1 there and 3 here" in refused("retrain", run, "--epochs", 3)
    everything = done("predict", run, photos)
    assert len(everything.splitlines()) == sum(path.is_file() for path in photos.rglob("*"))
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'} holds no image" in refused("predict", run, tmp_path / "empty")


def test_after_an_image_that_cannot_be_read_the_same_command_may_leave_it_out(tmp_path: Path):
    words = ("search", "--data", make_photos(tmp_path / "photos", count=70), "--run", tmp_path / "run", *SMALL)
    (tmp_path / "photos" / "dog" / "zero.png").touch()  # the last one: planning reads 128 images
    assert "zero.png" in refused(*words)
    assert not (tmp_path / "run").exists()
    done(*words, "--skip_unreadable", "true")
    assert Run(tmp_path / "run").load_json("test_part")["unreadable"] == ["dog/zero.png"]


def test_a_space_without_an_auxiliary_head_is_retrained_without_one(photos: Path, tmp_path: Path):
    run = tmp_path / "run"
    said = done("search", "--data", photos, "--run", run, *IN_NASBENCH201)
    assert "Then `dnas retrain`: 2 channels" in said
    assert Run(run).read_config()["job"]["retrain"]["auxiliary"] is False
    done("retrain", run)
    wanted = ("--retrain.auxiliary", "true")
    line = refused("search", "--data", photos, "--run", tmp_path / "other", *IN_NASBENCH201, *wanted)
    assert "--retrain.auxiliary: the networks of NasBench201Space have no auxiliary head" in line
