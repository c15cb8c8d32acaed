"""Code in a process of its own that may hold 4 GiB."""

from __future__ import annotations

import subprocess
import sys

LIMIT = 4 * 2**30

_BEFORE = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({LIMIT}, {LIMIT}))
import torch
torch.set_num_threads(1)
from dnas.system.errors import UserError

def refused(work, *arguments):
    try:
        work(*arguments)
    except (UserError, FileNotFoundError) as error:
        print(" ".join(str(error).split()))
    else:
        print("nothing was refused")
"""


def lines_under_limit(code: str) -> list[str]:
    """What `code` prints under a memory limit of 4 GiB; `refused(work, *arguments)` in it prints what was refused."""
    answer = subprocess.run(
        [sys.executable, "-c", _BEFORE + code], capture_output=True, text=True, check=False, timeout=120
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    return answer.stdout.splitlines()
