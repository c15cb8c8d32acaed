"""The cost of a delivered network as a sum over what is kept."""

import doctest

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import dnas.cost.counts
import dnas.cost.delivered
from dnas.core.architecture import Architecture
from dnas.core.candidates import Zero
from dnas.core.cell import Cell
from dnas.core.choice import Choice, InputChoice
from dnas.core.derive import derive, find_decisions
from dnas.cost.chances import ExpectedCosts
from dnas.cost.counts import flops_of, parameters_of
from dnas.cost.delivered import DerivedNetwork
from dnas.cost.flops import count_flops
from dnas.cost.layout import allowed
from dnas.cost.params import count_parameters
from dnas.cost.program import Program
from dnas.system.errors import UserError


@pytest.mark.parametrize("module", [dnas.cost.counts, dnas.cost.delivered])
def test_examples_in_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


def conv(width: int, kernel: int) -> nn.Module:
    return nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False)


class Own(nn.Module):
    """A choice that stands in two places, inputs, and a cell of which two edges stay."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 3)
        self.first = Choice("op", {"5x5": conv(3, 5), "3x3": conv(3, 3), "skip": nn.Identity()})
        self.second = Choice("op", {"5x5": conv(3, 5), "3x3": conv(3, 3), "skip": nn.Identity()})
        self.inputs = InputChoice("from", ["stem", "first", "second"], num_chosen=2)
        on_edge = [{"none": Zero(), "3x3": conv(3, 3), "1x1": conv(3, 1)} for _ in range(3)]
        edges = [(0, 1), (0, 2), (1, 2)]
        self.cell = Cell("cell", edges, on_edge, num_inputs=1, output=[1, 2], num_kept=1, excluded=["none"])
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        a = self.stem(x)
        b = self.first(a)
        c = self.second(b)
        return self.head(self.cell(self.inputs(a, b, c)).mean(dim=(2, 3)))


def test_a_user_s_own_model_costs_what_its_derived_network_is_counted_to_cost():
    model, x = Own(), torch.zeros(1, 3, 6, 6)
    delivered = DerivedNetwork(model, x)
    flops, parameters = flops_of(delivered), parameters_of(delivered)
    decisions = find_decisions(model)
    program = Program(decisions, allowed(decisions))
    generator = torch.Generator().manual_seed(0)
    expected = ExpectedCosts(decisions, [flops, parameters])
    for _ in range(50):
        scores = dict(zip(program.items, torch.rand(len(program.items), generator=generator).tolist(), strict=True))
        kept = program.best(scores)
        assert kept is not None
        network = derive(model, Architecture(kept))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(x)
        counted = [counter.get_total_flops(), sum(weight.numel() for weight in network.parameters())]
        assert [flops.of(kept, decisions), parameters.of(kept, decisions)] == counted
        assert expected(Architecture(kept).one_hot(decisions, x)).tolist() == counted


class Shared(nn.Module):
    """A layer that stands twice, a choice that stands twice, and layers in candidates of two choices and outside."""

    def __init__(self):
        super().__init__()
        self.twice, both, outside = (nn.Linear(4, 4, bias=False) for _ in range(3))
        own = nn.Linear(4, 4)
        self.first = Choice("first", {"both": both, "skip": nn.Identity(), "outside": outside})
        self.second = Choice("second", {"skip": nn.Identity(), "deep": nn.Sequential(both, own), "both": both})
        self.head = outside

    def forward(self, x):
        return self.head(self.second(self.first(self.twice(self.first(self.twice(x))))))


def test_a_module_in_several_places_counts_once_in_parameters_and_for_each_call_in_flops():
    model, x = Shared(), torch.zeros(1, 4)
    delivered, decisions = DerivedNetwork(model, x), find_decisions(model)
    costs = [flops_of(delivered), parameters_of(delivered)]
    expected = ExpectedCosts(decisions, costs)
    own, calls = {"skip": 0, "deep": 36, "both": 16, "outside": 0}, {"skip": 0, "deep": 2, "both": 1, "outside": 1}
    for first in decisions["first"].candidates:
        for second in decisions["second"].candidates:
            kept = {"first": first, "second": second}
            together = 16 if first == "both" and second != "skip" else 0
            flops = 32 * (3 + 2 * calls[first] + calls[second])
            closed = [flops, 32 + own[first] + own[second] - together]
            network = derive(model, Architecture(kept))
            assert [count_flops(network, x), count_parameters(network)] == closed
            assert [cost.of(kept, decisions) for cost in costs] == closed
            assert expected(Architecture(kept).one_hot(decisions, x)).tolist() == closed


def test_parameters_that_three_choices_share_are_refused_by_name():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(*(Choice(name, {"a": layer, "b": nn.Identity()}) for name in ("one", "two", "three")))
    with pytest.raises(UserError, match=r"candidate 'a' of 'one' and the candidate 'a' of 'two' share weights"):
        parameters_of(DerivedNetwork(model, torch.zeros(1, 4)))


def test_measuring_leaves_the_model_as_it_was():
    model = Own().train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    flops_of(DerivedNetwork(model, torch.zeros(1, 3, 6, 6)))
    assert model.training
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_multiadds_are_half_of_the_flops_in_every_part():
    delivered = DerivedNetwork(Own(), torch.zeros(1, 3, 6, 6))
    flops = flops_of(delivered)
    kept = Program(delivered.decisions, allowed(delivered.decisions)).costliest(flops)
    assert kept is not None
    assert flops.scaled(0.5).of(kept, delivered.decisions) == flops.of(kept, delivered.decisions) / 2
