"""The network as a traced program for any batch size, and the messages of torch's exporters."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from dnas.core.batch import arguments_of
from dnas.shipping.batch_dims import Dims
from dnas.system.errors import UserError


def trace(network: nn.Module, example: Any, dims: Dims = (0,)) -> ExportedProgram:
    """The network as a program for any batch size.

    Args:
        network: on the CPU and in evaluation mode.
        example: inputs as in `dnas.Batch`, of two samples or more: torch takes one for a constant.
        dims: the batch's dimension of each tensor of the example.

    Raises:
        UserError: the network does something that torch.export cannot express.
    """
    arguments, keywords = arguments_of(example)
    batch, each = Dim("batch"), iter(dims)

    def dynamic(value: Any) -> Any:
        if isinstance(value, Tensor):
            dim = next(each)
            return {} if dim is None else {dim: batch}
        if isinstance(value, dict):
            return {name: dynamic(part) for name, part in value.items()}
        return type(value)(map(dynamic, value)) if isinstance(value, tuple | list) else None

    try:
        with quiet():
            program = torch.export.export(network, arguments, keywords, dynamic_shapes=dynamic(keywords or arguments))
    except Exception as error:  # whatever a user's module raises; torch has no common class for its own errors
        raise UserError(
            f"torch.export cannot express {type(network).__name__} for batches of any size: {reason_of(error)} "
            "A forward pass must not depend on the values of its input or on the size of the batch."
        ) from error
    # The recorded source lines of each node would name folders of this machine.
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


def reason_of(error: BaseException) -> str:
    """The first line of the cause of an error of torch's exporters, whose messages are long."""
    while error.__cause__ is not None:
        error = error.__cause__
    reason = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {reason}".rstrip(".: ") + "."


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block three messages of torch's exporters that say nothing about the network are left out."""

    def matters(record: logging.LogRecord) -> bool:
        # Four lines about operators of torchvision, on every machine that lacks it; no network here uses them.
        return not record.getMessage().startswith("torchvision is not installed")

    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    registration.addFilter(matters)
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies its own tree specifications in a way that it deprecates itself.
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)
            # A recurrent layer of torch keeps a list of its own weights, which it makes anew while it is traced.
            warnings.filterwarnings(
                "ignore", message=".*_flat_weights.* were assigned during export", category=UserWarning
            )
            yield
    finally:
        registration.removeFilter(matters)
