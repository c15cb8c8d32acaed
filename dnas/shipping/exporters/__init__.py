"""One file for each format that a trained network is exported to. A new one is a file and a line in EXPORTERS."""

from dnas.shipping.exporters.exporter import Exporter, Subject
from dnas.shipping.exporters.onnx_graph import ONNX
from dnas.shipping.exporters.safetensors import SAFETENSORS
from dnas.shipping.exporters.state_dict import STATE_DICT
from dnas.shipping.exporters.torch_program import TORCH

EXPORTERS: tuple[Exporter, ...] = (ONNX, TORCH, STATE_DICT, SAFETENSORS)

__all__ = ["EXPORTERS", "Exporter", "Subject"]
