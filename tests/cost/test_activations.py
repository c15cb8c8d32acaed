"""The peak of a network's activations, by hand."""

import doctest

import pytest
import torch
from torch import nn

import dnas.cost.activations
from dnas.cost.activations import peak_activation_bytes
from dnas.space import NasBench201Space
from dnas.space.delivered import NetworkSizes, SpaceNetwork


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.cost.activations).failed == 0


def conv(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 1, bias=False)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_chain_holds_two_neighbours_and_the_input(device):
    network = nn.Sequential(conv(1, 8), conv(8, 16), conv(16, 2)).eval().to(device)
    pixels = 4 * 4 * 4  # of 4 bytes
    assert peak_activation_bytes(network, torch.zeros(1, 1, 4, 4, device=device)) == pixels * (1 + 8 + 16)


def test_what_a_shortcut_waits_for_stays():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = conv(4, 16), conv(16, 4)

        def forward(self, x):
            y = self.first(x)
            y = torch.relu(y)
            return x + self.second(y)

    pixels = 4 * 4 * 4
    # Input, first result and its ReLU; later input, ReLU and second result are less.
    assert peak_activation_bytes(Residual().eval(), torch.zeros(1, 4, 4, 4)) == pixels * (4 + 16 + 16)


def test_views_share_the_memory_that_they_look_at():
    class Half(nn.Module):
        def forward(self, x):
            return torch.relu(x[:, :2].permute(0, 2, 3, 1))

    assert peak_activation_bytes(Half(), torch.zeros(1, 4, 4, 4)) == 64 * 4 + 64 * 2


def test_a_network_of_a_space_takes_about_as_much_on_meta_as_where_it_computes():
    kept = NasBench201Space().random(torch.Generator().manual_seed(0)).decisions
    sizes = NetworkSizes(4, 1, 3, 2, 8)
    peaks = []
    for device in ("meta", "cpu"):
        delivered = SpaceNetwork(NasBench201Space(), sizes, device)
        peaks.append(peak_activation_bytes(delivered.network(kept), delivered.inputs))
    # Batch norm on 'meta' gives out statistics that it does not in evaluation on the CPU.
    assert peaks[0] == pytest.approx(peaks[1], rel=0.01)
