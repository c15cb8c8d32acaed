"""The run folder: settings, metrics, checkpoints and architectures, through which commands pass on their results."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from dnas.core.architecture import Architecture
from dnas.core.curves import Curves
from dnas.distributed.folder import folder_of_rank
from dnas.distributed.ranks import ranks
from dnas.system.atomic import cannot_write, write_text
from dnas.system.digest import sealed_json, without_seal
from dnas.system.errors import MissingPackage, UserError
from dnas.system.lock import check_still_there, locked
from dnas.system.reading import parse_json, read_text, read_yaml
from dnas.system.tensor_file import load_tensors, save_tensors
from dnas.version import __version__

_LARGEST_METRICS = 2**30  # bytes; a row has a few hundred
WEIGHTS_FILE = "network.pt"  # of a trained network
_ROOT = Path(__file__).resolve().parents[2]  # the folder that holds the package: of a checkout, its top
RETRAIN = "retrain"  # the run inside a search run that holds the retrained network
SHRINK = "shrink"  # name of the JSON file with what stayed in a model that was made smaller


def check_not_shrunk(folder: Path) -> None:
    """See, before a search is missed in a folder, that it is not one of `dnas shrink`.

    Raises:
        UserError: it is; the message says what to do with it.
    """
    if (folder / f"{SHRINK}.json").exists():
        raise UserError(
            f"{folder} is of `dnas shrink`, not of a search: comparison.txt has its numbers, "
            f"`dnas predict {folder / 'network.onnx'} IMAGES` names classes, and "
            f"dnas.load({str(folder)!r}, model=original) gives the module."
        )


class Run:
    """A folder that a search or a training leaves behind.

        config.yaml          resolved settings, versions, commit, seed
        metrics.jsonl        one JSON object per line, each with its "step"
        tensorboard/         the same numbers as TensorBoard events (if tensorboard is installed)
        checkpoints/NAME.pt  everything that is needed to continue
        network.pt           trained weights, at the end of a training
        architecture.json    the result; architectures/epoch_0007.json is what the result would have been after epoch 7

    Every file is written whole or not at all. Checkpoints, weights and JSON files hold their digest, which is
    checked when they are read.

    Args:
        path: the folder; it is created when something is first written.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.curves = Curves(self.path / "tensorboard")

    def __fspath__(self) -> str:
        """The folder, so that a run can be given where a path is wanted."""
        return str(self.path)

    @staticmethod
    def open(path: Path | str) -> Run:
        """Open an existing run.

        Raises:
            FileNotFoundError: the folder does not exist, or holds no run.
        """
        run = Run(path)
        if not run.path.is_dir():
            raise FileNotFoundError(f"There is no run folder {run.path}.")
        if not run.config_path.exists():
            raise FileNotFoundError(f"{run.path} is not a run folder: it holds no config.yaml.")
        return run

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def architecture_path(self) -> Path:
        return self.path / "architecture.json"

    def child(self, name: str) -> Run:
        """A run folder inside this one, for example that of its retraining."""
        return Run(self.path / name)

    # Settings

    def write_config(self, settings: Mapping[str, Any]) -> None:
        """Write the settings (plain data) and the versions they ran under."""
        yaml = _yaml()
        check_still_there(self.path)
        data = {**settings, "environment": environment()}
        write_text(self.config_path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))

    def read_config(self) -> dict[str, Any]:
        """The settings as plain data.

        Raises:
            UserError: the file is damaged.
        """
        data = read_yaml(self.config_path)
        if not isinstance(data, dict):
            raise UserError(f"{self.config_path} must hold a mapping; got {type(data).__name__}.")
        return data

    # Metrics

    def log(self, step: int, scalars: Mapping[str, float | int | str]) -> None:
        """Append one row to metrics.jsonl and to TensorBoard."""
        check_still_there(self.path)
        row = {"step": step, **{name: _finite_or_text(value) for name, value in scalars.items()}}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self.metrics_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise cannot_write(self.metrics_path, error) from error
        self.curves.add_row(row)

    def metrics(self) -> list[dict[str, Any]]:
        """All rows; a last line that was cut short by a kill is left out.

        Raises:
            UserError: another line is damaged.
        """
        if not self.metrics_path.exists():
            return []
        lines = read_text(self.metrics_path, most=_LARGEST_METRICS).splitlines()
        rows = []
        for number, line in enumerate(lines, start=1):
            try:
                row = parse_json(line, f"{self.metrics_path}, line {number},")
            except UserError:
                if number == len(lines):
                    break
                raise
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                raise UserError(f"{self.metrics_path}, line {number}, is no row of metrics with its step: {line[:80]}")
            rows.append(row)
        return rows

    def cut_metrics(self, step: int) -> None:
        """Remove all rows after `step` from metrics.jsonl and TensorBoard, before a resumed run writes them again."""
        kept = [row for row in self.metrics() if row["step"] <= step]
        write_text(self.metrics_path, "".join(json.dumps(row) + "\n" for row in kept))
        self.curves.remove_rows()
        for row in kept:
            self.curves.add_row(row)

    def log_picture(self, step: int, name: str, png: bytes) -> None:
        """Put a PNG into TensorBoard, if that is installed; those of a resumed run stay."""
        self.curves.add_picture(step, name, png)

    def close(self) -> None:
        """Flush and close the TensorBoard file."""
        self.curves.close()

    # Checkpoints and architectures

    def save_checkpoint(self, name: str, state: Mapping[str, Any]) -> None:
        """Write tensors and plain data to checkpoints/NAME.pt."""
        check_still_there(self.path)
        save_tensors(self.checkpoint_path(name), state)

    def checkpoint_path(self, name: str) -> Path:
        return self.path / "checkpoints" / f"{name}.pt"

    def load_checkpoint(self, name: str, device: torch.device | str = "cpu") -> dict[str, Any]:
        """Read a checkpoint as data only; no code in it is executed.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            UserError: the file is damaged, or holds something other than tensors and plain data.
        """
        return load_tensors(self.checkpoint_path(name), device)

    @property
    def weights_path(self) -> Path:
        return self.path / WEIGHTS_FILE

    def save_weights(self, network: nn.Module) -> None:
        """Write the network's weights and buffers to network.pt.

        Raises:
            UserError: its state holds more than tensors.
        """
        state = network.state_dict()
        for name, value in state.items():
            if not isinstance(value, Tensor):
                raise UserError(
                    f"The network's state {name!r} is a {type(value).__name__}; only tensors can be written. "
                    "Keep such values in buffers."
                )
        # Copies, in plain memory format: a view would be written with all of the memory that it looks into.
        plain = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()
        }
        check_still_there(self.path)
        save_tensors(self.weights_path, plain)

    def save_architecture(self, architecture: Architecture, epoch: int | None = None) -> None:
        """Write architecture.json, or the architecture of an epoch."""
        check_still_there(self.path)
        path = self.architecture_path if epoch is None else self.path / "architectures" / f"epoch_{epoch:04d}.json"
        architecture.save(path)

    def load_architecture(self) -> Architecture:
        """Read the architecture that the search found.

        Raises:
            FileNotFoundError: the search has not finished.
            UserError: the folder is of `dnas shrink`.
        """
        if not self.architecture_path.exists():
            check_not_shrunk(self.path)
            raise FileNotFoundError(
                f"{self.path} holds no architecture.json: its search has not finished; "
                f"`dnas search --resume {self.path}` goes on with it."
            )
        return Architecture.load(self.architecture_path)

    # Other files

    def save_json(self, name: str, data: Any) -> None:
        """Write NAME.json, an object with its digest as the last entry."""
        check_still_there(self.path)
        text = sealed_json(data) if isinstance(data, Mapping) else json.dumps(data, indent=2) + "\n"
        write_text(self.path / f"{name}.json", text)

    def load_json(self, name: str) -> Any:
        """Read NAME.json; the digest of an object is checked and left out.

        Raises:
            FileNotFoundError: the file does not exist.
            UserError: the file is damaged.
        """
        path = self.path / f"{name}.json"
        text = read_text(path)
        data = parse_json(text, path)
        return without_seal(data, text, source=str(path)) if isinstance(data, dict) else data


