"""What an architecture costs equals the count of its evaluation network, in every space."""

import doctest

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import dnas.space.delivered
from dnas.cost.chances import ExpectedCosts
from dnas.cost.counts import flops_of, parameters_of
from dnas.space import DartsSpace, MobileSpace, NasBench201Space, ReducedDartsSpace, TransformerSpace
from dnas.space.delivered import NetworkSizes, SpaceNetwork

SPACES = [
    (DartsSpace(), NetworkSizes(4, 5, 3, 2, 9)),
    (DartsSpace(), NetworkSizes(4, 1, 3, 2, 8)),
    (DartsSpace(edge_weights=True, partial_channels=2), NetworkSizes(4, 3, 3, 1, 64, "imagenet")),
    (ReducedDartsSpace(1), NetworkSizes(4, 3, 3, 2, 8)),
    (ReducedDartsSpace(3), NetworkSizes(4, 3, 3, 2, 8)),
    (ReducedDartsSpace(4), NetworkSizes(4, 3, 3, 2, 8)),
    (NasBench201Space(), NetworkSizes(4, 2, 3, 2, 9)),
    (NasBench201Space(edge_weights=True), NetworkSizes(4, 1, 3, 2, 8)),
    (MobileSpace(layers=2), NetworkSizes(4, 3, 3, 2, 9)),
    (MobileSpace(layers=2, width_multipliers=(0.5, 0.75, 1.25)), NetworkSizes(4, 3, 3, 2, 9)),
    (MobileSpace(layers=1, width_multipliers=(0.5, 1.0)), NetworkSizes(6, 2, 3, 2, 33, "imagenet")),
    (TransformerSpace(blocks=2), NetworkSizes(4, 3, 3, 2, 9)),
]


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.space.delivered).failed == 0


@pytest.mark.parametrize("number", [2, pytest.param(50, marks=pytest.mark.slow)], ids=["two", "fifty"])
@pytest.mark.parametrize(("space", "sizes"), SPACES, ids=lambda value: getattr(value, "name", None))
def test_random_architectures_cost_exactly_what_their_networks_are_counted_to_cost(space, sizes, number):
    delivered = SpaceNetwork(space, sizes)
    flops, parameters = flops_of(delivered), parameters_of(delivered)
    decisions = space.decisions()
    expected = ExpectedCosts(decisions, [flops, parameters])
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(1, sizes.in_channels, sizes.image_size, sizes.image_size)
    for _ in range(number):
        architecture = space.random(generator)
        network = space.network(
            architecture,
            channels=sizes.channels,
            cells=sizes.cells,
            num_classes=sizes.num_classes,
            in_channels=sizes.in_channels,
            stem=sizes.stem,
        ).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(x)
        counted = [counter.get_total_flops(), sum(weight.numel() for weight in network.parameters())]
        kept = architecture.decisions
        assert [flops.of(kept, decisions), parameters.of(kept, decisions)] == counted
        assert expected(architecture.one_hot(decisions, x)).tolist() == counted
