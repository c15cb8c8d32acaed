"""`dnas predict`: the classes of images, by a retrained network or an exported one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.network import add_network, network_of
from dnas.cli.own_model import add_model, model_for
from dnas.cli.parser import Command
from dnas.system.errors import UserError
from dnas.system.words import printable


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained, or an exported .onnx file")
    parser.add_argument("images", type=Path, nargs="+", help="image files, or folders of them")
    parser.add_argument("--top", type=int, default=3, help="number of classes to print for each image")
    add_network(parser)
    add_model(parser)


def _run(config: Namespace, given: Arguments) -> None:
    from dnas.shipping.predict import predict, predict_onnx

    files = _files(config.images)
    if config.run.suffix == ".onnx":
        if config.network is not None:
            raise UserError(f"--network has no effect on {config.run}, which is one network. Leave it out.")
        predictions = predict_onnx(config.run, files, top=config.top)
    else:
        path, why = network_of(config)
        if why:
            print(why, file=sys.stderr)  # the classes alone go to the output
        predictions = predict(path, files, top=config.top, model=model_for(path, config))
    for prediction in predictions:
        classes = "  ".join(f"{name} {probability:.1%}" for name, probability in prediction.classes)
        print(printable(f"{prediction.path}: {classes}"))


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
