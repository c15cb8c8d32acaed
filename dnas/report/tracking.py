"""Runs in a team's tracking server: settings, numbers and files of a run folder, copied after the fact.

A search needs no server and never waits for one; what is in its folder can be copied at any time, and again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dnas.core.run import RETRAIN, Run
from dnas.system.errors import MissingPackage

_FILES = ("config.yaml", "architecture.json", "report.html")
_LONGEST = 500  # characters of a setting; servers refuse more


@dataclass(frozen=True)
class Tracked:
    """What is copied of a run.

    Args:
        name: of the run's folder.
        settings: of config.yaml, by dotted names.
        rows: step, and numbers by name; those of a retraining are called 'retrain/...'.
        files: the settings, the architecture and the report, those that are there.
    """

    name: str
    settings: Mapping[str, str]
    rows: Sequence[tuple[int, Mapping[str, float]]]
    files: Sequence[Path]


class Tracker(ABC):
    """A tracking server."""

    @abstractmethod
    def keep(self, tracked: Tracked) -> None:
        """Copy a run.

        Raises:
            MissingPackage: its package is not installed.
        """


@dataclass(frozen=True)
class Mlflow(Tracker):
    """MLflow (https://mlflow.org); MLFLOW_TRACKING_URI says where, and MLFLOW_EXPERIMENT_NAME under which name."""

    def keep(self, tracked: Tracked) -> None:
        mlflow = _package("mlflow")
        with mlflow.start_run(run_name=tracked.name):
            mlflow.log_params(dict(tracked.settings))
            for step, numbers in tracked.rows:
                mlflow.log_metrics(dict(numbers), step=step)
            for path in tracked.files:
                mlflow.log_artifact(str(path))


@dataclass(frozen=True)
class Wandb(Tracker):
    """Weights & Biases (https://wandb.ai); WANDB_PROJECT says where, and WANDB_MODE=offline keeps it in ./wandb."""

    def keep(self, tracked: Tracked) -> None:
        wandb = _package("wandb")
        with wandb.init(name=tracked.name, config=dict(tracked.settings)) as run:
            # The steps of a retraining begin anew; W&B's own step may only grow.
            run.define_metric("step")
            run.define_metric("*", step_metric="step")
            for step, numbers in tracked.rows:
                run.log({**numbers, "step": step})
            artifact = wandb.Artifact(f"run-{run.id}", type="dnas-run")
            for path in tracked.files:
                artifact.add_file(str(path))
            run.log_artifact(artifact)


def tracked(run: Run) -> Tracked:
    """What is copied of a run folder.

    Raises:
        FileNotFoundError: there is no such run.
        UserError: a file in it is damaged.
    """
    if not run.path.is_dir():
        raise FileNotFoundError(f"There is no run folder {run.path}.")
    config = run.read_config() if run.config_path.exists() else {}
    rows = [*_rows(run, ""), *_rows(run.child(RETRAIN), f"{RETRAIN}/")]
    files = [run.path / name for name in _FILES if (run.path / name).exists()]
    return Tracked(run.path.resolve().name, dict(_flat(config, "")), rows, files)


def _rows(run: Run, prefix: str) -> Iterator[tuple[int, dict[str, float]]]:
    for row in run.metrics():
        numbers = {
            f"{prefix}{name}": float(value)
            for name, value in row.items()
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
        }
        if numbers:
            yield row["step"], numbers


def _flat(settings: Any, name: str) -> Iterator[tuple[str, str]]:
    """Dotted names and values; lists stand as text."""
    if isinstance(settings, Mapping) and settings:
        for key, value in settings.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    elif name:
        yield name, str(settings)[:_LONGEST]


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackage(f"Copying a run there needs {name}: pip install {name}") from error
