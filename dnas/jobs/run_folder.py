"""The start of a run: the name of a new folder, the check that it can take a run, and the settings written into it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from dnas.core.run import Run
from dnas.jobs.job import Job
from dnas.system.errors import UserError
from dnas.system.plain_data import to_plain
from dnas.system.threads import num_threads


def new_run_folder(data: str) -> Path:
    """A folder for a new run: runs/NAME-DATE-TIME, where NAME is that of the data."""
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(data).name) or "data"
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def check_new(run: Run, command: str = "search") -> None:
    """Check that a run can begin in the folder; a command calls it before it does anything that takes long.

    Args:
        run: the folder, which may not exist yet.
        command: name of the command, for the message.

    Raises:
        UserError: the folder holds a run already, or cannot be made.
    """
    if run.config_path.exists():
        raise UserError(
            f"{run.path} already holds a run. `dnas {command} --resume {run.path}` goes on with it; "
            "for a new one choose another --run."
        )
    above = next(folder for folder in (run.path, *run.path.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise UserError(f"{above} is a file; --run must name a folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"The run folder {run.path} cannot be made: {above} may not be written to.")


def begin(run: Run, job: Job) -> None:
    """Write the settings of a new run, with all sizes, into its folder."""
    check_new(run)
    with num_threads(job.threads):
        run.write_config({"job": to_plain(job)})
