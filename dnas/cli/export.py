"""`dnas export`: the retrained network as files that other programs run."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.network import add_network, network_of
from dnas.cli.own_model import add_model, model_for
from dnas.cli.parser import Command
from dnas.shipping.export import FORMATS, Format, export
from dnas.system.errors import UserError
from dnas.system.lock import locked


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained")
    parser.add_argument(
        "--formats", type=Format, nargs="+", default=list(FORMATS), help="formats to write; by default all"
    )
    parser.add_argument("--output", type=Path | None, default=None, help="folder for the files; by default RUN/export")
    parser.add_argument(
        "--int8",
        action="store_true",
        help="also write network_int8.onnx in 8-bit integers, calibrated on held-out images, and compare the two",
    )
    parser.add_argument("--threads", type=int, default=1, help="number of CPU threads with which --int8 is timed")
    add_network(parser)
    add_model(parser)


def _run(config: Namespace, given: Arguments) -> None:
    if not config.run.is_dir():
        raise FileNotFoundError(f"There is no run folder {config.run}.")
    with locked(config.output or config.run / "export", print):
        _exported(config)


def _exported(config: Namespace) -> None:
    path, why = network_of(config)
    if why:
        print(why)
    output = config.output or config.run / "export"
    for file in export(path, formats=tuple(config.formats), output=output, model=model_for(path, config)):
        checked = "" if file.deviation is None else f", differs from PyTorch by {file.deviation:.1e} at most"
        print(f"{file.format}: {file.path} ({file.num_bytes / 1e6:.2f} MB{checked})")
    if config.int8:
        print(_int8(config))


def _int8(config: Namespace) -> str:
    """The table of network.onnx and network_int8.onnx."""
    from dnas.cli.run_settings import retrained
    from dnas.jobs.images import read_data
    from dnas.jobs.int8 import export_int8
    from dnas.system.display import RichDisplay

    if "onnx" not in config.formats:
        raise UserError("--int8 makes its file of network.onnx: leave --formats out, or name onnx among them.")
    run, job = retrained(config)
    with RichDisplay() as display:
        data = read_data(run, job, display)
    folder = config.output or run.path / "export"
    return export_int8(job, data, folder, threads=config.threads)


COMMAND = Command("export", _fill, _run)
