"""What a shrinking has worked out so far, so that it goes on after it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dnas.core.run import Run
from dnas.system.errors import UserError


class Memory:
    """Numbers by name in JSON files of a run folder; they count only for the same model, data sizes and settings.

    JSON keeps every bit of a float, so what goes on gives what would have come without a stop.

    Args:
        run: the folder; None to remember nothing.
        key: what the numbers depend on, as plain data.
    """

    def __init__(self, run: Run | None, key: Mapping[str, Any]) -> None:
        self._run = run
        self._key = {name: str(value) for name, value in key.items()}

    def get(self, name: str) -> Any:
        """What was kept under this name; None if there is nothing.

        Raises:
            UserError: the file is damaged, or of something else.
        """
        if self._run is None or not (self._run.path / f"{name}.json").exists():
            return None
        kept = self._run.load_json(name)
        if not isinstance(kept, dict) or "found" not in kept or not isinstance(kept.get("of"), dict):
            raise UserError(
                f"{self._run.path / name}.json is no part of a shrinking: remove the folder, or take another."
            )
        other = next((entry for entry, value in self._key.items() if kept["of"].get(entry) != value), None)
        if other is not None:
            raise UserError(
                f"{self._run.path} has begun with other {other}; the same call goes on with it. For another model, "
                "other data or other settings take another run folder."
            )
        return kept["found"]

    def keep(self, name: str, found: Any) -> None:
        """Write plain data under a name."""
        if self._run is not None:
            self._run.save_json(name, {"of": self._key, "found": found})

    def once(self, name: str, work_out: Callable[[], Any]) -> Any:
        """What was kept, or else what is worked out now, which is then kept: plain data."""
        found = self.get(name)
        if found is None:
            found = work_out()
            self.keep(name, found)
        return found
