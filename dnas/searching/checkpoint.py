"""The state of a search: saving it, resuming it, handing it to the next stage, and going back to an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from dnas.core.batch import map_tensors
from dnas.core.last_checkpoint import CHECKPOINT, LastCheckpoint
from dnas.core.run import Run
from dnas.searching.course import Course
from dnas.searching.execution import Stepper
from dnas.searching.finiteness import Finiteness, non_finite_of
from dnas.searching.handover import Widening, load_optimizer, load_pruned, load_widened, names_in
from dnas.searching.settings import SearchSettings
from dnas.searching.stage import stage_seed
from dnas.searching.totals import Totals
from dnas.system.difference import first_difference, fixed_settings
from dnas.system.display import Display
from dnas.system.random_state import random_state, restore_random_state
from dnas.system.reading import shortened


class SearchCheckpoint:
    """The state of a search: saving it, resuming it, handing it to the next stage, and going back to an earlier one.

    Args:
        stepper: holds the supernet, the optimizers and the generator of samples.
        course: holds everything else that changes.
        settings: the settings of the search.
        run: folder of the checkpoints; None to write none.
        display: where messages are shown.
    """

    def __init__(
        self, stepper: Stepper, course: Course, settings: SearchSettings, *, run: Run | None, display: Display
    ):
        self.stepper = stepper
        self.supernet = stepper.supernet
        self.course = course
        self.settings = settings
        self.run = run
        # Names of the optimizer's tensors; some may be frozen later.
        self.weight_names = names_in(stepper.weight_optimizer, self.supernet.weights())
        self.kept: dict[int, dict[str, Any]] = {}  # by epoch, states to go back to; used if there is no run folder
        self.last = LastCheckpoint(
            run,
            "search",
            state=self.state,
            restore=self._restore,
            difference=self._difference,
            finite=finite_part,
            device=stepper.device,
            display=display,
            added={"decisions": {}, "skipped": 0},  # pictures of the course read the decisions
        )
        self.finiteness = Finiteness(
            "search",
            stepper.weight_optimizer,
            settings.weights.clip,
            at_most=settings.skip_non_finite,
            moving=self._moving,
            put_back=self._put_all_back,
            looks=stepper.device.type == "cpu",  # elsewhere reading losses at every step would wait for the device
            last_good=self.last.last_good,
            say=display.say,
        )

    # Saving

    def state(self) -> dict[str, Any]:
        """Everything that changes in a search, as tensors and plain data."""
        course = self.course
        return {
            "step": course.step,
            "steps_per_epoch": course.steps_per_epoch,
            "skipped": self.finiteness.num_skipped,
            "attempt": course.attempt,
            "given_up": course.given_up,
            "settings": fixed_settings(self.settings),
            "stage": course.stage,
            "stopped": course.stopped,
            "seconds": course.seconds,
            **self._moving(),
            "weight_names": self.weight_names,
            "totals": course.totals.state(),
            "epoch_rows": course.epoch_rows,
            "result_epoch": course.result_epoch,
            "alphas_by_epoch": course.alphas_by_epoch,
            "decisions": {name: asdict(decision) for name, decision in self.supernet.decisions.items()},
        }

    def _moving(self) -> dict[str, Any]:
        """The part of the state that going back puts back."""
        return {
            "supernet": self.supernet.state_dict(),
            "trained": list(self.supernet.weights()),  # an observer may have frozen the others
            "weight_optimizer": self.stepper.weight_optimizer.state_dict(),
            "alpha_optimizer": self.stepper.alpha_optimizer.state_dict(),
            "generator": self.stepper.generator.get_state(),
            "random_state": random_state(),
            "memories": self.course.memories,
            **({} if self.stepper.held is None else {"budget": self.stepper.held.state_dict()}),
        }

    def save(self) -> None:
        """Write a checkpoint to the run folder, if there is one; non-finite losses and weights are never written."""
        self.check_losses()
        self._check_weights()
        self.last.save()

    def check_losses(self) -> None:
        """Check that all scalars of the epoch so far are finite.

        Raises:
            NonFiniteLoss: one is not; the message names its step.
        """
        step = self.course.totals.first_non_finite()
        if step is not None:
            bad = non_finite_of(self.course.totals.latest())
            raise self.finiteness.diverged(self.course.at(step), bad or "a loss was NaN or infinite")

    def _check_weights(self) -> None:
        """Check that weights, alphas and the optimizers' states are finite."""
        tensors = {**dict(self.supernet.model.named_parameters()), **self.supernet.alphas}
        for optimizer in (self.stepper.weight_optimizer, self.stepper.alpha_optimizer):
            for index, state in enumerate(optimizer.state.values()):
                tensors |= {f"{name} of weight {index}": t for name, t in state.items() if isinstance(t, Tensor)}
        self.finiteness.check_tensors(f"in step {self.course.step} (epoch {self.course.epoch})", tensors)

    # Resuming

    def resume(self) -> None:
        """Continue from the checkpoint of the run folder, if there is one."""
        if self.last.resume():
            self.last.forget_rows_after(self.course.steps_taken)
            self.last.say_going_on(self.course.place)

    def _difference(self, state: Mapping[str, Any]) -> str:
        """How a state differs from this search, in words: in the settings, or in the length of the data."""
        there = {name: state[name] for name in ("settings", "steps_per_epoch")}
        return first_difference(there, {"settings": self.settings, "steps_per_epoch": self.course.steps_per_epoch})

    def _restore(self, state: Mapping[str, Any]) -> None:
        course = self.course
        last = self.settings.epochs * course.steps_per_epoch
        if not 0 <= state["step"] <= last:
            raise ValueError(f"it is of step {state['step']} of {last}")
        check_rows(state["epoch_rows"])
        if state["stage"] != course.stage:
            raise TypeError(f"the stage must be {course.stage} here; got {state['stage']!r}.")
        self._put_all_back(state)
        self.finiteness.num_skipped = state["skipped"]
        course.totals = Totals.from_state(state["totals"])
        course.step, course.stopped, course.seconds = state["step"], state["stopped"], state["seconds"]
        course.attempt, course.given_up = state["attempt"], state["given_up"]
        course.epoch_rows, course.alphas_by_epoch = state["epoch_rows"], state["alphas_by_epoch"]
        course.result_epoch = state["result_epoch"]

    def _put_all_back(self, state: Mapping[str, Any]) -> None:
        """Put back everything in `_moving()`."""
        self._put_back(state)
        self.stepper.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.stepper.alpha_optimizer.load_state_dict(state["alpha_optimizer"])

    def _put_back(self, state: Mapping[str, Any]) -> None:
        """Put back everything in `_moving()`, in place, except the optimizers."""
        self.supernet.load_state_dict(state["supernet"])
        for name, weight in self.supernet.model.named_parameters():
            weight.requires_grad_(name in state["trained"])
        self.stepper.generator.set_state(state["generator"].cpu())
        for memory, before in zip(self.course.memories, state["memories"], strict=False):  # observers may be others now
            memory.clear()
            memory.update(_copied(before))
        self._put_back_budget(state)
        restore_random_state(state["random_state"])

    def _put_back_budget(self, state: Mapping[str, Any]) -> None:
        if self.stepper.held is not None:
            self.stepper.held.load_state_dict(state["budget"])

    # Stages

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Begin a stage at the end of the one before."""
        state = {**self.last.added, **state}
        with self.last.checked(state):
            self._take_over(state)
        self.last.forget_rows_after(self.course.steps_taken)  # rows of this stage, if it was begun before and killed

    def _take_over(self, state: Mapping[str, Any]) -> None:
        course = self.course
        stage, before = self.settings.all_stages[course.stage], self.settings.parts[course.stage - 1]
        load_pruned(
            self.supernet,
            state["supernet"]["alphas"],
            state["supernet"]["allowed"],
            num_candidates=stage.num_candidates,
            relaxation=self.settings.relaxation,
            progress=torch.tensor(before.progress(before.end)),
            carry=stage.carry,
        )
        if stage.carry:
            self._carry_on(state)
        self._put_back_budget(state)
        self.finiteness.num_skipped = state["skipped"]
        self.stepper.generator.set_state(state["generator"].cpu())
        course.seconds, course.given_up, course.attempt = state["seconds"], state["given_up"], state["attempt"]
        course.epoch_rows, course.alphas_by_epoch = list(state["epoch_rows"]), list(state["alphas_by_epoch"])
        restore_random_state(state["random_state"])

    def _carry_on(self, state: Mapping[str, Any]) -> None:
        """Give the new supernet the weights of the one before, and its optimizers their states."""
        widening = Widening(stage_seed(self.settings.seed, self.course.stage))
        load_widened(self.supernet, state["supernet"]["model"], widening)
        weights, names = self.supernet.weights(), state["weight_names"]
        load_optimizer(self.stepper.weight_optimizer, weights, state["weight_optimizer"], names, widening)
        alphas, names = self.supernet.alphas, list(state["supernet"]["alphas"])
        load_optimizer(self.stepper.alpha_optimizer, alphas, state["alpha_optimizer"], names, widening)
        for name in set(state["weight_names"]) - set(state["trained"]):
            if name in weights:
                weights[name].requires_grad_(False)
        for memory, remembered in zip(self.course.memories, state["memories"], strict=False):
            memory.update(remembered)

    # Going back

    def keep(self) -> None:
        """Keep the current state for an observer that may go back to it: in a file of the epoch, or in memory."""
        if self.run is None:
            self.kept[self.course.epoch] = _copied(self._moving())
        else:
            self.run.save_checkpoint(_kept_name(self.course.epoch), self._moving())

    def go_back(self, epoch: int) -> None:
        """Continue from the end of an earlier epoch, which was kept, with the current settings of the optimizers."""
        course, stepper, run = self.course, self.stepper, self.run
        kept = self.kept[epoch] if run is None else run.load_checkpoint(_kept_name(epoch), stepper.device)
        self._put_back(kept)
        _copy_optimizer_state(stepper.weight_optimizer, kept["weight_optimizer"]["state"])
        _copy_optimizer_state(stepper.alpha_optimizer, kept["alpha_optimizer"]["state"])
        del course.alphas_by_epoch[epoch:]
        step = epoch * course.steps_per_epoch
        course.given_up += course.step - step
        course.step = step
        course.attempt += 1

    def forget_kept(self) -> None:
        """Remove all states that were kept for going back."""
        if self.run is not None:
            for path in self.run.checkpoint_path(CHECKPOINT).parent.glob("epoch_*.pt"):
                path.unlink()


def finite_part(state: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a search's state in which no number may be NaN or infinite: all but buffers, which may be masks."""
    model = state["supernet"]["model"]
    return {
        "weights": {name: model[name] for name in state["weight_names"]},
        "alphas": state["supernet"]["alphas"],
        "alphas_by_epoch": state["alphas_by_epoch"],
        "weight_optimizer": state["weight_optimizer"]["state"],
        "alpha_optimizer": state["alpha_optimizer"]["state"],
    }


