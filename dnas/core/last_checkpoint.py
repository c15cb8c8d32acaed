"""The checkpoint that a search or a training goes on from: when it is written, and what is checked before going on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dnas.core.run import Run
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.system.tensor_file import first_nan

# Name of the file, in the folder of checkpoints.
CHECKPOINT = "last"

# What a damaged entry leads to where it is used.
_DAMAGE = (LookupError, TypeError, AttributeError, ValueError, RuntimeError)
# Entries whose tensors are seen to be numbers, as before they are written. What observers remember may be anything.
_FINITE = ("supernet", "network", "optimizer", "weight_optimizer", "alpha_optimizer", "alphas_by_epoch")
# Entries of these types are checked before any of them is used.
_KINDS = (bool, int, float, Mapping)


class LastCheckpoint:
    """Writes the state of a search or a training to its run folder, and goes on from there.

    Without a run folder nothing is written and nothing is found.

    Args:
        run: the folder.
        of: what the checkpoint is of, as messages call it: 'search' or 'training'.
        state: gives everything that changes, as tensors and plain data.
        restore: puts such a state back.
        difference: says in words what a state shows to be other than here (settings, data, network); empty where it is
            of this search or training.
        device: where tensors are read to.
        display: where messages are shown.
    """

    def __init__(
        self,
        run: Run | None,
        of: str,
        *,
        state: Callable[[], dict[str, Any]],
        restore: Callable[[dict[str, Any]], None],
        difference: Callable[[Mapping[str, Any]], str],
        device: torch.device,
        display: Display,
    ):
        self.run = run
        self.of = of
        self.state = state
        self.restore = restore
        self.difference = difference
        self.device = device
        self.display = display
        self._last_saved = time.monotonic()
        self._threads = torch.get_num_threads()  # with which the checkpoint was written that is gone on from

    # Writing

    def save(self) -> None:
        if self.run is not None:
            self.run.save_checkpoint(CHECKPOINT, {**self.state(), "threads": torch.get_num_threads()})
        self._last_saved = time.monotonic()

    def is_due(self, minutes: float) -> bool:
        """Whether so much time has passed since the last one."""
        return time.monotonic() - self._last_saved >= 60 * minutes

    # Going on

    def resume(self) -> bool:
        """Put back the state of the checkpoint; whether there is one.

        Raises:
            UserError: it is damaged, or of another search or training.
        """
        if self.run is None:
            return False
        if not self._path(self.run).exists():
            self.forget_rows_after(0)
            return False
        state = self.run.load_checkpoint(CHECKPOINT, self.device)
        with self.checked(state):
            self.restore(state)
        self._threads = state.get("threads", self._threads)
        return True

    @contextmanager
    def checked(self, state: Mapping[str, Any]) -> Iterator[None]:
        """See that a state of the run folder is of this search or training; within the block it is put back.

        Raises:
            UserError: it is not, or damaged entries led to an error within the block.
        """
        if self.run is None:
            yield
            return
        path = self._path(self.run)
        self._check_entries(state, path)
        try:
            difference = self.difference(state)
            if difference:
                raise UserError(
                    f"{path} is the checkpoint of another {self.of}: {difference}. Go on with the same data and "
                    "settings, or use a new run folder."
                )
            yield
        except UserError:
            raise
        except _DAMAGE as error:
            raise UserError(f"{path} is damaged ({type(error).__name__}: {error}). Use a new run folder.") from error

    def _check_entries(self, state: Mapping[str, Any], path: Path) -> None:
        for name, value in self.state().items():
            if name not in state:
                raise UserError(f"{path} is not the checkpoint of a {self.of}: {name!r} is missing in it.")
            kind = next((kind for kind in _KINDS if isinstance(value, kind)), object)
            if not isinstance(state[name], kind):
                raise UserError(
                    f"{path} is damaged: {name!r} must be of type {kind.__name__}; got {state[name]!r}. Use a new run "
                    "folder."
                )

        found = next((f"{name}.{place}" for name in _FINITE if (place := first_nan(state.get(name, {})))), "")
        if found:
            raise UserError(f"{path} is damaged: {found} holds NaN. Take it from a copy, or use a new run folder.")

    def forget_rows_after(self, step: int) -> None:
        """Cut the metrics of steps that are taken again."""
        if self.run is not None and self.run.metrics_path.exists():
            self.run.cut_metrics(step)

    # What is said

    def say_going_on(self, place: str) -> None:
        """Say where it goes on, such as 'step 3 of 12', and whether numbers will differ in the last digits."""
        assert self.run is not None
        if self._threads != torch.get_num_threads():
            self.display.say(
                f"Note: this {self.of} began with {self._threads} threads and goes on with {torch.get_num_threads()}; "
                f"its numbers will differ in the last digits from an uninterrupted {self.of}."
            )
        self.display.say(f"Going on with {self.run.path} after {place}.")

    def how_to_go_on(self, place: str) -> str:
        """What Ctrl-C is answered with."""
        if self.run is None:
            return f"The {self.of} was stopped after {place}; without a run folder nothing was saved."
        return f"The {self.of} was stopped and saved after {place} in {self.run.path}."

    def last_good(self) -> str:
        """What is left where a loss or a weight became NaN or infinite: a sentence after a blank, or nothing."""
        if self.run is None:
            return ""
        path = self._path(self.run)
        return (
            f" The last good checkpoint is kept: {path}." if path.exists() else " No checkpoint had been written yet."
        )

    def _path(self, run: Run) -> Path:
        return run.checkpoint_path(CHECKPOINT)
