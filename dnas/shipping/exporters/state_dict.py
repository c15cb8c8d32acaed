"""A state dict, network.pt, beside what belongs to it: a folder that `dnas.load` reads."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dnas.core.run import WEIGHTS_FILE
from dnas.shipping.exporters.exporter import Exporter, Files, Forward, Subject, needs_nothing
from dnas.training.evaluate import call


def _convert(subject: Subject) -> Files:
    with tempfile.TemporaryDirectory() as draft:
        subject.save(Path(draft))
        # Weights first: a folder with a network.json or a module.json counts as holding a network.
        paths = sorted(Path(draft).iterdir(), key=lambda path: (path.name != WEIGHTS_FILE, path.name))
        return {path.name: path.read_bytes() for path in paths}


def _run(files: Files, subject: Subject) -> Forward:
    with tempfile.TemporaryDirectory() as draft:
        for name, contents in files.items():
            (Path(draft) / name).write_bytes(contents)
        network = subject.load(Path(draft))
    return lambda inputs: call(network, inputs)


STATE_DICT = Exporter("state_dict", WEIGHTS_FILE, needs_nothing, _convert, _run)
