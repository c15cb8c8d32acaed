"""All relaxations keep the contract, and it names what is wrong with one that does not."""

import doctest
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

import dnas.method.relaxation
import dnas.testing.relaxation
from dnas.core.mixture import Mixture
from dnas.core.schedule import Constant, Linear
from dnas.method.relaxation import GumbelSoftmax, ReinMax, Relaxation, Sigmoid, Softmax
from dnas.testing import check_relaxation
from tests.support.contracts import public_parts

EXAMPLES = {
    GumbelSoftmax: [
        GumbelSoftmax(),
        GumbelSoftmax(hard=False),
        GumbelSoftmax(Constant(0.03), hard=False),
        GumbelSoftmax(compute_all=True),
    ],
    ReinMax: [ReinMax(), ReinMax(Linear(3.0, 1.0))],
}


@pytest.mark.parametrize("relaxation", public_parts(dnas.method.relaxation, Relaxation, EXAMPLES), ids=repr)
def test_every_relaxation_keeps_the_contract(relaxation):
    check_relaxation(relaxation)


def test_the_example_in_the_documentation_runs():
    assert doctest.testmod(dnas.testing.relaxation) == (0, 2)


@dataclass(frozen=True)
class Broken(Relaxation):
    """Softmax with one fault."""

    fault: str
    calls: list[int] = field(default_factory=list, compare=False)

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        values, active = alpha.softmax(-1), None
        ruled_out = alpha == -torch.inf
        match self.fault:
            case "takes global random numbers":
                torch.rand(())
            case "moves alpha":
                alpha.data.nan_to_num_(neginf=-torch.inf).mul_(1.001)
            case "leaves the gradient mode off":
                torch.set_grad_enabled(False)
            case "remembers":
                self.calls.append(1)
            case "is noisy":
                values = (alpha * (1 + next(NOISE) / 100)).softmax(-1)
            case "ignores the generator":
                with torch.random.fork_rng():
                    torch.seed()
                    values = (alpha + torch.rand(alpha.shape)).softmax(-1)
            case "flattens":
                values = values.flatten()[None]
            case "rounds":
                values = values.to(torch.bfloat16)
            case "is not finite":
                values = values / 0.0
            case "is negative":
                values = values + torch.tensor([-1.0, 1.0, 0.0])
            case "revives":
                values = (alpha.nan_to_num(neginf=-40.0)).softmax(-1)
            case "does not sum to 1":
                values = values / 2
            case "cuts the graph":
                values = values.detach()
            case "keeps the graph":
                with torch.enable_grad():
                    values = alpha.softmax(-1)
            case "has no finite gradient":
                values = values + 0 * (values - values.detach()).abs().sqrt()
            case "has a gradient at what is ruled out":
                values = torch.where(ruled_out, Leak.apply(alpha), values)
            case "differs without a gradient":
                values = values if torch.is_grad_enabled() else values.roll(1, -1).masked_fill(ruled_out, 0)
            case "names too few rows":
                active = ()
            case "names what is not there":
                active = tuple((99,) for _ in range(values.numel() // values.shape[-1]))
            case "names too little":
                active = tuple((int(k),) for k in values.argmax(-1).flatten())
            case "names what is ruled out":
                active = tuple((0, 1, 2) for _ in range(values.numel() // values.shape[-1]))
        return Mixture(values, active)

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        if self.fault == "has a random mean":
            return Mixture((alpha + torch.rand(alpha.shape, generator=MEAN)).softmax(-1))
        if self.fault == "has gates without saying so":
            return Mixture(alpha.sigmoid())
        return Softmax().expected(alpha, progress)


class Leak(torch.autograd.Function):
    """0, with gradient 1."""

    @staticmethod
    def forward(ctx, alpha):
        return torch.zeros_like(alpha)

    @staticmethod
    def backward(ctx, *gradients):
        return torch.ones_like(gradients[0])


NOISE = iter(range(10**9))
MEAN = torch.Generator()


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("takes global random numbers", "changed the random state"),
        ("moves alpha", "changed alpha"),
        ("leaves the gradient mode off", "changed the gradient mode"),
        ("remembers", "changed itself"),
        ("is noisy", "other numbers from a generator of the same seed"),
        ("ignores the generator", "other numbers from a generator of the same seed"),
        ("flattens", "gives shape"),
        ("rounds", "gives torch.bfloat16"),
        ("is not finite", "a value that is not finite"),
        ("is negative", "a negative value"),
        ("revives", "weight to a candidate that is ruled out"),
        ("does not sum to 1", "sum to 1 in the mean but not in a sample"),
        ("cuts the graph", "no graph"),
        ("keeps the graph", "keeps a graph"),
        ("has no finite gradient", "a gradient that is not finite"),
        ("has a gradient at what is ruled out", "a gradient at a candidate that is ruled out"),
        ("differs without a gradient", "other numbers without a gradient"),
        ("names too few rows", "active candidates of 0 rows"),
        ("names what is not there", "names the active candidates"),
        ("names too little", "a candidate that is not active"),
        ("names what is ruled out", "a ruled-out candidate as active"),
        ("has a random mean", "two different expected mixtures"),
        ("has gates without saying so", "has no gates, but gives expected rows that do not sum to 1"),
    ],
)
def test_the_contract_names_what_is_wrong(fault, complaint):
    with torch.enable_grad(), pytest.raises(AssertionError, match=f"Broken .*{complaint}"):
        check_relaxation(Broken(fault))


def test_the_toy_without_a_fault_keeps_the_contract():
    check_relaxation(Broken("none"))


@dataclass(frozen=True)
class WideGates(Sigmoid):
    """Gates that open too far."""

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        return Mixture(2 * alpha.sigmoid())

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        return self.expected(alpha, progress)


def test_gates_above_1_are_named():
    with pytest.raises(AssertionError, match="WideGates has gates, and gives one above 1"):
        check_relaxation(WideGates())


class Unequal(Softmax):
    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = Softmax.__hash__


def test_a_part_that_differs_from_its_copy_is_named():
    with pytest.raises(AssertionError, match="not equal to its pickled copy"):
        check_relaxation(Unequal())
