"""From a trained network to files for other programs: ONNX, torch.export, a state dict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from dnas.core.own_module import OwnModule
from dnas.core.run import Run
from dnas.data.sample_kind import SampleKind
from dnas.shipping.deviation import check_rows_are_independent, deviation_from, outputs_of, random_batches
from dnas.shipping.exporters import EXPORTERS, Exporter, Subject
from dnas.shipping.exporters.exporter import Files
from dnas.shipping.exporters.onnx_graph import IMAGES, LOGITS
from dnas.shipping.load import find_network, load, load_spec
from dnas.shipping.package import save_network
from dnas.shipping.spec import AnyInterface, NetworkSpec, SpaceBuilder
from dnas.system.atomic import write
from dnas.system.errors import UserError

FORMATS: tuple[str, ...] = tuple(exporter.format for exporter in EXPORTERS)
if TYPE_CHECKING:
    Format = str
else:
    Format = Literal[FORMATS]  # the command line lists these in its message for any other


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written.

    Args:
        format: name of its format, from FORMATS.
        path: path of the file; network.json and architecture.json lie beside a state dict.
        num_bytes: size of the file.
        deviation: largest difference of its logits from PyTorch's over the batches that were compared, in units of
            the largest logit or of 1, whichever is larger; None if nothing was compared.
    """

    format: str
    path: Path
    num_bytes: int
    deviation: float | None


def export(
    run_path: Path | str,
    *,
    formats: Sequence[str] = FORMATS,
    output: Path | str | None = None,
    check: bool = True,
    model: OwnModule | None = None,
) -> list[ExportedFile]:
    """Write the retrained network of a run as files for other programs.

        network.onnx   ONNX, any batch size, weights inside; its metadata is in metadata_props
        network.pt2    a torch.export program, any batch size; its metadata is in extra_files
        network.safetensors   the same weights, which programs in any language read; with network.json beside it
                       `dnas.load(folder)` reads it where there is no network.pt
        network.pt     a state dict, beside network.json and architecture.json; `dnas.load(folder)` rebuilds the module

    Each takes normalised float32 images (batch, channels, height, width) and returns logits (batch, classes); of other
    data it takes their arrays, normalised, or tokens, and returns what the network gives. Each
    contains the architecture, class names, input size, resize rule, mean and deviation as JSON. Normalisation is not
    part of the graph: devices often combine it with the conversion from bytes, quantizers see the trained weights, and
    the file can be compared with the network number by number.

    Nothing is written if a format cannot express the network, and no file is written that fails its check. The ONNX and
    torch.export programs hold no trace of this machine.

    Args:
        run_path: the run, or its retraining.
        formats: names of the formats to write, from FORMATS.
        output: folder for the files; None for `export` in the run's folder.
        check: run each file on random batches of several sizes and compare its logits with PyTorch's, within 1e-4 of
            the largest logit or of 1, whichever is larger.
        model: for the search of a user's own module: a new searchable module, as for `dnas.load`.

    Raises:
        FileNotFoundError: there is no such run, or it was not retrained.
        MissingPackage: a package that a format needs is not installed.
        UserError: a format is unknown, files are damaged, the network cannot be exported, or a file deviates.
    """
    exporters = exporters_of(formats)
    for exporter in exporters:
        exporter.check_installed()
    spec = load_spec(run_path)
    folder = Path(run_path) / "export" if output is None else Path(output)
    _check_folder(folder, find_network(Path(run_path)))
    subject = _subject(load(run_path, model=model), spec, model)
    kind = spec.interface.kind
    expected = [(inputs, outputs_of(subject.network, inputs, kind)) for inputs in random_batches(kind)]
    check_rows_are_independent(subject.network, expected)
    return convert_all(exporters, subject, expected, folder, check=check)


def convert_all(
    exporters: Sequence[Exporter], subject: Subject, expected: Sequence[tuple[Any, Any]], folder: Path, *, check: bool
) -> list[ExportedFile]:
    """Convert a network to some formats, check the files and write them; if one cannot be converted, none is written.

    Args:
        exporters: the formats.
        subject: the network.
        expected: pairs of inputs and PyTorch's outputs.
        folder: where the files go.
        check: whether each file is run and compared with `expected`.

    Raises:
        UserError: the network cannot be expressed, or a file deviates.
    """
    converted = [(exporter, exporter.convert(subject)) for exporter in exporters]
    exported = []
    for exporter, files in converted:
        deviation = deviation_from(expected, exporter.run(files, subject), exporter.file) if check else None
        exported.append(_written(folder, exporter, files, deviation))
    return exported


def _subject(network: nn.Module, spec: NetworkSpec, model: OwnModule | None) -> Subject:
    """The retrained network of a run, which takes images and gives logits."""
    saved = spec
    if isinstance(spec.builder, SpaceBuilder):  # the loaded network has no auxiliary head
        saved = replace(spec, builder=replace(spec.builder, auxiliary=False))

    def save(folder: Path) -> None:
        save_network(Run(folder), network, saved)
        spec.architecture.save(Run(folder).architecture_path)

    return Subject(
        network,
        example=spec.interface.kind.zeros(2),
        metadata=metadata_of(spec),
        save=save,
        load=lambda folder: load(folder, model=model),
        input_names=names_of_inputs(spec.interface.kind),
        output_names=names_of_outputs(spec.interface.kind),
    )


def names_of_inputs(kind: SampleKind) -> tuple[str, ...]:
    """What an exported program calls its inputs."""
    return IMAGES if kind.inputs == "pixels" else ("inputs",)


def names_of_outputs(kind: SampleKind) -> tuple[str, ...] | None:
    """What an exported program calls its outputs; None for names by their structure."""
    return LOGITS if kind.targets == "class" else None


def metadata_of(spec: NetworkSpec) -> dict[str, str]:
    """Entries of an exported file: the interface's and the architecture as JSON, and dnas's version."""
    return {
        **metadata_of_interface(spec.interface),
        "architecture": spec.architecture.to_json(),
        "dnas_version": spec.version,
    }


def metadata_of_interface(interface: AnyInterface) -> dict[str, str]:
    """The entries of an interface, each as JSON."""
    return {name: json.dumps(value, ensure_ascii=False) for name, value in interface.to_data().items()}


def _written(folder: Path, exporter: Exporter, files: Files, deviation: float | None) -> ExportedFile:
    """Write the files of one format, and describe the one that holds the network."""
    for name, contents in files.items():
        write(folder / name, lambda target, contents=contents: target.write(contents))
    return ExportedFile(exporter.format, folder / exporter.file, len(files[exporter.file]), deviation)


def exporters_of(formats: Sequence[str]) -> list[Exporter]:
    """The exporters of these formats, each once."""
    formats = [formats] if isinstance(formats, str) else formats
    by_format = {exporter.format: exporter for exporter in EXPORTERS}
    for name in formats:
        if name not in by_format:
            raise UserError(f"Unknown format {name!r}; there are {', '.join(FORMATS)}.")
    if not formats:
        raise UserError(f"Nothing to export: name one or more of {', '.join(FORMATS)}.")
    return [by_format[name] for name in dict.fromkeys(formats)]


def _check_folder(folder: Path, source: Path | None) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; expected the folder to export to.")
    if source is not None and folder.resolve() == source.resolve():
        raise UserError(
            f"{folder} holds the network that is exported, and would be overwritten; choose another folder."
        )
