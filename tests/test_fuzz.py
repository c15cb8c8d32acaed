"""Damaged inputs of every parser end with an error of ours, within 4 GiB of memory."""

import json
import subprocess
import sys

import pytest

from tests.support.limited import LIMIT

CODE = f"""
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_AS, ({LIMIT}, {LIMIT}))
sys.argv = ["fuzz", *sys.argv[1:]]
runpy.run_module("tests.support.fuzz", run_name="__main__")
"""


def fuzzed(count: int, seed: int, timeout: float) -> dict:
    command = [sys.executable, "-c", CODE, str(count), str(seed)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout)


def test_three_thousand_damaged_inputs_are_taken_or_refused_and_nothing_else():
    found = fuzzed(3000, seed=0, timeout=120)
    assert found["raised"] == []
    assert all(sum(counts.values()) > 0 for counts in found["report"].values())
    assert sum(counts["refused"] for counts in found["report"].values()) > 1000


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(1, 6))
def test_twenty_five_thousand_damaged_inputs_for_each_of_five_seeds(seed):
    found = fuzzed(25_000, seed, timeout=3500)
    print(found["report"])
    assert found["raised"] == []
