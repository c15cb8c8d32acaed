"""From a trained network to files that other programs run: ONNX, torch.export, a state dict."""

from __future__ import annotations

import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from dnas.core.run import Run
from dnas.shipping.interface import Interface
from dnas.shipping.load import find_network, load, load_spec
from dnas.shipping.package import WEIGHTS_FILE, save_network
from dnas.shipping.spec import NetworkSpec, SpaceBuilder
from dnas.system.atomic import write
from dnas.system.errors import MissingPackage, UserError

Format = Literal["onnx", "torch", "state_dict"]

FORMATS: tuple[Format, ...] = ("onnx", "torch", "state_dict")
ONNX_FILE = "network.onnx"
TORCH_FILE = "network.pt2"
INPUT_NAME = "images"
OUTPUT_NAME = "logits"

# ONNX Runtime reads it since 1.14 (early 2023), and the exporter writes no older one without converting.
OPSET = 18
# How far logits may be from PyTorch's, in units of the largest one or of 1, whichever is larger.
TOLERANCE = 1e-4
# The program is traced with 2 images; these numbers include 1, for which some operators have a path of their own.
_BATCH_SIZES = (1, 2, 5)


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written.

    Args:
        format: which one.
        path: of the file; for a state dict network.json and architecture.json lie beside it.
        num_bytes: its size.
        deviation: largest difference of its logits from PyTorch's over the batches that were compared, in units of
            the largest logit or of 1, whichever is larger; None where nothing was compared.
    """

    format: Format
    path: Path
    num_bytes: int
    deviation: float | None


def export(
    run_path: Path | str,
    *,
    formats: Sequence[Format] = FORMATS,
    output: Path | str | None = None,
    check: bool = True,
    model: nn.Module | None = None,
) -> list[ExportedFile]:
    """Write the retrained network of a run for use elsewhere.

        network.onnx   ONNX, any batch size, weights inside; what it carries is in its metadata_props
        network.pt2    a torch.export program, any batch size; what it carries is in its extra_files
        network.pt     a state dict, beside network.json and architecture.json; `dnas.load(folder)` rebuilds the module

    Each takes normalised float32 images (batch, channels, height, width) and gives logits (batch, classes). Each
    carries class names, input size, resize rule, mean and deviation as JSON, and the architecture. Normalisation is
    not part of the graph: devices often do it with the conversion from bytes, before the network; quantizers see the
    weights that were trained; and the file can be compared with the network number by number.

    A file that fails its check is not written. The ONNX and torch.export programs hold no trace of this machine.

    Args:
        run_path: the run, or its retraining.
        formats: which files.
        output: the folder; None for `export` in the run's folder.
        check: run each file on random batches of several sizes and compare its logits with PyTorch's, within 1e-4 of
            the largest logit or of 1, whichever is larger.
        model: for the search of a user's own module: a new searchable module, as for `dnas.load`.

    Raises:
        FileNotFoundError: no such run, or not retrained.
        MissingPackage: what ONNX needs is not installed.
        UserError: an unknown format, damaged files, a network that cannot be exported, or a file that deviates.
    """
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"Unknown format {name!r}; there are {', '.join(FORMATS)}.")
    if not formats:
        raise UserError(f"Nothing to export: name one or more of {', '.join(FORMATS)}.")
    if "onnx" in formats:
        _check_onnx_is_installed()
    spec = load_spec(run_path)
    folder = Path(run_path) / "export" if output is None else Path(output)
    _check_folder(folder, find_network(Path(run_path)))
    network = load(run_path, model=model)
    expected = [(images, _logits(network, images, spec.interface)) for images in _random_batches(spec.interface)]
    check_rows_are_independent(network, expected)
    # ONNX is made from the same traced program.
    program = _trace(network, spec.interface) if {"onnx", "torch"} & set(formats) else None
    files = []
    for name in dict.fromkeys(formats):
        if name == "state_dict":
            files.append(_write_state_dict(folder, network, spec, model, expected if check else []))
        elif program is not None:
            convert, run, file = (to_onnx, run_onnx, ONNX_FILE) if name == "onnx" else (to_torch, run_torch, TORCH_FILE)
            data = convert(program, metadata(spec))
            deviation = deviation_from(expected, run(data), file) if check else None
            write(folder / file, lambda target, data=data: target.write(data))
            files.append(ExportedFile(name, folder / file, len(data), deviation))
    return files


def metadata(spec: NetworkSpec) -> dict[str, str]:
    """What the files carry: the interface's entries as JSON texts, the architecture as JSON, and dnas's version."""
    interface = {name: json.dumps(value, ensure_ascii=False) for name, value in spec.interface.to_data().items()}
    return {**interface, "architecture": spec.architecture.to_json(), "dnas_version": spec.version}


def _check_folder(folder: Path, source: Path | None) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; expected the folder to export to.")
    if source is not None and folder.resolve() == source.resolve():
        raise UserError(
            f"{folder} holds the network that is exported, and would be overwritten; choose another folder."
        )


# Writing


def _trace(network: nn.Module, interface: Interface) -> ExportedProgram:
    """The network as a program for any batch size.

    Raises:
        UserError: it does something that torch.export cannot express.
    """
    example = torch.zeros(2, *interface.shape)
    try:
        program = torch.export.export(network, (example,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # whatever a user's module raises, and torch has no common class for its own
        raise UserError(
            f"torch.export cannot express {type(network).__name__} for batches of any size: {_reason(error)} "
            "A forward pass must not depend on the values of its input or on the size of the batch."
        ) from error
    # The source lines that made each node name the folders of this machine.
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


def _reason(error: BaseException) -> str:
    """The first line of what caused an error of torch's exporters, which tell much more."""
    while error.__cause__ is not None:
        error = error.__cause__
    reason = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {reason}".rstrip(".: ") + "."


