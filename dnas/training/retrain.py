"""Train a network that is no longer searched: the loop, its settings, its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dnas.core.batch import Batch, to_device
from dnas.core.last_checkpoint import LastCheckpoint
from dnas.core.run import Run
from dnas.core.schedule import Cosine
from dnas.data.batches import Batches
from dnas.method.hypergradient.precision import in_precision
from dnas.method.hypergradient.randomness import generators_of
from dnas.searching.capture import CudaRecorder, Recorder, StepCapture, optimizer_tensors
from dnas.searching.settings import WeightSGD
from dnas.space.drop_path import DropPath, set_drop_path
from dnas.system.difference import first_difference, fixed_settings, free
from dnas.system.display import Display, Silent
from dnas.system.errors import NonFiniteLoss, UserError
from dnas.system.interrupt import Interrupted, StopRequest, stop_request
from dnas.system.random_state import random_state, restore_random_state, seeded
from dnas.training.evaluate import as_batches, call, check_logits, device_of, evaluate, evaluation_mode, in_format

SUMMARY = "retrain"  # name of the JSON file that a finished training leaves

# Side in pixels of the images (CIFAR's) that `cutout` is given for.
_CUTOUT_SIDE = 32


@dataclass(frozen=True)
class RetrainSettings:
    """How a found network is trained; the defaults are those of DARTS (Liu et al. 2019, appendix A.2) on CIFAR-10.

    Args:
        epochs: passes over the training data.
        weights: optimizer; its learning rate changes once per epoch.
        batch_size: images per step.
        channels: of the first cells.
        cells: of the network.
        auxiliary: train with an auxiliary head, where the network has one; it is left out afterwards.
        auxiliary_weight: factor of the auxiliary head's loss.
        drop_path: probability, in [0, 1), of leaving out an edge, towards which it grows linearly from 0: in epoch e
            (from 0) it is drop_path * e / epochs. Only networks with such edges are affected.
        cutout: side in pixels of the square that is blanked out of an image of 32 pixels; larger and smaller images
            lose a square in proportion. 0 blanks nothing.
        label_smoothing: share of a label, in [0, 1), that is spread over all classes.
        precision: of products: 'float32'; 'tf32', which on a CPU is the same; or 'bf16', by autocast with float32
            weights.
        capture: whether on a CUDA device steps are recorded and replayed as a CUDA graph, where they can.
        seed: of initial weights, drop-path and dropout.
        log_every: steps between two rows of step metrics.
        checkpoint_minutes: time between two checkpoints, besides the one after each epoch; 0 writes one per step.

    Raises:
        UserError: a value out of its range.
    """

    epochs: int = 600
    weights: WeightSGD = WeightSGD(lr=Cosine(0.025, 0.0))
    batch_size: int = 96
    channels: int = 36
    cells: int = 20
    auxiliary: bool = True
    auxiliary_weight: float = 0.4
    drop_path: float = 0.2
    cutout: int = 16
    label_smoothing: float = 0.0
    precision: Literal["float32", "tf32", "bf16"] = "tf32"
    capture: bool = free(True)
    seed: int = 0
    log_every: int = free(50)
    checkpoint_minutes: float = free(10.0)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "channels", "cells", "log_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("auxiliary_weight", "cutout", "checkpoint_minutes"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"{name} must be 0 or more; got {getattr(self, name)}.")
        for name in ("drop_path", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} must be from 0 up to below 1; got {getattr(self, name)}.")

    def cutout_pixels(self, side: int) -> int:
        """Side in pixels of the square that is blanked out of images whose shorter side is `side` pixels."""
        return self.cutout * side // _CUTOUT_SIDE

    def drop_path_at(self, epoch: int) -> float:
        """The drop-path probability of an epoch, counted from 0."""
        return self.drop_path * epoch / self.epochs

    def to_data(self) -> dict[str, Any]:
        """Those settings that the trained weights depend on, as plain data; the optimizer as its text."""
        return {**fixed_settings(self), "weights": repr(self.weights)}


def retrain(
    network: nn.Module,
    train: Batches | Iterable[Any],
    *,
    settings: RetrainSettings = RetrainSettings(),
    run: Run | None = None,
    display: Display = Silent(),
    phase: str = "retrain",
    validation: Batches | Iterable[Any] | None = None,
) -> nn.Module:
    """Train a classifier with cross entropy; the network itself is trained and comes back in evaluation mode.

    With a run folder the training can be stopped by Ctrl-C or killed, and calling it again with the same arguments
    goes on from the last checkpoint, on the CPU to bit-identical results. A training that has finished is not
    repeated: its weights are loaded.

    Args:
        network: any module that maps inputs to logits `(batch, classes)`, with the weights to start from. One that
            gives `(logits, auxiliary logits)` in train mode is trained on
            `loss(logits) + auxiliary_weight * loss(auxiliary logits)`. Its convolutions are put into channels-last
            memory format where its layers allow that.
        train: `(inputs, targets)`, targets `(batch,)` int64.
        settings: batch size, channels, cells and cutout among them are for who makes the data and the network.
        run: folder of this training alone, for metrics, checkpoints and, at the end, retrain.json.
        display: where progress is shown, under the name `phase`.
        validation: measured after each epoch and logged; nothing is decided by it.

    Raises:
        UserError: no classifier, nothing to train, or the checkpoint is of another network or of other settings.
        NonFiniteLoss: the loss or a weight became NaN or infinite; the last good checkpoint is kept.
        Interrupted: Ctrl-C; a checkpoint has been written.

    Example:
        >>> network = nn.Linear(4, 3)
        >>> data = [(torch.randn(8, 4), torch.randint(0, 3, (8,)))]
        >>> retrain(network, data, settings=RetrainSettings(epochs=2)).training
        False
    """
    loop = _Loop(network, as_batches(train), settings, run, display, phase, validation)
    try:
        with seeded(settings.seed), stop_request() as request:
            loop.resume()
            loop.run_epochs(request)
        loop.finish()
    finally:
        if run is not None:
            run.close()
    return network.eval()


class _Loop:
    """A training in progress. Everything that changes is in `state()`."""

    def __init__(
        self,
        network: nn.Module,
        train: Batches,
        settings: RetrainSettings,
        run: Run | None,
        display: Display,
        phase: str,
        validation: Batches | Iterable[Any] | None,
        recorder: Recorder | None = None,
    ):
        self.network = network
        self.weights = [weight for weight in network.parameters() if weight.requires_grad]
        if not self.weights:
            raise UserError(f"{type(network).__name__} has no weights to train: no parameter requires a gradient.")
        if len(train) < 1:
            raise UserError("There is nothing to train on: the data hold no batch.")
        self.train = train
        self.settings = settings
        self.run = run
        self.display = display
        self.phase = phase
        self.validation = None if validation is None else as_batches(validation)
        self.device = device_of(network)
        self.memory_format: torch.memory_format | None = None  # found out with the first batch
        self.has_drop_path = any(isinstance(module, DropPath) for module in network.modules())
        self.optimizer = settings.weights.build(self.weights)
        if recorder is None and settings.capture and self.device.type == "cuda":
            recorder = CudaRecorder()
        self.capture = recorder and StepCapture(
            recorder, state=self._moving, generators=generators_of({"": self.weights[0]}), say=display.say
        )
        self.steps_per_epoch = len(train)
        self.total_steps = settings.epochs * self.steps_per_epoch
        self.step = 0
        self.seconds = 0.0
        self.totals = _Totals(self.device)
        self.shown: dict[str, float] = {}
        self.checkpoint = LastCheckpoint(
            run,
            "training",
            state=self.state,
            restore=self._restore,
            difference=self._difference,
            device=self.device,
            display=display,
        )

    # The loop

    def run_epochs(self, request: StopRequest) -> None:
        self.network.train()
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
                if epoch_ended or request.made or self.checkpoint.is_due(self.settings.checkpoint_minutes):
                    self.save()
                if request.made:
                    raise Interrupted(self.checkpoint.how_to_go_on(self._place))
            if self.step != (epoch + 1) * self.steps_per_epoch:
                raise UserError(
                    f"Epoch {epoch} of the training data ended after {self.step - epoch * self.steps_per_epoch} of "
                    f"{self.steps_per_epoch} batches; each epoch must have as many as len() says."
                )

    def _set_schedules(self, epoch: int) -> None:
        rate = self.settings.weights.lr_at(epoch / self.settings.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.has_drop_path:
            set_drop_path(self.network, self.settings.drop_path_at(epoch))

    def _one_step(self, batch: Batch) -> None:
        batch = to_device(batch, self.device)
        batch = batch._replace(inputs=self._formatted(batch.inputs))
        if self.capture is None:
            loss, logits = self._trained([batch])
        else:
            drop_path = self.settings.drop_path_at(self.step // self.steps_per_epoch)
            baked = (self.optimizer.param_groups[0]["lr"], drop_path)
            loss, logits = self.capture([batch], baked, self._trained)
        self.step += 1
        self.totals.add(loss, logits, batch.targets)

    def _trained(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Train on one batch; its loss and logits come back, without gradient."""
        (batch,) = batches
        with in_precision(self.settings.precision, self.device):
            logits, auxiliary = _two_heads(call(self.network, batch.inputs))
            check_logits(logits, batch.targets)
            loss = self._loss(logits, batch.targets)
            if auxiliary is not None and self.settings.auxiliary:
                loss = loss + self.settings.auxiliary_weight * self._loss(auxiliary, batch.targets)
        self.optimizer.zero_grad()
        loss.backward()
        if self.settings.weights.clip is not None:
            nn.utils.clip_grad_norm_(self.weights, self.settings.weights.clip)
        self.optimizer.step()
        return loss.detach(), logits.detach()

    def _moving(self) -> list[list[Tensor]]:
        """What a step changes: weights and statistics, and the optimizer's momentum."""
        momentum = optimizer_tensors(self.optimizer)
        network = [*self.network.parameters(), *self.network.buffers()]
        return [network, momentum] if momentum else [network]

    def _formatted(self, inputs: Any) -> Any:
        """The inputs in the memory format of the training: channels-last, about twice as fast, where that works."""
        if self.memory_format is None:
            works = takes_channels_last(self.network, inputs)
            self.memory_format = torch.channels_last if works else torch.contiguous_format
            self.network.to(memory_format=self.memory_format)  # pyright: ignore[reportCallIssue]
            if not works:
                self.display.say(
                    "Note: the network flattens with view(), so it is trained in contiguous memory format; with "
                    "flatten(1) or reshape() it would train faster."
                )
        return in_format(inputs, self.memory_format)

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, targets, label_smoothing=self.settings.label_smoothing)

    # After some steps, and after an epoch

    def _log_step(self, epoch: int) -> None:
        """Write the means over the epoch so far."""
        loss, top1 = self.totals.means()
        if loss - loss != 0:
            raise NonFiniteLoss(self._what_diverged(f"the loss is {loss}"))
        self.shown = {"loss": loss, "top1": top1, "lr": self.optimizer.param_groups[0]["lr"]}
        if self.run is not None:
            self.run.log(self.step, {"phase": "step", "epoch": epoch, **self.shown})

    def _end_epoch(self, epoch: int) -> None:
        row = {"train_loss": self.shown["loss"], "train_top1": self.shown["top1"]}
        self.totals = _Totals(self.device)
        if self.validation is not None:
            measured = evaluate(self.network, self.validation)
            row |= {"validation_loss": measured.loss, "validation_top1": measured.top1}
            self.shown = {**self.shown, "validation": measured.top1}
        if self.has_drop_path:
            row["drop_path"] = self.settings.drop_path_at(epoch)
        if self.run is not None:
            self.run.log(self.step, {"phase": "epoch", "epoch": epoch, **row, "seconds": self.seconds})

    def finish(self) -> None:
        """Write how long it took."""
        if self.run is not None:
            summary = {"epochs": self.settings.epochs, "steps": self.step, "seconds": self.seconds}
            self.run.save_json(SUMMARY, {**summary, "settings": self.settings.to_data()})

    # Checkpoints

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random_state": random_state(),
            "totals": self.totals.state(),
            "shown": self.shown,
            "steps_per_epoch": self.steps_per_epoch,
            "settings": self.settings.to_data(),
        }

    def save(self) -> None:
        """Write a checkpoint, having seen that what would be written is finite."""
        loss, _ = self.totals.means()
        if loss - loss != 0:
            raise NonFiniteLoss(self._what_diverged(f"the loss is {loss}"))
        name = first_non_finite(self.network)
        if name:
            raise NonFiniteLoss(self._what_diverged(f"{name} holds NaN or infinity"))
        self.checkpoint.save()

    def resume(self) -> None:
        """Go on from the run's checkpoint, where there is one."""
        if self.checkpoint.resume():
            self.checkpoint.forget_rows_after(self.step)
            if self.step < self.total_steps:
                self.checkpoint.say_going_on(self._place)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.totals.load(state["totals"])
        self.step, self.seconds, self.shown = state["step"], state["seconds"], state["shown"]
        if not 0 <= self.step <= self.total_steps:
            raise ValueError(f"it is of step {self.step} of {self.total_steps}")
        restore_random_state(state["random_state"])

    def _difference(self, state: Mapping[str, Any]) -> str:
        """What a state shows to be other than here: the network, the settings, the length of the data."""
        own = self.state()
        names = ("network", "settings", "steps_per_epoch")
        return first_difference({name: state[name] for name in names}, {name: own[name] for name in names})

    @property
    def _place(self) -> str:
        return f"step {self.step} of {self.total_steps}"

    def _what_diverged(self, what: str) -> str:
        rate = self.optimizer.param_groups[0]["lr"]
        text = (
            f"The training diverged at or before step {self.step}: {what}. Lower the learning rate (now {rate:.3g}) or "
            f"the largest gradient norm, clip (now {self.settings.weights.clip}), and look for non-finite inputs."
        )
        return text + self.checkpoint.last_good()