def as_run(run: Run | Path | str | None) -> Run | None:
    """A run, also where the path of its folder is given.

    Raises:
        UserError: neither.
    """
    if run is None or isinstance(run, Run):
        return run
    if isinstance(run, str | Path):
        return Run(run)
    raise UserError(f"run must be the path of a folder, such as 'runs/x', or a dnas.Run; got {run!r}.")


@overload
def run_of_rank(run: Run) -> AbstractContextManager[Run]: ...
@overload
def run_of_rank(run: Run | None) -> AbstractContextManager[Run | None]: ...
@contextmanager
def run_of_rank(run: Run | None) -> Iterator[Run | None]:
    """The run itself on the first of several ranks, on the others one in a temporary copy of its folder."""
    if run is None or ranks().size == 1:
        yield run
        return
    with folder_of_rank(run.path) as path:
        yield run if path == run.path else Run(path)


@contextmanager
def writing(run: Run | None, say: Callable[[str], None]) -> Iterator[None]:
    """Within the block this process alone writes into a run, whose files are closed after it; None stands for no run.

    Args:
        run: the run; its folder is made.
        say: is told what a process that was killed has left.

    Raises:
        UserError: another process writes into it, or the folder was removed within the block.
    """
    if run is None:
        yield
        return
    with locked(run.path, say):
        try:
            yield
        finally:
            run.close()


def environment() -> dict[str, Any]:
    """Versions, commit and hardware of this process."""
    return {
        "dnas": __version__,
        "commit": commit(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": platform.platform(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({os.cpu_count()} cores)",
    }


def commit(root: Path = _ROOT) -> str | None:
    """The git commit of dnas's own checkout.

    None if dnas was installed from a package or copied into another repository, whose commits say nothing of it, or if
    git is missing.

    Args:
        root: the folder that holds the package.
    """
    if (
        not (root / ".git").exists()
        or _git(root, "grep", "-e", '^name = "dnas"$', "HEAD", "--", "pyproject.toml") is None
    ):
        return None
    return _git(root, "rev-parse", "HEAD")


def _git(folder: Path, *words: str) -> str | None:
    """What git answers in a folder; None if it finds nothing, fails or is missing."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingPackage('A run folder needs PyYAML: pip install ".[cli]" in a clone of dnas') from error
    return yaml


def _finite_or_text(value: float | int | str) -> float | int | str:
    """JSON has no NaN or infinity: they are written as text."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value
