"""`dnas track`: settings, numbers and files of a run, copied to MLflow or Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.parser import Command
from dnas.core.run import Run
from dnas.report.tracking import Mlflow, Wandb, tracked

_TRACKERS = {"mlflow": Mlflow(), "wandb": Wandb()}


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument(
        "--to", type=Literal["mlflow", "wandb"], required=True, help="where it is copied; the package must be installed"
    )


def _run(config: Namespace, given: Arguments) -> None:
    found = tracked(Run(config.run))
    _TRACKERS[config.to].keep(found)
    counts = f"{len(found.settings)} settings, {len(found.rows)} rows, {len(found.files)} files"
    print(f"{config.to}: {counts} of {config.run}.")


COMMAND = Command("track", _fill, _run)
