"""Another process that works in a folder."""

import subprocess
import sys

from dnas.system.atomic import UNFINISHED


def other_process(folder, then: str) -> subprocess.Popen[str]:
    """A process that has locked the folder, left an unfinished file in it, and does `then`."""
    code = f"""
import os, signal, sys
from pathlib import Path
from dnas.system.lock import locked
with locked(Path({str(folder)!r})):
    Path({str(folder)!r}, ".network.pt.01234567{UNFINISHED}").touch()
    print("locked", flush=True)
    {then}
"""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process
