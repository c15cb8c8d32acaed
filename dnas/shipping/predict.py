"""From image files to names of classes, with a trained network or its ONNX file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.own_module import OwnModule
from dnas.data.decode import Encoded, decode_images, to_channels
from dnas.shipping.interface import Interface
from dnas.shipping.load import load, load_spec
from dnas.shipping.onnx_digest import check_no_broken_seal, has_onnx_seal
from dnas.shipping.spec import AnyInterface, interface_from
from dnas.system.digest import warn_of_no_digest
from dnas.system.errors import MissingPackage, UserError
from dnas.system.reading import parse_json, read_bytes, refusing

_LARGEST_ONNX = 2 * 2**30  # bytes; protobuf's own limit
_NO_ONNX = "is no ONNX file that ONNX Runtime can run"
_BATCH = 64  # images decoded and classified at a time, so that memory does not grow with their number


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image.

    Args:
        path: path of the image file.
        classes: (class name, probability in 0 to 1), likeliest first.
    """

    path: Path
    classes: tuple[tuple[str, float], ...]


def predict(
    path: Path | str,
    images: Sequence[Path],
    *,
    top: int = 3,
    model: OwnModule | None = None,
    device: torch.device | str = "cpu",
) -> list[Prediction]:
    """Classify image files with the retrained network of a run.

    Args:
        path: the run, its retraining, or an export with a state dict.
        images: files of any format, size and mode; they are resized and normalised as the training images were.
        top: largest number of classes to return for each image, at least 1.
        model: for the search of a user's own module: a new searchable module, as for `dnas.load`.
        device: where the network runs.

    Raises:
        FileNotFoundError: the run does not exist, or was not retrained.
        UserError: an image cannot be read (it is named), files are damaged, or `top` is below 1.

    Example:
        >>> predict("runs/flowers", [Path("photo.jpg")])  # doctest: +SKIP
        [Prediction(path=PosixPath('photo.jpg'), classes=(('tulip', 0.91), ('rose', 0.06), ('daisy', 0.02)))]
    """
    network = load(path, model=model, device=device)
    return predict_network(network, _of_images(load_spec(path).interface, path), images, top=top)


def predict_network(
    network: nn.Module, interface: Interface, images: Sequence[Path], *, top: int = 3
) -> list[Prediction]:
    """Classify image files with a network in memory, on its device and in evaluation mode.

    Args:
        network: maps normalised images (batch, channels, height, width) to logits (batch, classes).
        interface: the network's interface.
        images: files of any format, size and mode.
        top: largest number of classes to return for each image, at least 1.

    Raises:
        UserError: an image cannot be read, `top` is below 1, or the network's outputs are not logits.
    """
    was_training = network.training
    network.eval()
    try:
        return _predict(network_forward(network), interface, images, top)
    finally:
        network.train(was_training)


def network_forward(network: nn.Module) -> Callable[[Tensor], Any]:
    """A function from inputs to outputs of a network in evaluation mode, on its device, without gradients."""
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))

    def forward(inputs: Tensor) -> Any:
        with torch.no_grad():
            return network(inputs.to(device))

    return forward


def predict_onnx(path: Path | str, images: Sequence[Path], *, top: int = 3) -> list[Prediction]:
    """Classify image files with an ONNX file that `dnas export` wrote, using only ONNX Runtime and the file itself.

    Args:
        path: the ONNX file.
        images: files of any format, size and mode.
        top: largest number of classes to return for each image, at least 1.

    Raises:
        FileNotFoundError: the file does not exist.
        MissingPackage: onnxruntime is not installed.
        UserError: it is not an ONNX file that we wrote, an image cannot be read (it is named), a logit is
            not finite, or `top` is below 1.
    """
    forward, interface = open_onnx(path)
    return _predict(forward, _of_images(interface, path), images, top)


