"""Devices by their names."""

import pytest
import torch

from dnas.system.devices import named_device


def test_devices_are_named_as_torch_names_them():
    assert named_device("cpu") == torch.device("cpu")
    assert named_device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "mps", "meta", "cpu:3", "CPU"])
def test_other_devices_are_refused(name: str):
    with pytest.raises(ValueError, match="expected auto, cpu, cuda or cuda:INDEX"):
        named_device(name)
