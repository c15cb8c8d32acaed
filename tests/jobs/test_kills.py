"""Killed fifty times in each command, a job ends with the bits of one that nobody killed, and leaves no file behind."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnas.system.atomic import UNFINISHED
from tests.jobs.test_shrink import NET
from tests.support.cli import SMALL, make_photos
from tests.support.language import SMALL as LANGUAGE
from tests.support.language import make_text

KILLS = int(os.environ.get("DNAS_KILLS", "50"))  # of each command
TIMES = ("seconds", "search_seconds", "milliseconds", "sha256", "compute", "environment", "findings")
# A checkpoint after every step, so that many kills come while one is written.
EVERY_STEP = ("--search.checkpoint_minutes", "0", "--retrain.checkpoint_minutes", "0")
LONGER = (*SMALL, *EVERY_STEP, "--search.epochs", "12", "--retrain.epochs", "12", "--retrain.log_every", "1")


def in_child(words: list[str], seconds: float, writing: Path | None = None) -> int | None:
    """The status of a command in a copy of this process; None if it was killed after so many seconds.

    With `writing` it is killed as soon as a file is being written in that folder, but at most two seconds later.
    """
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        from dnas.cli import main

        try:
            main(words)
        except SystemExit as ended:
            os._exit(int(ended.code or 0))
        os._exit(70)
    until = time.monotonic() + seconds
    latest = until if writing is None else until + 2
    while time.monotonic() < latest:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if writing is None or time.monotonic() < until:
            time.sleep(0.002)
        elif is_writing(writing):
            break
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if status == -signal.SIGKILL else status


def is_writing(run: Path) -> bool:
    """Whether a file is being written in a run, or its last writer was killed."""
    return any(name.endswith(UNFINISHED) for _, _, names in os.walk(run) for name in names)


def commands_on(images_or_text: Path, run: Path, what: str) -> dict[str, tuple[list[str], ...]]:
    """By name, commands on a run in their order: the first words, and those that go on with what was begun."""
    data, folder = str(images_or_text), str(run)
    if what == "language":
        first = ["language", data, "--run", folder, *LANGUAGE, "--search.checkpoint_minutes", "0"]
        return {"language": ([*first, "--search.epochs", "6", "--train.epochs", "6"], ["language", "--resume", folder])}
    if what == "compare":
        recipes = ("--recipes", "darts_1st", "gdas", "--seeds", "2", "--num_random", "2")
        # The folder is opened with the same words again.
        again = ["compare", *recipes, "--data", data, "--run", folder, *SMALL, *EVERY_STEP, "--retrain.epochs", "4"]
        return {"compare": (again, again)}
    if what == "shrink":
        sizes = ("--image_size", "8", "--device", "cpu", "--settings.random", "2", "--search_epochs", "3")
        sizes += tuple(f"--settings.{part}.checkpoint_minutes=0" for part in ("search", "fine_tuning"))
        sizes += ("--settings.fine_tuning.epochs", "6", "--settings.fine_tuning.batch_size", "8")
        again = ["shrink", "net_to_shrink:trained", "--data", data, "--budget", "flops<=50%", "--run", folder, *sizes]
        return {"shrink": (again, again)}
    return {
        "search": (["search", "--data", data, "--run", folder, *LONGER], ["search", "--resume", folder]),
        "retrain": (["retrain", folder],) * 2,
        "baseline": (["baseline", folder, "--num_random", "2"],) * 2,
        "evaluate": (["evaluate", folder],) * 2,
        "export": (["export", folder],) * 2,
        "front": (["front", folder, "--points", "3", "--retrain", "1", "2"],) * 2,
    }


def worked(run: Path, data: Path, what: str, kills: int, seed: int) -> dict[str, int]:
    """All commands on a run, each killed at random moments until `kills` have hit it or it has ended; the kills."""
    draw, counts, unfinished = random.Random(seed), {}, 0
    for name, (begin, again) in commands_on(data, run, what).items():
        counts[name], longest, status = 0, 0.1, None
        while status is None:
            has_begun = name not in ("search", "language") or (run / "config.yaml").exists()
            seconds = draw.uniform(0.02, longest) if counts[name] < kills else 600.0
            # Every second kill waits for a write, unless the last one left an unfinished file.
            writing = run if counts[name] % 2 and seconds < 600 and not is_writing(run) else None
            status = in_child(again if has_begun else begin, seconds, writing)
            counts[name] += status is None
            unfinished += status is None and is_writing(run)
            longest = min(longest * 1.1, 4.0)  # what came to nothing gets more time
        assert status == 0, f"{name} ended with {status}"
    return {**counts, "within a write": unfinished}


def fresh(run: Path, data: Path, what: str, kills: int, seed: int) -> dict[str, int]:
    """The same in a process of its own, which has not begun threads that a copy would lack."""
    code = f"""
import json, torch
from pathlib import Path
import dnas.cli.{"search" if what == "images" else what}
from tests.jobs.test_kills import worked
torch.set_num_threads(1)
print(json.dumps(worked(Path({str(run)!r}), Path({str(data)!r}), {what!r}, {kills}, {seed})))
"""
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), str(data.parent)])}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=data.parent, env=paths
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout.splitlines()[-1])


def without_times(data: object) -> object:
    """JSON data without what differs from one run to the next: times, and what is computed from them."""
    if isinstance(data, dict):
        return {name: without_times(value) for name, value in data.items() if name not in TIMES}
    return [without_times(value) for value in data] if isinstance(data, list) else data


def contents(run: Path) -> dict[str, object]:
    """The results of a run: its weights and architectures byte for byte, and rows of metrics without times."""
    from dnas.core.run import Run

    found: dict[str, object] = {
        path.relative_to(run).as_posix(): path.read_bytes()
        for name in ("architecture.json", "network.*", "confusion.csv", "genotype.txt", "front.txt", "front.svg")
        for path in run.rglob(name)
    }
    for path in {*run.rglob("*.json")} - {*run.rglob("worth_seconds.json")}:
        found.setdefault(path.relative_to(run).as_posix(), without_times(json.loads(path.read_text())))
    for path in run.rglob("metrics.jsonl"):
        rows = Run(path.parent).metrics()
        found[path.relative_to(run).as_posix()] = [{n: v for n, v in row.items() if n != "seconds"} for row in rows]
    return found


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("what", ["images", "language", "compare", "shrink"])
def test_fifty_kills_of_each_command_change_no_bit_and_leave_no_file(what, tmp_path):
    data = make_text(tmp_path / "text") if what == "language" else make_photos(tmp_path / "photos", count=30)
    (tmp_path / "net_to_shrink.py").write_text(NET)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    fresh(whole, data, what, 0, 0)
    counts = fresh(killed, data, what, KILLS, 1)
    print(counts)
    assert contents(killed) == contents(whole)
    assert [path for path in killed.rglob(".*") if path.is_file()] == []
    names = [
        {path.relative_to(run).as_posix() for path in run.rglob("*") if path.parent.name != "tensorboard"}
        for run in (whole, killed)
    ]
    assert names[0] == names[1]
