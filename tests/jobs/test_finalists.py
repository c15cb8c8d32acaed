"""Finalists of `dnas search`: what the run folder holds, and what is said of classes of very different sizes."""

from pathlib import Path

import pytest

from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.finalists.of_search import searched_architecture
from dnas.jobs.finalists import conditions_of
from dnas.jobs.images import load_data
from dnas.jobs.job import Job
from dnas.system.display import Silent
from dnas.task import Classification
from tests.support.cli import SMALL, done, make_photos, refused

FINALISTS = ("--finalists", "3", "--finalists.epochs", "1", "--finalists.rungs", "1", "--threads", "1")


class Said(Silent):
    """Remembers what is said."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def say(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 cats, and 4 dogs."""
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder)
    for number in range(4, 24):
        (folder / "dog" / f"{number:03d}.png").unlink()
    return folder


def test_a_search_ends_with_the_best_finalist(photos: Path, tmp_path: Path):
    words = ("--data", photos, "--run", tmp_path, *SMALL, *FINALISTS, "--finalists.begin_with", "searched")
    said = done("search", *words)
    assert "judged by balanced accuracy" in said
    assert "(selected, optimistic)" in said
    run = Run(tmp_path)
    config = run.read_config()["job"]["finalists"]
    assert (config["num"], config["epochs"], config["begin_with"]) == (3, 1, "searched")
    result = run.child("finalists").load_json("result")
    winner = result["finalists"][result["winner"]]
    assert run.load_architecture().to_data() == winner["architecture"]
    assert result["finalists"][0]["architecture"] == Architecture.load(tmp_path / "searched.json").to_data()
    assert result["finalists"][0]["rungs"][0]["metric"] == "balanced_accuracy"
    summary = run.load_json("search")
    assert summary["finalists_seconds"] == result["seconds"]
    assert summary["seconds"] > summary["finalists_seconds"]
    (tmp_path / "architecture.json").unlink()  # as a kill before the end leaves it
    assert "has not finished" in refused("retrain", run.path)
    assert f"Taken: finalist {result['winner']}" in done("search", "--resume", tmp_path)
    assert run.load_architecture().to_data() == winner["architecture"]
    assert run.child("finalists").load_json("result") == result


def test_searches_of_two_seeds_are_compared_by_what_they_preferred_and_not_by_their_finalists(tmp_path: Path):
    preferred, winner = (Architecture({"act": name}) for name in ("relu", "tanh"))
    run = Run(tmp_path)
    run.save_architecture(winner)
    assert searched_architecture(run) == winner  # of a search without finalists
    preferred.save(tmp_path / "searched.json")
    assert searched_architecture(run) == preferred


def test_finalists_alone_need_no_supernet_and_agree_with_another_search_of_the_same_seed(photos: Path, tmp_path: Path):
    alone = ("--finalists.alone", "true", "--finalists", "4", "--finalists.guided_share", "0.5")
    words = ("--data", photos, *SMALL, *FINALISTS[2:], *alone)
    said = done("search", *words, "--run", tmp_path / "first")
    assert "no supernet" in said
    run = Run(tmp_path / "first")
    result = run.child("finalists").load_json("result")
    assert [one["source"] for one in result["finalists"]] == ["random"] * 2 + ["model of trainings"] * 2
    assert run.load_json("search")["epochs"] == 0
    assert not run.metrics()
    assert run.load_architecture().to_data() == result["finalists"][result["winner"]]["architecture"]
    again = done("search", *words, "--run", tmp_path / "second", "--other_seed", run.path)
    assert f"100% of the choices are those of {run.path}: the data decide." in again
    other = tmp_path / "other"
    other.mkdir()
    (other / "architecture.json").write_text("{}")
    assert "other" in refused("search", *words, "--run", tmp_path / "third", "--other_seed", other)
    assert not (tmp_path / "third").exists()


def test_opponents_are_rows_of_a_baseline(photos: Path, tmp_path: Path):
    run = Run(tmp_path)
    done("search", "--data", photos, "--run", tmp_path, *SMALL, "--threads", "1")
    spent = run.load_json("compute")
    assert spent["seconds"] > 0
    assert spent["is_whole"]
    done("retrain", tmp_path, "--threads", "1")
    words = ("baseline", tmp_path, "--num", "1", "--opponents", "random_halving:epochs=1,rungs=1")
    for _ in range(2):  # the second time it is read
        said = done(*words)
        assert "random_halving-epochs1-rungs1 " in said
        assert "with the same compute" in said.lower().split("percentile")[0]
    folder = run.child("opponents").child("random_halving-epochs1-rungs1")
    assert folder.load_json("compute")["limit"] == spent["seconds"]
    named = run.child("baseline").child("random_halving-epochs1-rungs1")
    assert named.load_architecture() == folder.load_architecture()
    assert "Test part" in done("evaluate", tmp_path, "--network", named.path.name)


def test_balanced_accuracy_judges_only_where_nobody_named_a_task_and_classes_differ_much(photos: Path, tmp_path: Path):
    job = Job(data=str(photos), image_size=8, channels=2, cells=1, batch_size=8)
    for own, expected, is_said in [
        (job, Classification(balanced=True), True),
        (Job(**{**vars(job), "task": Classification()}), Classification(), False),
        (Job(**{**vars(job), "data": str(make_photos(tmp_path / "even"))}), Classification(), False),
    ]:
        display = Said()
        assert conditions_of(Run(tmp_path / "run"), own, load_data(own), display).task == expected
        assert any("judged by balanced accuracy" in text for text in display.texts) == is_said
