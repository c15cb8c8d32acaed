"""`dnas predict`: the classes of images, by a retrained network or an exported one."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.parser import Command


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained, or an exported .onnx file")
    parser.add_argument("images", type=Path, nargs="+", help="image files")
    parser.add_argument("--top", type=int, default=3, help="number of classes to print for each image")


def _run(config: Namespace, given: Arguments) -> None:
    from dnas.shipping.predict import predict, predict_onnx

    work = predict_onnx if config.run.suffix == ".onnx" else predict
    for prediction in work(config.run, config.images, top=config.top):
        classes = "  ".join(f"{name} {probability:.1%}" for name, probability in prediction.classes)
        print(f"{prediction.path}: {classes}")


COMMAND = Command("predict", _fill, _run)
