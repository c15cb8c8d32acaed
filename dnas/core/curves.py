"""Curves and pictures for TensorBoard, if that is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Curves:
    """Writes the numbers and pictures of a run as TensorBoard events.

    Without TensorBoard it writes nothing. A file is opened when something is first written. Pictures have files of
    their own, in the folder "pictures": numbers can be written again from the rows of metrics, pictures cannot.

    Args:
        path: folder of the events.
    """

    def __init__(self, path: Path):
        self.path = path
        self._writer: Any = None
        self._picture_writer: Any = None

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Add the numbers of a row of metrics at its "step"."""
        self._writer = self._writer or _summary_writer(self.path)
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, row["step"])

    def add_picture(self, step: int, name: str, png: bytes) -> None:
        """Add a PNG."""
        self._picture_writer = self._picture_writer or _summary_writer(self.path / "pictures")
        if isinstance(self._picture_writer, _NoWriter):
            return
        from tensorboard.compat.proto import summary_pb2

        proto: Any = summary_pb2  # its classes are made when it is imported
        width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))  # of its header
        image = proto.Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
        summary = proto.Summary(value=[proto.Summary.Value(tag=name, image=image)])
        self._picture_writer.file_writer.add_summary(summary, step)

    def close(self) -> None:
        """Flush and close the files."""
        for writer in (self._writer, self._picture_writer):
            if writer is not None:
                writer.close()
        self._writer = self._picture_writer = None

    def remove_rows(self) -> None:
        """Remove all numbers that were written; pictures stay."""
        self.close()
        for events in self.path.glob("events.*"):
            events.unlink()


def _summary_writer(path: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return _NoWriter()
    return SummaryWriter(str(path))


class _NoWriter:
    def add_scalar(self, name: str, value: float, step: int) -> None: ...

    def close(self) -> None: ...
