"""The checkpoint from which a search or a training continues: when it is written, and how it is checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from dnas.core.run import Run
from dnas.distributed.ranks import ranks
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.system.tensor_file import check_finite, first_nan
from dnas.system.words import number_of

# Name of the file, in the folder of checkpoints.
CHECKPOINT = "last"

# Errors that a damaged entry can cause when it is used.
_DAMAGE = (LookupError, TypeError, AttributeError, ValueError, RuntimeError)
# Entries whose tensors must not hold NaN, which is also checked before they are written. Observers may remember
# anything.
_FINITE = ("supernet", "network", "optimizer", "weight_optimizer", "alpha_optimizer", "alphas_by_epoch")
# The types of these entries are checked before any entry is used.
_KINDS = (bool, int, float, Mapping)


class LastCheckpoint:
    """Writes the state of a search or a training to its run folder, and continues from it.

    Without a run folder nothing is written or found.

    Args:
        run: the run folder.
        of: name of the activity in messages: 'search' or 'training'.
        state: returns everything that changes, as tensors and plain data.
        restore: puts such a state back.
        difference: describes how a state differs from this search or training (settings, data, network); empty if it
            does not differ.
        finite: the part of a state in which no number may be NaN or infinite; it is also checked before it is written.
        device: device that tensors are loaded to.
        display: where messages are shown.
        added: entries that were added to dnas later, with the values that a checkpoint without them stands for.
    """

    def __init__(
        self,
        run: Run | None,
        of: str,
        *,
        state: Callable[[], dict[str, Any]],
        restore: Callable[[dict[str, Any]], None],
        difference: Callable[[Mapping[str, Any]], str],
        finite: Callable[[Mapping[str, Any]], Any],
        device: torch.device,
        display: Display,
        added: Mapping[str, Any] = MappingProxyType({}),
    ):
        self.run = run
        self.of = of
        self.state = state
        self.restore = restore
        self.difference = difference
        self.finite = finite
        self.device = device
        self.display = display
        self.added = added
        self._last_saved = time.monotonic()
        # Under which the checkpoint that is resumed was written.
        self._threads, self._ranks = torch.get_num_threads(), ranks().size

    # Writing

    def save(self) -> None:
        if self.run is not None:
            self.run.save_checkpoint(
                CHECKPOINT, {**self.state(), "threads": torch.get_num_threads(), "ranks": ranks().size}
            )
        self._last_saved = time.monotonic()

    def is_due(self, minutes: float) -> bool:
        """Whether this many minutes have passed since the last checkpoint."""
        return time.monotonic() - self._last_saved >= 60 * minutes

    # Resuming

    def resume(self) -> bool:
        """Put back the state of the checkpoint, and tell whether there was one.

        Raises:
            UserError: the checkpoint is damaged, or belongs to another search or training.
        """
        if self.run is None:
            return False
        if not self._path(self.run).exists():
            self.forget_rows_after(0)
            return False
        state = {**self.added, **self.run.load_checkpoint(CHECKPOINT, self.device)}
        with self.checked(state):
            self.restore(state)
        self._threads, self._ranks = state.get("threads", self._threads), state.get("ranks", 1)
        return True

    @contextmanager
    def checked(self, state: Mapping[str, Any]) -> Iterator[None]:
        """Check that a state of the run folder belongs to this search or training; within the block it is put back.

        Raises:
            UserError: the state belongs to another one, or damaged entries caused an error within the block.
        """
        if self.run is None:
            yield
            return
        path = self._path(self.run)
        self._check_entries(state, path)
        try:
            check_finite(self.finite(state), source=str(path))
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
        """Remove the metrics of steps that will be taken again."""
        if self.run is not None and self.run.metrics_path.exists():
            self.run.cut_metrics(step)

    # Messages

    def say_going_on(self, place: str) -> None:
        """Say where it continues, such as 'step 3 of 12', and whether numbers will differ in their last digits."""
        assert self.run is not None
        if self._threads != torch.get_num_threads():
            self.display.say(
                f"Note: this {self.of} began with {self._threads} threads and goes on with {torch.get_num_threads()}; "
                f"its numbers will differ in the last digits from an uninterrupted {self.of}."
            )
        if self._ranks != ranks().size:
            self.display.say(
                f"Note: this {self.of} began with {number_of(self._ranks, 'rank')} and goes on with "
                f"{ranks().size}; sums over ranks are rounded in another order, so its numbers will differ in the last "
                "digits."
            )
        self.display.say(f"Going on with {self.run.path} after {place}.")

    def how_to_go_on(self, place: str) -> str:
        """The answer to Ctrl-C."""
        if self.run is None:
            return f"The {self.of} was stopped after {place}; without a run folder nothing was saved."
        return f"The {self.of} was stopped and saved after {place} in {self.run.path}."

    def last_good(self) -> str:
        """A sentence, after a blank, about the last good checkpoint, for a loss or weight that is NaN or infinite."""
        if self.run is None:
            return ""
        path = self._path(self.run)
        return (
            f" The last good checkpoint is kept: {path}." if path.exists() else " No checkpoint had been written yet."
        )

    def _path(self, run: Run) -> Path:
        return run.checkpoint_path(CHECKPOINT)