def _two_heads(outputs: Any) -> tuple[Any, Any]:
    """Logits and auxiliary logits; None for the latter where the network has one head."""
    return outputs if isinstance(outputs, tuple) and len(outputs) == 2 else (outputs, None)


class _Totals:
    """Sums over the steps of an epoch, kept on the device until somebody asks."""

    def __init__(self, device: torch.device) -> None:
        self.num_samples = 0
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)  # of loss and right first guesses

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        right = (logits.argmax(1) == targets).sum()
        self.num_samples += len(targets)
        self.sums += torch.stack([loss.double() * len(targets), right.double()])

    def means(self) -> tuple[float, float]:
        """Mean loss and top-1 accuracy so far; 0 before the first step."""
        loss, right = self.sums.tolist()
        return loss / max(self.num_samples, 1), right / max(self.num_samples, 1)

    def state(self) -> dict[str, Any]:
        return {"num_samples": self.num_samples, "sums": self.sums}

    def load(self, state: Mapping[str, Any]) -> None:
        self.num_samples = state["num_samples"]
        self.sums.copy_(state["sums"])


def takes_channels_last(network: nn.Module, inputs: Any) -> bool:
    """Whether the network computes on channels-last images; one that flattens with `x.view(len(x), -1)` does not.

    Found out by one forward pass in evaluation mode, which leaves nothing behind.
    """
    try:
        with evaluation_mode(network), torch.no_grad(), seeded(0):
            call(network, in_format(inputs, torch.channels_last))
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
        return False
    return True


def first_non_finite(network: nn.Module) -> str:
    """Name of the first weight or buffer that holds NaN or infinity; empty where none does."""
    state = network.state_dict().items()
    tensors = {name: value for name, value in state if isinstance(value, Tensor) and value.is_floating_point()}
    if not tensors or bool(torch.stack([tensor.isfinite().all() for tensor in tensors.values()]).all()):
        return ""
    return next(name for name, tensor in tensors.items() if not bool(tensor.isfinite().all()))
