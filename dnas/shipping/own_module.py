"""A trained network of a user's own module as a folder, and as files for other programs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from dnas.core.architecture import Architecture
from dnas.core.batch import to_device
from dnas.core.derive import check_derived
from dnas.core.described import described
from dnas.core.run import Run
from dnas.shipping.batch_dims import BatchDim, dims_of, samples
from dnas.shipping.deviation import batches_of, check_rows_are_independent, outputs_of, random_batches
from dnas.shipping.export import (
    FORMATS,
    ExportedFile,
    convert_all,
    exporters_of,
    metadata_of_interface,
    names_of_inputs,
    names_of_outputs,
)
from dnas.shipping.exporters import Subject
from dnas.shipping.exporters.onnx_graph import ONNX
from dnas.shipping.package import SPEC_FILE, read_weights, write_module_file
from dnas.shipping.spec import AnyInterface
from dnas.system.errors import UserError, in_own_code
from dnas.training.evaluate import call
from dnas.version import __version__


def save(network: nn.Module, architecture: Architecture, path: Path | str) -> None:
    """Write a trained network that was derived from a user's own module into a folder.

        network.pt         its weights and buffers
        architecture.json  which candidates it keeps
        module.json        a digest of the names and classes of its modules, which `dnas.load` compares

    `dnas.load(path, model=Net)` makes it again, also in another process; no code is in the files.

    Args:
        network: from `dnas.derive` or `result.network()`, trained.
        architecture: which it was derived by.
        path: folder, which is made.

    Raises:
        UserError: the network has choices left, its state holds more than tensors, or the path is a file.

    Example:
        >>> save(network, found.architecture, "model")  # doctest: +SKIP
        >>> network = load("model", model=Net)  # doctest: +SKIP
    """
    check_derived(network)
    if not isinstance(architecture, Architecture):
        raise UserError(
            f"architecture must be a dnas.Architecture, such as result.architecture; got {described(architecture)}."
        )
    folder = _folder(path)
    if (folder / SPEC_FILE).exists():
        raise UserError(f"{folder} holds another network, by its {SPEC_FILE}; choose another folder.")
    run = Run(folder)
    run.save_weights(network)
    run.save_architecture(architecture)
    write_module_file(folder, network)


# Formats that hold no graph, so that inputs and outputs may be of any kind.
WEIGHTS_ALONE = {"state_dict", "safetensors"}


def export_module(
    network: nn.Module,
    example: Any,
    path: Path | str,
    *,
    formats: Sequence[str] = FORMATS,
    architecture: Architecture | None = None,
    check: bool = True,
    batch_dim: BatchDim = 0,
) -> list[ExportedFile]:
    """Write a trained network of any kind as files for other programs; in `dnas` this is called `dnas.export`.

        network.onnx   ONNX, any batch size, weights inside
        network.pt2    a torch.export program, any batch size
        network.pt     a state dict; with an architecture, `dnas.load(path, model=Net)` reads the folder

    Inputs of the ONNX graph are called as in the network's `forward`, outputs by their place in tuples and dicts, such
    as 'scores' or 'output_0'. Every file is run on 1, 2 and 5 samples of the example and compared with PyTorch.
    Nothing is written if a format cannot express the network, and no file is written that fails its check.

    Args:
        network: any trained module; it stays as it is.
        example: inputs as a loader yields them: a tensor, a tuple of arguments, or a dict of named ones, with values
            such as the network takes.
        path: folder, which is made.
        formats: names of the formats, from 'onnx', 'torch' and 'state_dict'. Only the last takes packed sequences.
        architecture: by which the network was derived; it is written into the files.
        check: whether the files are run and compared, within 1e-4 of the largest output or of 1, whichever is larger.
        batch_dim: the dimension of the example's tensors that is the batch, such as 1 for (time, batch, features); or
            one for each tensor in the structure of the example, such as `{"x": 1, "lengths": 0, "table": None}`.

    Raises:
        MissingPackage: a package that a format needs is not installed.
        UserError: a format is unknown, the network cannot take the example or cannot be expressed, its outputs depend
            on the rest of the batch, or a file deviates.

    Example:
        >>> dnas.export(network, torch.randn(8, 3, 32, 32), "export")  # doctest: +SKIP
    """
    exporters = exporters_of(formats)
    for exporter in exporters:
        exporter.check_installed()
    check_derived(network)
    folder = _folder(path)
    network = copy.deepcopy(network).cpu().eval()
    network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    example = to_device(example, torch.device("cpu"))
    packed, weights_alone = _is_packed(example), {*formats} <= WEIGHTS_ALONE
    if packed and not weights_alone:
        raise UserError(
            "ONNX and torch.export take no packed sequences: give formats=('state_dict',), or let the network take "
            "padded tensors."
        )
    dims = () if packed else dims_of(example, batch_dim)
    inputs = [example] if packed else batches_of(example, dims)
    with (
        torch.no_grad(),
        in_own_code(lambda: f"{type(network).__name__} cannot take the example, {described(example)}"),
    ):
        expected = [(one, call(network, one)) for one in inputs]
    if not weights_alone:
        _check_plain(expected[0][1])
    if not packed:
        check_rows_are_independent(network, expected, dims)
    subject = Subject(
        network,
        example=example if packed else samples(example, (0, 1), dims),
        metadata=_metadata(architecture),
        save=partial(_save, network, architecture),
        load=partial(_loaded, network),
        dims=dims,
    )
    return convert_all(exporters, subject, expected, folder, check=check)


def export_onnx(network: nn.Module, interface: AnyInterface, path: Path | str) -> ExportedFile:
    """Write a trained network of any kind as network.onnx with its interface, which `dnas predict` reads.

    Args:
        network: any trained module; it stays as it is.
        interface: its inputs and outputs.
        path: folder, which is made.

    Raises:
        MissingPackage: onnx is not installed.
        UserError: as `export_module`, or the outputs are not those of the interface.
    """
    ONNX.check_installed()
    folder, kind = _folder(path), interface.kind
    network = copy.deepcopy(network).cpu().float().eval()
    network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    expected = [(inputs, outputs_of(network, inputs, kind)) for inputs in random_batches(kind)]
    check_rows_are_independent(network, expected)
    subject = Subject(
        network,
        example=kind.zeros(2),
        metadata={**metadata_of_interface(interface), **_metadata(None)},
        save=partial(_save, network, None),
        load=partial(_loaded, network),
        input_names=names_of_inputs(kind),
        output_names=names_of_outputs(kind),
    )
    return convert_all((ONNX,), subject, expected, folder, check=True)[0]


def _save(network: nn.Module, architecture: Architecture | None, folder: Path) -> None:
    """Write the weights into a folder, with the architecture where there is one."""
    if architecture is not None:
        save(network, architecture, folder)
    else:
        Run(folder).save_weights(network)


def _loaded(network: nn.Module, folder: Path) -> nn.Module:
    """A copy of the network that has its weights from a folder."""
    again = copy.deepcopy(network)
    for tensor in again.state_dict().values():
        tensor.zero_()
    again.load_state_dict(read_weights(folder))
    return again


def _folder(path: Path | str) -> Path:
    folder = Path(path)
    if folder.suffix in (".onnx", ".pt", ".pt2") or folder.is_file():
        raise UserError(f"{folder} must be a folder, into which the files go under names of their own.")
    return folder


def _is_packed(inputs: Any) -> bool:
    if isinstance(inputs, PackedSequence):
        return True
    parts = inputs.values() if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple | list) else ()
    return any(map(_is_packed, parts))


def _check_plain(outputs: Any) -> None:
    """Check that outputs are tensors in tuples, lists and dicts, the only ones that graphs have.

    Raises:
        UserError: names what is none of them.
    """
    if outputs is None or isinstance(outputs, Tensor):
        return
    if type(outputs) is not dict and not isinstance(outputs, tuple | list):
        raise UserError(
            f"ONNX and torch.export give tensors, or tuples and dicts of them, and the network gives "
            f"{described(outputs)}: give formats=('state_dict',), or export a module that returns its tensors."
        )
    for part in outputs.values() if isinstance(outputs, dict) else outputs:
        _check_plain(part)


def _metadata(architecture: Architecture | None) -> dict[str, str]:
    return {"dnas_version": __version__, **({} if architecture is None else {"architecture": architecture.to_json()})}
