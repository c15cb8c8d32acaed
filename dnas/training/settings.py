"""Settings of a retraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dnas.core.schedule import Cosine
from dnas.searching.weight_optimizer import WeightOptimizer, WeightSGD
from dnas.system.accepted import accept
from dnas.system.difference import fixed_settings, free
from dnas.system.errors import UserError
from dnas.training.distillation import Distillation

# Image side in pixels (CIFAR's) that `cutout` refers to.
_CUTOUT_SIDE = 32


@dataclass(frozen=True)
class RetrainSettings:
    """Settings of a retraining; the defaults are those of DARTS (Liu et al. 2019, appendix A.2) on CIFAR-10.

    Args:
        epochs: passes over the training data.
        weights: optimizer of the weights.
        lr_changes: whether its learning rate follows its schedule once per 'epoch', as in the paper, or at every
            'step', so that trainings of few epochs end settled; such steps are not recorded as CUDA graphs.
        batch_size: images per step.
        channels: output channels of the first cells.
        cells: number of cells in the network.
        auxiliary: whether to train with an auxiliary head, if the network has one; it is left out afterwards.
        auxiliary_weight: factor of the auxiliary head's loss.
        drop_path: probability, in [0, 1), with which an edge is left out. It grows linearly from 0: in epoch e, counted
            from 0, it is drop_path * e / epochs. It acts only on networks that have such edges.
        cutout: side in pixels of the square that is blanked out of an image of 32 pixels; larger and smaller images
            lose a square in proportion. 0 blanks nothing.
        keep_best: whether the training ends with the weights of the epoch that is best on the validation data, by the
            metric that decides; otherwise with those of the last epoch.
        label_smoothing: share of a label, in [0, 1), that is spread over all classes.
        precision: precision of products: 'float32'; 'tf32', which on a CPU is the same; or 'bf16', by autocast with
            float32 weights.
        capture: whether steps on a CUDA device are recorded once and replayed as a CUDA graph, if that is possible.
        distillation: temperature and weight of a teacher, if there is one.
        seed: seed of initial weights, drop-path and dropout.
        log_every: steps between two rows of step metrics.
        checkpoint_minutes: time between two checkpoints, besides the one after each epoch; 0 writes one per step.
        skip_non_finite: steps that may be left out, in all, because inputs, loss or gradient of their batches are NaN
            or infinite; the training stops at the next one. With 0, the default, it stops at the first one.

    Raises:
        UserError: a value is out of its range.
    """

    epochs: int = 600
    weights: WeightOptimizer = WeightSGD(lr=Cosine(0.025, 0.0))
    lr_changes: Literal["epoch", "step"] = "epoch"
    batch_size: int = 96
    channels: int = 36
    cells: int = 20
    auxiliary: bool = True
    auxiliary_weight: float = 0.4
    drop_path: float = 0.2
    cutout: int = 16
    keep_best: bool = False
    label_smoothing: float = 0.0
    precision: Literal["float32", "tf32", "bf16"] = "tf32"
    capture: bool = free(True)
    distillation: Distillation = free(Distillation())  # a checkpoint holds it beside its teacher
    seed: int = 0
    log_every: int = free(50)
    checkpoint_minutes: float = free(10.0)
    skip_non_finite: int = free(0)

    def __post_init__(self) -> None:
        accept(self)
        for name in ("epochs", "batch_size", "channels", "cells", "log_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("auxiliary_weight", "cutout", "checkpoint_minutes", "skip_non_finite"):
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
        """The settings that the trained weights depend on, as plain data; the optimizer as its text."""
        data = {**fixed_settings(self), "weights": repr(self.weights)}
        if not self.keep_best:  # files from before there was this setting stand for False
            del data["keep_best"]
        if self.lr_changes == "epoch":  # likewise
            del data["lr_changes"]
        return data
