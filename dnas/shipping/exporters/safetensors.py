"""The weights alone in the format of safetensors, network.safetensors (https://github.com/huggingface/safetensors)."""

from __future__ import annotations

import copy

import torch

from dnas.shipping.exporters.exporter import Exporter, Files, Forward, Subject
from dnas.shipping.safetensors_file import SAFETENSORS_FILE, check_installed, tensors_of, to_safetensors
from dnas.training.evaluate import call


def _convert(subject: Subject) -> Files:
    """The state dict, with the entries of an exported program as metadata."""
    return {SAFETENSORS_FILE: to_safetensors(subject.network.state_dict(), subject.metadata)}


def _run(files: Files, subject: Subject) -> Forward:
    """The network with weights of 0, into which those of the file are loaded."""
    network = copy.deepcopy(subject.network)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
    network.load_state_dict(tensors_of(files[SAFETENSORS_FILE], source=SAFETENSORS_FILE))
    return lambda inputs: call(network, inputs)


SAFETENSORS = Exporter("safetensors", SAFETENSORS_FILE, check_installed, _convert, _run)
