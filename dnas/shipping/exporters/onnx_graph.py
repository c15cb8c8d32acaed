"""An ONNX file, network.onnx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dnas.shipping.exporters.exporter import Exporter, Files, Forward, Subject
from dnas.shipping.onnx_digest import BLANK, DIGEST, sealed_onnx
from dnas.system.errors import MissingPackage, UserError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_FILE = "network.onnx"
_INPUT = "images"
_OUTPUT = "logits"

# ONNX Runtime reads it since 1.14 (early 2023), and the exporter writes no older one without converting.
_OPSET = 18


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            f'ONNX export needs onnx, onnxscript and onnxruntime ({error}). Install them: pip install "dnas[export]"'
        ) from error


def _convert(subject: Subject) -> Files:
    """The ONNX graph with the metadata in its metadata_props, passed through ONNX's checker.

    Raises:
        UserError: ONNX or the exporter lacks an operator of the network.
    """
    import onnx

    proto = onnx_graph(subject.program)
    onnx.helper.set_model_props(proto, {**subject.metadata(), DIGEST: BLANK})
    onnx.checker.check_model(proto, full_check=True)
    return {_FILE: sealed_onnx(proto.SerializeToString())}


def onnx_graph(program: ExportedProgram) -> Any:
    """A traced program of any batch size as an ONNX model, without the exporter's notes.

    Raises:
        UserError: ONNX or the exporter lacks an operator of the network.
    """
    from dnas.shipping.exporters.trace import quiet, reason_of

    try:
        with quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=_OPSET,
                input_names=[_INPUT],
                output_names=[_OUTPUT],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"ONNX cannot express the network: {reason_of(error)}") from error
    assert exported is not None
    proto = exported.model_proto
    _tidy(proto)
    return proto


def _tidy(proto: Any) -> None:
    """Name the batch dimension, and drop the exporter's notes on each node, which are longer than the graph."""
    graph = proto.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == symbol:
                dim.dim_param = "batch"
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")


def _run(files: Files, subject: Subject) -> Forward:
    """Run the file in ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(files[_FILE], providers=["CPUExecutionProvider"])

    def forward(images: Tensor) -> Tensor:
        (logits,) = session.run([_OUTPUT], {_INPUT: images.numpy()})
        return torch.from_numpy(logits)

    return forward


ONNX = Exporter("onnx", _FILE, _check_installed, _convert, _run)
