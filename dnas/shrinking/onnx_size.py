"""The size of a network's ONNX file."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from dnas.cost.flops import Inputs
from dnas.system.errors import MissingPackage, UserError


def onnx_bytes(network: nn.Module, example: Inputs) -> int:
    """The size of the network's ONNX file.

    Raises:
        MissingPackage: onnx or onnxscript is not installed.
        UserError: ONNX cannot express the network.
    """
    from dnas.shipping.exporters.trace import quiet, reason_of

    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingPackage('it needs onnx and onnxscript: pip install ".[export]" in a clone of dnas') from error
    arguments = example if isinstance(example, tuple) else ((example,) if isinstance(example, torch.Tensor) else ())
    keywords = dict(example) if isinstance(example, Mapping) else None
    try:
        with quiet():
            program = torch.onnx.export(network, tuple(arguments), kwargs=keywords, dynamo=True, verbose=False)
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"ONNX cannot express the network: {reason_of(error)}") from error
    assert program is not None
    return program.model_proto.ByteSize()