def to_torch(program: ExportedProgram, carried: dict[str, str]) -> bytes:
    """The program as the contents of a .pt2 file, with `carried` as extra files."""
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(program, buffer, extra_files=carried)
    return buffer.getvalue()


def to_onnx(program: ExportedProgram, carried: dict[str, str]) -> bytes:
    """The program as the contents of an ONNX file, with `carried` as metadata, passed through ONNX's checker.

    Raises:
        UserError: an operator that ONNX or the exporter has not.
    """
    import onnx

    try:
        with _quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"ONNX cannot express the network: {_reason(error)}") from error
    assert exported is not None
    proto = exported.model_proto
    _tidy(proto)
    onnx.helper.set_model_props(proto, carried)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


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


def _write_state_dict(
    folder: Path,
    network: nn.Module,
    spec: NetworkSpec,
    model: nn.Module | None,
    expected: list[tuple[Tensor, Tensor]],
) -> ExportedFile:
    # The loaded network has no auxiliary head.
    builder = replace(spec.builder, auxiliary=False) if isinstance(spec.builder, SpaceBuilder) else spec.builder
    spec = replace(spec, builder=builder)
    deviation = None
    if expected:
        with tempfile.TemporaryDirectory() as draft:
            save_network(Run(draft), network, spec)
            deviation = deviation_from(expected, load(draft, model=model), WEIGHTS_FILE)
    save_network(Run(folder), network, spec)
    spec.architecture.save(folder / "architecture.json")
    path = folder / WEIGHTS_FILE
    return ExportedFile("state_dict", path, path.stat().st_size, deviation)


# Checking

Forward = Callable[[Tensor], Tensor]


def run_onnx(data: bytes) -> Forward:
    """The contents of an ONNX file as a function from images to logits, run by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def forward(images: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT_NAME], {INPUT_NAME: images.numpy()})
        return torch.from_numpy(logits)

    return forward


def run_torch(data: bytes) -> Forward:
    """The contents of a .pt2 file as a function from images to logits."""
    with _quiet():
        return torch.export.load(io.BytesIO(data)).module()


def deviation_from(expected: Sequence[tuple[Tensor, Tensor]], forward: Forward, name: str) -> float:
    """How far the logits of `forward` are from the expected ones, `max |a - b| / max(1, max |b|)`, over all batches.

    Args:
        expected: pairs of images and PyTorch's logits.
        forward: what is checked.
        name: what the message calls it.

    Raises:
        UserError: further than 1e-4.
    """
    worst = 0.0
    for images, logits in expected:
        with torch.no_grad():
            got = forward(images)
        if got.shape != logits.shape:
            raise UserError(f"{name}: logits have shape {tuple(got.shape)}, PyTorch's {tuple(logits.shape)}.")
        deviation = float((got - logits).abs().max()) / max(1.0, float(logits.abs().max()))
        if not deviation <= TOLERANCE:
            raise UserError(
                f"{name} deviates from PyTorch by {deviation:.3g} on {len(images)} random images, more than "
                f"{TOLERANCE:g}. It was not written."
            )
        worst = max(worst, deviation)
    return worst


def check_rows_are_independent(network: nn.Module, expected: Sequence[tuple[Tensor, Tensor]]) -> None:
    """See that an image gets the same logits alone as in a batch, twice.

    Raises:
        UserError: it does not: batch norm without running statistics, or noise in the forward pass.
    """
    images, logits = max(expected, key=lambda pair: len(pair[0]))
    with torch.no_grad():
        alone = torch.cat([network(image[None]) for image in images])
    difference = float((alone - logits).abs().max()) / max(1.0, float(logits.abs().max()))
    if not difference <= TOLERANCE:
        raise UserError(
            f"The network's logits of an image differ by {difference:.3g} when it comes alone and when it comes in a "
            f"batch of {len(images)}. A network for use must not depend on the batch or on chance in evaluation mode: "
            "batch norm needs running statistics (track_running_stats=True), and dropout must be off."
        )


def _random_batches(interface: Interface) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, *interface.shape, generator=generator) for size in _BATCH_SIZES]


def _logits(network: nn.Module, images: Tensor, interface: Interface) -> Tensor:
    with torch.no_grad():
        logits = network(images)
    wanted = (len(images), interface.num_classes)
    if not isinstance(logits, Tensor) or logits.shape != wanted:
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise UserError(f"The network gives {got} for {len(images)} images; expected logits of shape {wanted}.")
    if not logits.isfinite().all():
        raise UserError("The network's logits of random images are not finite: its weights are of no use.")
    return logits


def _check_onnx_is_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            f'ONNX export needs onnx, onnxscript and onnxruntime ({error}). Install them: pip install "dnas[export]"'
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without two messages of torch's exporters that say nothing about the network."""

    def matters(record: logging.LogRecord) -> bool:
        # Four lines about operators of torchvision, on every machine that lacks it; no network here uses them.
        return not record.getMessage().startswith("torchvision is not installed")

    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    registration.addFilter(matters)
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies its own tree specifications in a way that it deprecates itself.
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)
            yield
    finally:
        registration.removeFilter(matters)
