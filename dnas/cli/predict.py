"""`dnas predict`: what a retrained network, or an exported one, says of images or of other samples."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.network import add_network, network_of
from dnas.cli.own_model import add_model, model_for
from dnas.cli.parser import Command
from dnas.system.errors import UserError
from dnas.system.words import printable

if TYPE_CHECKING:  # it needs torch, which the help of a command does not
    from dnas.core.own_module import OwnModule


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained, or an exported .onnx file")
    parser.add_argument(
        "images", type=Path, nargs="+", help="image files, or folders of them; or .npz files with samples as array x"
    )
    parser.add_argument("--top", type=int, default=3, help="number of classes to print for each image")
    parser.add_argument(
        "--output",
        type=Path | None,
        default=None,
        help="of an .npz file: write outputs and predicted into this .npz file",
    )
    add_network(parser)
    add_model(parser)


def _run(config: Namespace, given: Arguments) -> None:
    from dnas.shipping.predict import predict, predict_onnx

    path, model = config.run, None
    if path.suffix != ".onnx":
        path, why = network_of(config)
        if why:
            print(why, file=sys.stderr)  # the classes alone go to the output
        model = model_for(path, config)
    elif config.network is not None:
        raise UserError(f"--network has no effect on {config.run}, which is one network. Leave it out.")
    arrays = [place for place in config.images if place.suffix == ".npz"]
    if arrays:
        _predict_arrays(path, model, config)
        return
    if config.output is not None:
        raise UserError("--output is for .npz files; the classes of images are printed alone. Leave it out.")
    files = _files(config.images)
    if path.suffix == ".onnx":
        predictions = predict_onnx(path, files, top=config.top)
    else:
        predictions = predict(path, files, top=config.top, model=model)
    for prediction in predictions:
        classes = "  ".join(f"{name} {probability:.1%}" for name, probability in prediction.classes)
        print(printable(f"{prediction.path}: {classes}"))


def _predict_arrays(path: Path, model: OwnModule | None, config: Namespace) -> None:
    """Print what is said of the samples of an .npz file, and write it if that is asked for."""
    from dnas.shipping.predict_arrays import predict_arrays

    if len(config.images) != 1 or config.top < 1:
        raise UserError(f"Give one .npz file, alone, and --top of 1 or more; got {len(config.images)} files.")
    predictions = predict_arrays(path, config.images[0], model=model)
    for line in predictions.lines(config.top):
        print(printable(line))
    if config.output is not None:
        predictions.save(config.output)


def _files(places: Sequence[Path]) -> list[Path]:
    """The image files, with those at any depth of a folder in its place, in the order of their names.

    Raises:
        UserError: a folder without images.
    """
    from dnas.data.folder import IMAGE_EXTENSIONS

    files = []
    for place in places:
        images = (path for path in place.rglob("*") if path.suffix.lower() in IMAGE_EXTENSIONS and path.is_file())
        found = sorted(images) if place.is_dir() else [place]
        if not found:
            raise UserError(f"{place} holds no image: give image files, or a folder of them.")
        files += found
    return files


COMMAND = Command("predict", _fill, _run)
