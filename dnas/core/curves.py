"""Curves and pictures for TensorBoard, if that is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Curves:
    """Writes the numbers and pictures of a run as TensorBoard events.

    Without TensorBoard it writes nothing. The file is opened when something is first written.

    Args:
        path: folder of the events.
    """

    def __init__(self, path: Path):
        self.path = path
        self._writer: Any = None

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Add the numbers of a row of metrics at its "step"."""
        writer = self._opened()
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                writer.add_scalar(name, value, row["step"])

    def add_picture(self, step: int, name: str, png: bytes) -> None:
        """Add a PNG."""
        writer = self._opened()
        if isinstance(writer, _NoWriter):
            return
        from tensorboard.compat.proto import summary_pb2

        proto: Any = summary_pb2  # its classes are made when it is imported
        width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))  # of its header
        image = proto.Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
        writer.file_writer.add_summary(proto.Summary(value=[proto.Summary.Value(tag=name, image=image)]), step)

    def close(self) -> None:
        """Flush and close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def remove(self) -> None:
        """Remove all events that were written."""
        self.close()
        for events in self.path.glob("events.*"):
            events.unlink()

    def _opened(self) -> Any:
        if self._writer is None:
            self._writer = _summary_writer(self.path)
        return self._writer


def _summary_writer(path: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return _NoWriter()
    return SummaryWriter(str(path))


class _NoWriter:
    def add_scalar(self, name: str, value: float, step: int) -> None: ...

    def close(self) -> None: ...
