"""All penalties keep the contract, and it names what is wrong with one that does not."""

import doctest
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

import dnas.method.penalty
import dnas.testing.penalty
from dnas.core.mixture import Mixture
from dnas.method.penalty import ExpectedCost, Penalty
from dnas.testing import check_penalty
from tests.support.contracts import public_parts

EXAMPLES = {ExpectedCost: [ExpectedCost({"act": [1.0, 2.0, 4.0], "normal": [[0.0, 1.0, 3.0]] * 2}, target=3.0)]}


@pytest.mark.parametrize("penalty", public_parts(dnas.method.penalty, Penalty, EXAMPLES), ids=repr)
def test_every_penalty_keeps_the_contract(penalty):
    check_penalty(penalty)


def test_the_example_in_the_documentation_runs():
    assert doctest.testmod(dnas.testing.penalty) == (0, 3)


@dataclass(frozen=True)
class Broken(Penalty):
    """The loss and some squares, with one fault."""

    fault: str
    calls: list[int] = field(default_factory=list, compare=False)

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        m = mixtures["act"].values
        result = loss + alphas["act"].square().sum() + m.square().sum()
        match self.fault:
            case "takes random numbers":
                torch.rand(())
            case "moves alphas":
                alphas["normal"].data.mul_(1.001)
            case "moves a mixture":
                m.data.mul_(1.001)
            case "fills .grad":
                (2 * loss).backward(retain_graph=True)
            case "leaves the gradient mode off":
                torch.set_grad_enabled(False)
            case "remembers":
                self.calls.append(1)
            case "is noisy":
                result = result + next(NOISE)
            case "is a vector":
                result = result + m
            case "widens":
                result = result.double()
            case "is not finite":
                result = result / 0.0
            case "cuts the graph":
                result = result.detach()
            case "drops the loss":
                result = result - loss
            case "takes logarithms":
                result = result + (m * (m.detach() > 0)).sum() - (m * m.log()).nansum()
            case "looks for a graph":
                result = result + (1 if loss.requires_grad else 2)
        return result


NOISE = iter(range(10**9))


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("takes random numbers", "changed the random state"),
        ("moves alphas", "changed alphas normal"),
        ("moves a mixture", "changed mixture act"),
        ("fills .grad", "changed the .grad of loss"),
        ("leaves the gradient mode off", "changed the gradient mode"),
        ("remembers", "changed itself"),
        ("is noisy", "another number when called again"),
        ("is a vector", r"gives shape \(3,\)"),
        ("widens", "gives torch.float64 for a loss in torch.float32"),
        ("is not finite", "a value that is not finite"),
        ("cuts the graph", "without a graph"),
        ("drops the loss", "drops the loss"),
        ("takes logarithms", "a gradient in mixture act that is not finite"),
        ("looks for a graph", "another number on detached arguments"),
    ],
)
def test_the_contract_names_what_is_wrong(fault, complaint):
    with torch.enable_grad(), pytest.raises(AssertionError, match=f"Broken .*{complaint}"):
        check_penalty(Broken(fault))


def test_the_toy_without_a_fault_keeps_the_contract():
    check_penalty(Broken("none"))
