"""How long the phases of a search step take: forward, backward, optimizer, other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import fields

import torch
from torch.utils.hooks import RemovableHandle

from dnas.jobs.planning.trial import Trial
from dnas.jobs.profile.values import Phases
from dnas.system.peak import synchronize

# The parts of a step.
ARCHITECTURE, WEIGHT, _OBSERVERS = "architecture", "weight", "observers"


def step_phases(trial: Trial, device: torch.device, *, repeats: int) -> tuple[Phases | None, Phases, Phases | None]:
    """Medians of the phases of architecture step, weight step and observers; None for a part that the search lacks.

    Args:
        trial: the search step.
        device: device that is waited for after each phase.
        repeats: number of steps that are measured.
    """
    steps = [_timed_step(trial, device) for _ in range(repeats)]
    architecture, weight, observers = (
        _median_phases([step[part] for step in steps]) if part in steps[0] else None
        for part in (ARCHITECTURE, WEIGHT, _OBSERVERS)
    )
    assert weight is not None
    return architecture, weight, observers


class _Stopwatch:
    """Adds up the seconds of phases, each from its `start` to the next one; it waits for the device each time."""

    def __init__(self, device: torch.device):
        self._device = device
        self._seconds: dict[str, float] = dict.fromkeys([field.name for field in fields(Phases)], 0.0)
        self._running = "other"
        self._since = self._now()

    def start(self, name: str) -> None:
        """End the phase that runs and start the phase `name`."""
        now = self._now()
        self._seconds[self._running] += now - self._since
        self._running, self._since = name, now

    def phases(self) -> Phases:
        """The phases measured until now; the watch starts again at zero."""
        self.start("other")
        phases = Phases(**self._seconds)
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        return phases

    def _now(self) -> float:
        synchronize(self._device)
        return time.perf_counter()


def _timed_step(trial: Trial, device: torch.device) -> dict[str, Phases]:
    """Phases of the parts of a step; a one-level step is all weight step."""
    watch = _Stopwatch(device)
    found: dict[str, Phases] = {}

    def ended(part: str) -> None:
        found[part] = found[part] + watch.phases() if part in found else watch.phases()

    model, optimizers = trial.supernet.model, (trial.alpha_optimizer, trial.weight_optimizer)
    handles = [
        model.register_forward_pre_hook(lambda *_: watch.start("forward")),
        model.register_forward_hook(lambda *_: watch.start("backward")),
        *(optimizer.register_step_pre_hook(lambda *_: watch.start("optimizer")) for optimizer in optimizers),
        *at_ends(trial, ended),
    ]
    try:
        trial.step()
        if trial.watches_steps:
            ended(_OBSERVERS)
    finally:
        for handle in handles:
            handle.remove()
    return found


def at_ends(trial: Trial, ended: Callable[[str], None]) -> list[RemovableHandle]:
    """Hooks that call `ended` with a part's name when it is over; a one-level step has only the weight step."""
    alphas = WEIGHT if trial.search.one_level else ARCHITECTURE
    return [
        trial.alpha_optimizer.register_step_post_hook(lambda *_: ended(alphas)),
        trial.weight_optimizer.register_step_post_hook(lambda *_: ended(WEIGHT)),
    ]


def _median_phases(measured: Sequence[Phases]) -> Phases:
    names = [field.name for field in fields(Phases)]
    return Phases(**{name: statistics.median(getattr(phases, name) for phases in measured) for name in names})
