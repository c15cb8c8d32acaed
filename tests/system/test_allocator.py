"""Freed memory is kept: what later large tensors are made of was in the process already."""

import subprocess
import sys

import pytest

# Page faults of making and freeing 64 MB ten times, after some first times: a small allocation may land in the end of a
# freed piece, which then is too short for the next tensor, until the pieces lie side by side.
FAULTS = """
import resource, sys
import torch
from dnas.system.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    torch.ones(16_000_000)
for _ in range(20):
    use()
before = faults()
for _ in range(10):
    use()
print(faults() - before)
"""


def counted(what: str) -> int:
    answer = subprocess.run([sys.executable, "-c", FAULTS, what], capture_output=True, text=True, check=True)
    return int(answer.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="needs the GNU C library")
def test_large_pieces_are_not_asked_of_the_system_again():
    # 64 MB are 15,625 pages of 4 KiB each time. A system that is short of memory may take pages back meanwhile, which
    # faults as well: one try without that is enough.
    assert any(counted("keep") < 20_000 for _ in range(5))
    assert counted("leave") > 100_000
