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

from tests.support.cli import SMALL, make_photos

KILLS = 50
# A checkpoint after every step, so that many kills come while one is written.
EVERY_STEP = ("--search.checkpoint_minutes", "0", "--retrain.checkpoint_minutes", "0")
LONGER = (*SMALL, *EVERY_STEP, "--search.epochs", "12", "--retrain.epochs", "12", "--retrain.log_every", "1")


def in_child(words: list[str], seconds: float) -> int | None:
    """The status of a command in a copy of this process; None if it was killed after so many seconds."""
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
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if status == -signal.SIGKILL else status


def worked(run: Path, photos: Path, kills: int, seed: int) -> dict[str, int]:
    """All commands on a run, each killed at random moments until `kills` have hit it or it has ended; the kills."""
    first = ["search", "--data", str(photos), "--run", str(run), *LONGER]
    commands = {
        "search": (first, ["search", "--resume", str(run)]),
        "retrain": (["retrain", str(run)],) * 2,
        "baseline": (["baseline", str(run), "--num_random", "2"],) * 2,
        "evaluate": (["evaluate", str(run)],) * 2,
        "export": (["export", str(run)],) * 2,
    }
    draw, counts = random.Random(seed), {}
    for name, (begin, again) in commands.items():
        counts[name], longest, status = 0, 0.1, None
        while status is None:
            has_begun = name != "search" or (run / "config.yaml").exists()
            seconds = draw.uniform(0.02, longest) if counts[name] < kills else 600.0
            status = in_child(again if has_begun else begin, seconds)
            counts[name] += status is None
            longest = min(longest * 1.1, 4.0)  # what came to nothing gets more time
        assert status == 0, f"{name} ended with {status}"
    return counts


def fresh(run: Path, photos: Path, kills: int, seed: int) -> dict[str, int]:
    """The same in a process of its own, which has not begun threads that a copy would lack."""
    code = f"""
import json, torch
from pathlib import Path
import dnas.cli.search
from tests.jobs.test_kills import worked
torch.set_num_threads(1)
print(json.dumps(worked(Path({str(run)!r}), Path({str(photos)!r}), {kills}, {seed})))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout.splitlines()[-1])


def contents(run: Path) -> dict[str, object]:
    """The results of a run: its weights and architectures byte for byte, and rows of metrics without times."""
    from dnas.core.run import Run

    found: dict[str, object] = {
        path.relative_to(run).as_posix(): path.read_bytes()
        for name in ("architecture.json", "network.pt", "network.safetensors", "confusion.csv")
        for path in run.rglob(name)
    }
    for path in run.rglob("metrics.jsonl"):
        rows = Run(path.parent).metrics()
        found[path.relative_to(run).as_posix()] = [{n: v for n, v in row.items() if n != "seconds"} for row in rows]
    return found


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fifty_kills_of_each_command_change_no_bit_and_leave_no_file(tmp_path):
    photos = make_photos(tmp_path / "photos", count=30)
    fresh(tmp_path / "whole", photos, 0, 0)
    counts = fresh(tmp_path / "killed", photos, KILLS, 1)
    print(counts)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert [path for path in (tmp_path / "killed").rglob(".*") if path.is_file()] == []
    names = [
        {path.relative_to(tmp_path / run).as_posix() for path in (tmp_path / run).rglob("*") if path.suffix != ".0"}
        for run in ("whole", "killed")
    ]
    assert names[0] == names[1]