def open_onnx(path: Path | str) -> tuple[Callable[[Tensor], Tensor], AnyInterface]:
    """A function from inputs to outputs of an ONNX file that `dnas export` wrote, and the file's interface.

    Raises:
        FileNotFoundError, MissingPackage, UserError: as `predict_onnx`.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackage(
            'ONNX files are run by onnxruntime. Install it: pip install ".[export]" in a clone of dnas'
        ) from error
    content = read_bytes(path, most=_LARGEST_ONNX)
    has_seal = has_onnx_seal(content, source=str(path))
    with refusing(path, _NO_ONNX):
        options = onnxruntime.SessionOptions()
        # Weights in other files, which only others' exporters write, are not looked for.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        options.log_severity_level = 4  # what goes wrong is raised, and need not be printed as well
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        carried = session.get_modelmeta().custom_metadata_map
        (name,) = (given.name for given in session.get_inputs())
    if not has_seal:
        check_no_broken_seal(carried, source=str(path))
        warn_of_no_digest(path)
    interface = _carried_interface(carried, str(path))

    def forward(inputs: Tensor) -> Tensor:
        with refusing(path, _NO_ONNX):
            return torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])

    return forward, interface


def _of_images(interface: AnyInterface, path: Path | str) -> Interface:
    """The interface of a network for image files.

    Raises:
        UserError: it is for arrays.
    """
    if not isinstance(interface, Interface):
        raise UserError(
            f"The network in {path} takes {interface.kind}: give an .npz file with the array x, such as the one "
            "that it was searched on, not image files."
        )
    return interface


def read_inputs(images: Sequence[Path], interface: Interface) -> Tensor:
    """Image files as a network's inputs, `(images, channels, height, width)` float32.

    They are decoded, resized and normalised by the functions that make batches of training images.

    Raises:
        UserError: an image cannot be read; the first such one is named.
    """
    paths = [Path(path) for path in images]
    encoded = Encoded(
        labels=(0,) * len(paths),  # unknown and unused
        paths=tuple(map(str, paths)),
        fetch=lambda indices: [paths[i] for i in indices],
    )
    pixels = decode_images(encoded, interface.resize)
    return interface.normalization(to_channels(pixels, interface.shape[0]))


def _predict(
    forward: Callable[[Tensor], Tensor], interface: Interface, images: Sequence[Path], top: int
) -> list[Prediction]:
    if top < 1:
        raise UserError(f"top, the number of classes to name for each image, must be 1 or more; got {top}.")
    predictions = []
    for start in range(0, len(images), _BATCH):
        chunk = images[start : start + _BATCH]
        logits = forward(read_inputs(chunk, interface))
        if logits.shape != (len(chunk), interface.num_classes):
            raise UserError(
                f"The network gives logits of shape {tuple(logits.shape)} for {len(chunk)} images; expected "
                f"{(len(chunk), interface.num_classes)}, one for each of its classes."
            )
        _check_finite(logits, chunk)
        for path, classes in zip(chunk, likeliest(logits, interface.class_names, top), strict=True):
            predictions.append(Prediction(Path(path), classes))
    return predictions


def likeliest(logits: Tensor, names: Sequence[str], top: int) -> Iterator[tuple[tuple[str, float], ...]]:
    """For each row of logits `(samples, classes)` its `top` classes and their probabilities, the likeliest first."""
    values, indices = logits.softmax(dim=1).topk(min(top, len(names)), dim=1)
    for probabilities, classes in zip(values.tolist(), indices.tolist(), strict=True):
        yield tuple((names[int(at)], probability) for at, probability in zip(classes, probabilities, strict=True))


def _check_finite(logits: Tensor, images: Sequence[Path]) -> None:
    """Check that logits are numbers; others have no probabilities.

    Raises:
        UserError: names the first image whose logits are not.
    """
    finite = logits.isfinite().all(dim=1).tolist()
    if not all(finite):
        raise UserError(
            f"The network gives NaN or infinity for the image {images[finite.index(False)]}: its weights are damaged "
            "or have diverged. Take the network from a copy, or retrain."
        )


def _carried_interface(carried: Mapping[str, str], source: str) -> AnyInterface:
    of_arrays = {"names", "inputs", "targets"}
    names = of_arrays if "inputs" in carried else {"class_names", "input", "resize", "mean", "std"}
    missing = sorted(names - set(carried))
    if missing:
        raise UserError(
            f"{source} does not say {', '.join(missing)} in its metadata; `dnas export` writes files that do."
        )
    known = [name for name in (*names, "mean", "std") if name in carried]
    data = {name: parse_json(carried[name], f"{source}, metadata {name}") for name in known}
    return interface_from(data, f"{source}, metadata")
