"""A torch.export program, network.pt2."""

from __future__ import annotations

import io

import torch

from dnas.shipping.exporters.exporter import Exporter, Files, Forward, Subject, needs_nothing
from dnas.training.evaluate import call

_FILE = "network.pt2"


def _convert(subject: Subject) -> Files:
    """The program with the metadata as extra files."""
    from dnas.shipping.exporters.trace import quiet

    buffer = io.BytesIO()
    with quiet():
        torch.export.save(subject.program, buffer, extra_files=dict(subject.metadata))
    return {_FILE: buffer.getvalue()}


def _run(files: Files, subject: Subject) -> Forward:
    from dnas.shipping.exporters.trace import quiet

    with quiet():
        network = torch.export.load(io.BytesIO(files[_FILE])).module()
    return lambda inputs: call(network, inputs)


TORCH = Exporter("torch", _FILE, needs_nothing, _convert, _run)
