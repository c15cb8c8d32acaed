"""A state dict, network.pt, beside network.json and architecture.json: a folder that `dnas.load` reads."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from dnas.core.run import Run
from dnas.shipping.exporters.exporter import Exporter, Files, Forward, Subject, needs_nothing
from dnas.shipping.load import load
from dnas.shipping.package import SPEC_FILE, WEIGHTS_FILE, save_network
from dnas.shipping.spec import SpaceBuilder

_ARCHITECTURE_FILE = "architecture.json"


def _convert(subject: Subject) -> Files:
    spec = subject.spec
    if isinstance(spec.builder, SpaceBuilder):
        spec = replace(spec, builder=replace(spec.builder, auxiliary=False))  # the loaded network has no auxiliary head
    with tempfile.TemporaryDirectory() as draft:
        save_network(Run(draft), subject.network, spec)
        spec.architecture.save(Path(draft) / _ARCHITECTURE_FILE)
        # Weights first, as `save_network` writes them: a folder with a network.json counts as holding a network.
        return {name: (Path(draft) / name).read_bytes() for name in (WEIGHTS_FILE, SPEC_FILE, _ARCHITECTURE_FILE)}


def _run(files: Files, subject: Subject) -> Forward:
    with tempfile.TemporaryDirectory() as draft:
        for name, contents in files.items():
            (Path(draft) / name).write_bytes(contents)
        return load(draft, model=subject.model)


STATE_DICT = Exporter("state_dict", WEIGHTS_FILE, needs_nothing, _convert, _run)