def check_rows(rows: Any) -> None:
    """Check that rows of metrics, one for each epoch, are numbers by name.

    Raises:
        TypeError: they are not.
    """
    if not isinstance(rows, list):
        raise TypeError(f"rows of epochs must be a list, not a {type(rows).__name__}")
    for row in rows:
        if not isinstance(row, dict) or not all(
            isinstance(name, str) and isinstance(value, int | float) for name, value in row.items()
        ):
            raise TypeError(f"a row of an epoch must be numbers by name, not {shortened(row)}")


def stage_reached(run: Run | None, settings: SearchSettings) -> tuple[int, dict[str, Any] | None]:
    """The index of the stage to continue with, and the final state of the stage before if that stage had just ended."""
    if run is None or not settings.stages or not run.checkpoint_path(CHECKPOINT).exists():
        return 0, None
    state = run.load_checkpoint(CHECKPOINT)
    stage, step, per_epoch = (state.get(name) for name in ("stage", "step", "steps_per_epoch"))
    if not (isinstance(stage, int) and isinstance(step, int) and isinstance(per_epoch, int)):
        return 0, None  # `SearchCheckpoint.resume` will say what is wrong with it
    if not 0 <= stage < len(settings.stages):
        return 0, None
    ended = step >= settings.parts[stage].end * per_epoch and not state.get("stopped")
    return (stage + 1, state) if ended and stage + 1 < len(settings.stages) else (stage, None)


def _kept_name(epoch: int) -> str:
    """Name of the checkpoint of an epoch that an observer may go back to."""
    return f"epoch_{epoch:04d}"


def _copied(state: Any) -> Any:
    """A copy of plain data and tensors; later changes of the originals do not reach it."""
    return map_tensors(lambda tensor: tensor.detach().clone(), state)


def _copy_optimizer_state(optimizer: torch.optim.Optimizer, before: Mapping[int, Mapping[str, Any]]) -> None:
    """Give an optimizer, in place, the state `before` for each weight, so that a recorded step still finds the tensors.

    State that did not exist yet is set to 0, the value that SGD and Adam start from.
    """
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                old = before.get(index, {}).get(name)
                value.zero_() if old is None else value.copy_(old)
