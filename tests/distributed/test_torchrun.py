"""`torchrun -m dnas search`: a rank that is killed, torchrun's restart, and the way that words take."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnas import UserError
from dnas.cli.search import SearchOptions, check_for_ranks
from dnas.core.run import Run
from tests.support.cli import SMALL, dnas, done, make_photos
from tests.support.ranks import on_ranks

ROOT = Path(__file__).parents[2]


def torchrun(*words: object, restarts: int) -> tuple[int, str, str]:
    """The status and what is printed."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", str(restarts))
    ended = subprocess.run(
        [*launcher, "-m", "dnas", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_a_search_whose_rank_is_killed_is_started_again_and_ends_as_one_process_would(tmp_path: Path):
    photos = make_photos(tmp_path / "photos")
    observer = f"[{{class_path: tests.support.kills_once.KillsOnce, init_args: {{marker: {tmp_path / 'marker'}}}}}]"
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"search: {{observers: {observer}}}\n")
    finalists = ("--finalists", 2, "--finalists.rungs", 1, "--finalists.epochs", 1)
    words = ("search", "--recipe", recipe, "--data", photos, *SMALL, *finalists, "--threads", 1)
    status, out, err = torchrun(*words, "--folder", tmp_path / "run", restarts=1)
    assert status == 0, err
    assert (tmp_path / "marker").exists()
    assert "Going on with" in out and "after step" in out
    assert out.count("Everything is in") == 1  # one of the two speaks
    run = Run(tmp_path / "run")
    assert run.load_checkpoint("last")["ranks"] == 2
    done(*words, "--run", tmp_path / "alone")
    expected, found = (one.child("finalists").load_json("result") for one in (Run(tmp_path / "alone"), run))
    for one, other in zip(expected["finalists"], found["finalists"], strict=True):
        assert one["architecture"] == other["architecture"]
        (ours,), (theirs,) = one["rungs"], other["rungs"]
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-3)  # in float32


def test_a_mistake_is_told_once(tmp_path: Path):
    ended = on_ranks(2, dnas, "export", tmp_path)
    said = [line for one in ended for line in one.err.splitlines() if line.startswith("dnas: ")]
    assert [one.code for one in ended] == [2, 2]
    assert said == ["dnas: dnas export works in one process: start it without torchrun or srun."]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (SearchOptions(baseline="random"), "--baseline random works in one process: .* `dnas baseline RUN` without"),
        (SearchOptions(budget="milliseconds<=8"), "milliseconds is measured by one process: .* --milliseconds TABLE"),
        (SearchOptions(ray="local"), "--ray has workers of its own: leave it out, or start without torchrun or srun"),
    ],
)
def test_what_a_search_by_several_ranks_cannot_do_is_refused_with_what_to_do_instead(options: SearchOptions, said: str):
    with pytest.raises(UserError, match=said):
        check_for_ranks(options)
