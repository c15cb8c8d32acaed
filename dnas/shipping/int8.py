"""An ONNX file in 8-bit integers, for small devices."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from dnas.shipping.exporters.onnx_graph import ONNX
from dnas.shipping.onnx_digest import BLANK, DIGEST, sealed_onnx
from dnas.system.atomic import write

FILE = "network_int8.onnx"


def quantize(source: Path, target: Path, images: Tensor) -> None:
    """Static quantization by onnxruntime: 8-bit weights per channel, activations in ranges found on some images.

    The file takes and gives float32, as the one that it is made of, with quantization inside (QDQ), and holds the same
    metadata.

    Args:
        source: network.onnx that `dnas export` wrote.
        target: file to write.
        images: (images, channels, height, width), normalised; ranges are those of their activations.

    Raises:
        MissingPackage: onnx or onnxruntime is not installed.
    """
    ONNX.check_installed()
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    proto = onnx.load(str(source))
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        with _quiet():
            quantize_static(
                str(prepared),
                str(quantized),
                _reader(proto.graph.input[0].name, images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
            )
        found = onnx.load(str(quantized))
    onnx.helper.set_model_props(found, {**metadata, DIGEST: BLANK})
    content = sealed_onnx(found.SerializeToString())
    write(target, lambda file: file.write(content))


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block onnxruntime does not tell of weights with one dimension, which have no channels to scale."""
    logger = logging.getLogger()

    def matters(record: logging.LogRecord) -> bool:
        return "is out-of-range for weight" not in record.getMessage()

    logger.addFilter(matters)
    try:
        yield
    finally:
        logger.removeFilter(matters)


def _reader(name: str, images: Tensor) -> Any:
    """Gives the images one by one, as onnxruntime asks for them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(images.split(1))

        def get_next(self) -> dict[str, Any] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            image = next(self.rest, None)
            return None if image is None else {name: image.numpy()}

    return Reader()
