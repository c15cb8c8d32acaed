"""An ONNX file, network.onnx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dnas.core.batch import tensors_in
from dnas.core.described import described
from dnas.shipping.exporters.exporter import Exporter, Files, Forward, Subject
from dnas.shipping.onnx_digest import BLANK, DIGEST, sealed_onnx
from dnas.system.errors import MissingPackage, UserError
from dnas.training.evaluate import call

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_FILE = "network.onnx"
IMAGES, LOGITS = ("images",), ("logits",)  # inputs and outputs of a classifier of images

# ONNX Runtime reads it since 1.14 (early 2023), and the exporter writes no older one without converting.
_OPSET = 18


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            f"ONNX export needs onnx, onnxscript and onnxruntime ({error}). Install them: "
            'pip install ".[export]" in a clone of dnas'
        ) from error


def _convert(subject: Subject) -> Files:
    """The ONNX graph with the metadata in its metadata_props, passed through ONNX's checker.

    Raises:
        UserError: ONNX or the exporter lacks an operator of the network.
    """
    import onnx

    output_names = subject.output_names or names_of(call(subject.network, subject.example))
    proto = onnx_graph(subject.program, subject.input_names, output_names)
    onnx.helper.set_model_props(proto, {**subject.metadata, DIGEST: BLANK})
    onnx.checker.check_model(proto, full_check=True)
    return {_FILE: sealed_onnx(proto.SerializeToString())}


def onnx_graph(
    program: ExportedProgram,
    input_names: tuple[str, ...] | None = IMAGES,
    output_names: tuple[str, ...] | None = LOGITS,
) -> Any:
    """A traced program of any batch size as an ONNX model, without the exporter's notes.

    Args:
        program: the traced network.
        input_names: names of the graph's inputs, in order; None for those of the program.
        output_names: likewise.

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
                input_names=input_names,
                output_names=output_names,
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
    # The batch is the only dimension that may vary.
    dims = (dim for value in graph.input for dim in value.type.tensor_type.shape.dim)
    symbol = next(dim.dim_param for dim in dims if dim.dim_param)
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

    names = [entry.name for entry in session.get_inputs()]

    def forward(inputs: Any) -> tuple[Tensor, ...]:
        given = {name: tensor.numpy() for name, tensor in zip(names, tensors_in(inputs), strict=True)}
        return tuple(map(torch.from_numpy, session.run(None, given)))

    return forward


def names_of(outputs: Any, place: str = "") -> tuple[str, ...]:
    """A name for each tensor in outputs, by its place in them.

    Example:
        >>> names_of({"boxes": torch.zeros(1), "scores": (torch.zeros(1), torch.zeros(1))})
        ('boxes', 'scores_0', 'scores_1')
    """
    if isinstance(outputs, Tensor):
        return (place or "output",)
    if isinstance(outputs, dict):
        parts = [(f"{place}_{key}" if place else str(key), part) for key, part in outputs.items()]
    elif isinstance(outputs, tuple | list | None):
        parts = [(f"{place or 'output'}_{index}", part) for index, part in enumerate(outputs or ())]
    else:
        raise UserError(
            f"An exported network gives tensors, or tuples and dicts of them; this one gives {described(outputs)}. Let "
            "its forward give the tensors, such as outputs.logits, in evaluation mode."
        )
    return tuple(name for inner, part in parts for name in names_of(part, inner))


ONNX = Exporter("onnx", _FILE, _check_installed, _convert, _run)
