"""`dnas export --int8`: the retrained network in 8-bit integers, beside what it was in 32-bit numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from dnas.core.run import Run
from dnas.cost.stopwatch import Stopwatch, open_session, read_onnx
from dnas.jobs.images import JobData, retrain_streams
from dnas.jobs.job import Job
from dnas.shipping.int8 import FILE, quantize
from dnas.system.errors import UserError
from dnas.system.words import aligned
from dnas.task.base import Task
from dnas.task.classification import Classification

# At most so many images find the ranges of activations.
CALIBRATION = 256


@dataclass(frozen=True)
class Measured:
    """One ONNX file.

    Args:
        file: its name.
        num_bytes: its size.
        accuracy: share of images that it classifies right.
        milliseconds: of one image in onnxruntime.
    """

    file: str
    num_bytes: int
    accuracy: float
    milliseconds: float


def export_int8(job: Job, data: JobData, folder: Path, *, threads: int) -> str:
    """Write network_int8.onnx beside network.onnx, and int8.json; returns the table of both.

    Half of the images that were held out from retraining calibrate (256 at most), the others measure the accuracy, so
    that the test part stays unseen.

    Args:
        job: the job with the settings of its retraining.
        data: images of the job.
        folder: where network.onnx is.
        threads: CPU threads of one run.

    Raises:
        UserError: the task has no classes to get right, or no or too few images were held out.
        MissingPackage: onnx or onnxruntime is not installed.
    """
    check_compares(job.task)
    _, held_out = retrain_streams(job, data, torch.device("cpu"))
    if held_out is None:
        raise UserError(
            "--int8 calibrates on images that are held out from retraining, but validation_fraction is 0. Search with "
            "--validation_fraction 0.1."
        )
    batches = list(held_out.epoch(0))
    images = torch.cat([batch.inputs for batch in batches]).contiguous()
    labels = torch.cat([batch.targets for batch in batches])
    num = min(len(images) // 2, CALIBRATION)
    if num < 1:
        raise UserError(f"--int8 needs 2 or more images that are held out from retraining; there are {len(images)}.")
    quantize(folder / "network.onnx", folder / FILE, images[:num])
    found = [_measured(folder / name, images[num:], labels[num:], threads) for name in ("network.onnx", FILE)]
    Run(folder).save_json("int8", [asdict(one) for one in found])
    head = ["", "size", f"right of {len(images) - num}", f"milliseconds, {threads} thread(s)"]
    rows = [_cells(one) for one in found]
    return "\n".join(aligned([head, *rows], "<>>>"))


def check_compares(task: Task | None) -> None:
    """Check that networks of a task can be compared by the classes that they get right.

    Raises:
        UserError: names the task.
    """
    if task is not None and not isinstance(task, Classification):
        raise UserError(
            "--int8 compares networks by the classes that they get right, and the task is "
            f"{type(task).__name__}: leave --int8 out."
        )


def _cells(one: Measured) -> list[str]:
    return [one.file, f"{one.num_bytes / 1e6:.3f} MB", f"{one.accuracy:.2%}", f"{one.milliseconds:.3f}"]


def _measured(path: Path, images: Tensor, labels: Tensor, threads: int) -> Measured:
    session = open_session(read_onnx(path), threads)
    name = session.get_inputs()[0].name
    right = sum(
        int((torch.from_numpy(session.run(None, {name: part.numpy()})[0]).argmax(1) == truth).sum())
        for part, truth in zip(images.split(64), labels.split(64), strict=True)
    )
    milliseconds = Stopwatch("onnxruntime", threads).of_file(path, (images[:1],))
    return Measured(path.name, path.stat().st_size, right / len(images), milliseconds)
