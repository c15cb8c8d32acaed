"""The loop of a training: steps, epochs, and the state from which it resumes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from dnas.core.batch import Batch
from dnas.core.last_checkpoint import LastCheckpoint
from dnas.core.run import Run
from dnas.core.training_mode import set_training_mode
from dnas.core.trial_write import check_training_can_be_saved
from dnas.data.batches import Batches
from dnas.data.rank_rows import check_data, rows_of
from dnas.distributed.equal import check_equal, check_same, make_equal
from dnas.distributed.ranks import ranks
from dnas.searching.capture import Recorder
from dnas.searching.finiteness import Finiteness
from dnas.space.drop_path import DropPath, set_drop_path
from dnas.system.difference import first_difference
from dnas.system.display import Display, Silent
from dnas.system.errors import UserError
from dnas.system.interrupt import Interrupted, StopRequest
from dnas.system.random_state import random_state, restore_random_state
from dnas.system.tensor_file import first_non_finite
from dnas.task.base import Task
from dnas.task.batch_check import BatchCheck
from dnas.training.distillation import Teacher
from dnas.training.epoch_sums import EpochSums
from dnas.training.evaluate import as_batches, device_of, evaluate
from dnas.training.kept import KeptWeights
from dnas.training.network_checks import digest_of_modules
from dnas.training.settings import RetrainSettings
from dnas.training.step import TrainingStep

SUMMARY = "retrain"  # name of the JSON file that a finished training writes
MODULES = "modules_sha256"  # entry of that file: identifies the network that the weights belong to


class TrainingLoop:
    """Takes a training through its epochs; everything that changes is in `state()`.

    It is longer than other classes, since steps, epochs and checkpoints all move or save the same position; a step,
    the kept weights and the checks of finiteness are in classes of their own.

    Args:
        network: the network; it is trained in place.
        train: batches (inputs, targets).
        settings: optimizer, length and the rest.
        run: folder for metrics and the checkpoint; None to write nothing.
        display: where progress is shown, under the name `phase`.
        validation: batches that are measured after each epoch; None to measure nothing.
        task: criterion and metrics.
        average_after: as for `KeptWeights`.
        conditions: what else must be the same when the training goes on, as plain data.
        recorder: records steps; None for CUDA graphs on a CUDA device, if the settings ask for them.
        teacher: whose outputs the network learns as well; None for none.
    """

    def __init__(
        self,
        network: nn.Module,
        train: Batches,
        settings: RetrainSettings,
        run: Run | None,
        display: Display,
        phase: str,
        validation: Batches | Iterable[Any] | None,
        task: Task,
        *,
        average_after: int | None = None,
        conditions: Mapping[str, Any] = MappingProxyType({}),
        recorder: Recorder | None = None,
        teacher: Teacher | None = None,
    ):
        self.network = network
        self.weights = [weight for weight in network.parameters() if weight.requires_grad]
        if not self.weights:
            raise UserError(f"{type(network).__name__} has no weights to train: no parameter requires a gradient.")
        if len(train) < 1:
            raise UserError("There is nothing to train on: the data hold no batch.")
        if run is not None:
            check_training_can_be_saved(run, network)
        check_same(ranks(), "settings", repr((settings, task.name(), conditions)))
        check_data("train", train)
        make_equal(network)
        self.train = rows_of(train)
        self.task = task
        self.settings = settings
        self.run = run
        self.display = display
        self.phase = phase
        self.validation = None if validation is None else as_batches(validation)
        if self.validation is None and (settings.keep_best or average_after is not None):
            raise UserError("The best epoch is the one that is best on validation data, and none are given.")
        self.kept = KeptWeights(network, self.weights, best=settings.keep_best, average_after=average_after)
        self.conditions = dict(conditions)
        self.device = device_of(network)
        self.has_drop_path = any(isinstance(module, DropPath) for module in network.modules())
        self.training_step = TrainingStep(
            network, self.weights, task, settings, say=display.say, recorder=recorder, teacher=teacher
        )
        self.taught_by = None if teacher is None else teacher.to_data()
        self.optimizer = self.training_step.optimizer
        self.steps_per_epoch = len(train)
        self.batch_check = BatchCheck("train", len(train))
        self.total_steps = settings.epochs * self.steps_per_epoch
        self.step = 0
        self.seconds = 0.0
        self.means_of = self.training_step.means_of
        self.totals = EpochSums(self.means_of, self.device)
        self.shown: dict[str, float] = {}
        self.checkpoint = self._last_checkpoint()
        self.finiteness = self._finiteness()

    def _last_checkpoint(self) -> LastCheckpoint:
        """What the training goes on from."""
        return LastCheckpoint(
            self.run,
            "training",
            state=self.state,
            restore=self._restore,
            difference=self._difference,
            finite=lambda state: [state["network"], *map(state["kept"].get, ("best_state", "means"))],
            device=self.device,
            display=self.display,
            # Checkpoints had no task while classification was the only one, no teacher while there were none, and no
            # choice of weights while the last ones were kept.
            added={
                "task": self.task.name(),
                "teacher": None,
                "kept": {},
                "carry": None,
                "conditions": {},
                "skipped": 0,
            },
        )

    def _finiteness(self) -> Finiteness:
        """What looks for numbers that are NaN or infinite."""
        return Finiteness(
            "training",
            self.optimizer,
            self.settings.weights.clip,
            at_most=self.settings.skip_non_finite,
            moving=self._moving,
            put_back=self._put_back,
            looks=self.device.type == "cpu",  # elsewhere reading numbers at every step would wait for the device
            last_good=self.checkpoint.last_good,
            say=self.display.say,
        )

    # The loop

    def run_epochs(self, request: StopRequest) -> None:
        set_training_mode(self.network)
        self.training_step.begin()
        while self.step < self.total_steps:
            epoch, start = divmod(self.step, self.steps_per_epoch)
            self._set_schedules(epoch)
            for batch in islice(self.train.epoch(epoch, start), self.steps_per_epoch - start):
                started = time.perf_counter()
                self._one_step(batch)
                epoch_ended = self.step % self.steps_per_epoch == 0
                if self.step % self.settings.log_every == 0 or epoch_ended:
                    self._log_step(epoch)
                if epoch_ended:
                    self._end_epoch(epoch)
                self.display.update(self.phase, self.step, self.total_steps, self.shown)
                self.seconds += time.perf_counter() - started
                is_stopped = ranks().any(request.made)
                if epoch_ended or is_stopped or self.checkpoint.is_due(self.settings.checkpoint_minutes):
                    self.save()
                if is_stopped:
                    raise Interrupted(self.checkpoint.how_to_go_on(self._place))
            if self.step != (epoch + 1) * self.steps_per_epoch:
                raise UserError(
                    f"Epoch {epoch} of the training data ended after {self.step - epoch * self.steps_per_epoch} of "
                    f"{self.steps_per_epoch} batches; each epoch must have as many as len() says."
                )

    def _set_schedules(self, epoch: int) -> None:
        if self.settings.lr_changes == "epoch":
            self.settings.weights.assign_lr(self.optimizer, epoch / self.settings.epochs)
        if self.has_drop_path:
            set_drop_path(self.network, self.settings.drop_path_at(epoch))

    def _one_step(self, batch: Batch) -> None:
        if self.settings.lr_changes == "step":
            self.settings.weights.assign_lr(self.optimizer, self.step / self.total_steps)
        drop_path, is_first = self.settings.drop_path_at(self.step // self.steps_per_epoch), self.step == 0
        sums = self.finiteness.taken(
            [(self.batch_check, self.step, batch)],
            lambda: self.training_step.take(batch, drop_path, is_first=is_first),
            wrong_with=self._wrong_with,
            when=_when(self.step + 1),
        )
        self.step += 1
        if sums is not None:
            self.kept.step_taken()
            self.totals.add(sums)

    def _wrong_with(self, sums: Tensor) -> str:
        """Whether loss or gradient of a step are NaN or infinite, in words; empty if they are finite."""
        loss = float(sums[1])
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if math.isfinite(float(self.training_step.gradient_norm)):  # it also overflows where all entries are finite
            return ""
        gradients = {name: weight.grad for name, weight in self.network.named_parameters() if weight.grad is not None}
        bad = first_non_finite(gradients)
        return bad and f"the gradient of {bad} holds NaN or infinity"

    # After some steps, and after an epoch

    def _log_step(self, epoch: int) -> None:
        """Write the means over the epoch so far."""
        means = self._means()
        self.shown = {**means, "lr": self.optimizer.param_groups[0]["lr"]}
        if self.run is not None:
            self.run.log(self.step, {"phase": "step", "epoch": epoch, **self.shown})

    def _means(self) -> dict[str, float]:
        """The means over the epoch so far, which are finite."""
        means = self.totals.means()
        if not math.isfinite(means["loss"]):
            raise self.finiteness.diverged(_when(self.step), f"the loss is {means['loss']}")
        return means

    def _check_weights(self) -> None:
        state = self.network.state_dict().items()
        self.finiteness.check_tensors(_when(self.step), {n: value for n, value in state if isinstance(value, Tensor)})

    def _end_epoch(self, epoch: int) -> None:
        self.finiteness.check_epoch(epoch, has_trained=self.totals.num_samples > 0)
        row = {f"train_{name}": self.shown[name] for name in self.means_of}
        self.totals = EpochSums(self.means_of, self.device)
        if self.validation is not None:
            with self.kept.in_network():
                measured = evaluate(self.network, self.validation, task=self.task, intervals=False, display=Silent())
                self.kept.epoch_measured(measured.score)
            self.kept.epoch_ended(measured.score)
            values = measured.measurement.values
            row |= {"validation_loss": measured.loss}
            row |= {f"validation_{name}": value.value for name, value in values.items()}
            self.shown = {**self.shown, "validation": measured.score.value}
        row |= self.finiteness.counted()
        if self.has_drop_path:
            row["drop_path"] = self.settings.drop_path_at(epoch)
        if self.run is not None:
            self.run.log(self.step, {"phase": "epoch", "epoch": epoch, **row, "seconds": self.seconds})
        self.training_step.carry = None
        check_equal(self.network)

    def finish(self) -> None:
        """Give the network its final weights, write them, and then the duration.

        The training counts as finished once that file exists.
        """
        self.kept.load_final()
        self._check_weights()
        if self.run is not None:
            self.run.save_weights(self.network)
            summary = {"epochs": self.settings.epochs, "steps": self.step, "seconds": self.seconds}
            summary |= self.finiteness.counted()
            summary |= {} if self.taught_by is None else {"teacher": self.taught_by}
            modules = digest_of_modules(self.network)
            self.run.save_json(SUMMARY, {**summary, "settings": self.settings.to_data(), MODULES: modules})

    # Checkpoints

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "skipped": self.finiteness.num_skipped,
            "seconds": self.seconds,
            **self._moving(),
            "random_state": random_state(),
            "totals": self.totals.state(),
            "shown": self.shown,
            "steps_per_epoch": self.steps_per_epoch,
            "settings": self.settings.to_data(),
            "task": self.task.name(),
            "teacher": self.taught_by,
            "conditions": self.conditions,
            "kept": self.kept.state(),
        }

    def _moving(self) -> dict[str, Any]:
        """The part of the state that a step changes, but sums and random numbers."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "carry": self.training_step.carry,
        }

    def _put_back(self, moving: Mapping[str, Any]) -> None:
        self.network.load_state_dict(moving["network"])
        self.optimizer.load_state_dict(moving["optimizer"])
        self.training_step.carry = moving["carry"]

    def save(self) -> None:
        """Write a checkpoint, after checking that its contents are finite."""
        self._means()
        self._check_weights()
        self.checkpoint.save()

    def resume(self) -> None:
        """Resume from the run's checkpoint, if there is one."""
        if self.checkpoint.resume():
            self.checkpoint.forget_rows_after(self.step)
            if self.step < self.total_steps:
                self.checkpoint.say_going_on(self._place)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._put_back(state)
        self.totals.load(state["totals"])
        self.kept.load(state["kept"])
        self.finiteness.num_skipped = state["skipped"]
        self.step, self.seconds, self.shown = state["step"], state["seconds"], state["shown"]
        if not 0 <= self.step <= self.total_steps:
            raise ValueError(f"it is of step {self.step} of {self.total_steps}")
        restore_random_state(state["random_state"])

    def _difference(self, state: Mapping[str, Any]) -> str:
        """How a state differs from this training, in words: in the network, the settings, or the length of the data."""
        own = self.state()
        names = ("network", "settings", "conditions", "steps_per_epoch", "task", "teacher")
        return first_difference({name: state[name] for name in names}, {name: own[name] for name in names})

    @property
    def _place(self) -> str:
        return f"step {self.step} of {self.total_steps}"


def _when(step: int) -> str:
    return f"at or before step {step}"
