"""All smoothings keep the contract, and it names what is wrong with one that does not."""

import doctest
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

import dnas.method.smoothing
import dnas.testing.smoothing
from dnas.core.mixture import Mixture
from dnas.core.schedule import Constant
from dnas.method.smoothing import AdversarialSmoothing, RandomSmoothing, Smoothing
from dnas.testing import check_smoothing
from tests.support.contracts import public_parts

EXAMPLES = {
    RandomSmoothing: [RandomSmoothing(), RandomSmoothing(Constant(3.0))],
    AdversarialSmoothing: [AdversarialSmoothing(), AdversarialSmoothing(Constant(1.0), 2, random_start=False)],
}


@pytest.mark.parametrize("smoothing", public_parts(dnas.method.smoothing, Smoothing, EXAMPLES), ids=repr)
def test_every_smoothing_keeps_the_contract(smoothing):
    check_smoothing(smoothing)


def test_the_example_in_the_documentation_runs():
    assert doctest.testmod(dnas.testing.smoothing) == (0, 2)


@dataclass(frozen=True)
class Broken(Smoothing):
    """Leaves the mixtures alone, with one fault."""

    fault: str
    calls: list[int] = field(default_factory=list, compare=False)

    def __call__(
        self,
        mixtures: Mapping[str, Mixture],
        train_loss: Callable[[Mapping[str, Mixture]], Tensor],
        progress: Tensor,
        generator: torch.Generator | None,
    ) -> dict[str, Mixture]:
        found = {name: mixture.with_values(mixture.values.detach()) for name, mixture in mixtures.items()}
        act, pruned = mixtures["act"].values, mixtures["pruned"].values
        match self.fault:
            case "takes global random numbers":
                torch.rand(())
            case "moves a mixture":
                act.mul_(1.001)
            case "fills .grad":
                train_loss(mixtures).backward()
            case "leaves the gradient mode off":
                torch.set_grad_enabled(False)
            case "remembers":
                self.calls.append(1)
            case "is noisy":
                found["gates"] = Mixture(torch.full_like(act, 1 / (2 + next(NOISE))))
            case "forgets a decision":
                del found["gates"]
            case "asks for half":
                train_loss({"act": mixtures["act"]})
            case "flattens":
                found["normal"] = Mixture(mixtures["normal"].values.flatten())
            case "rounds":
                found["act"] = Mixture(act.half())
            case "computes all":
                found["pruned"] = Mixture(pruned)
            case "revives":
                found["pruned"] = mixtures["pruned"].with_values(torch.full_like(pruned, 1 / 3))
            case "passes the graph of what it leaves alone":
                found["normal.edges"] = mixtures["normal.edges"]
            case "keeps a graph":
                found["act"] = Mixture(act.clone().requires_grad_())
            case "is not finite":
                found["act"] = Mixture(act / 0)
            case "leaves the box":
                found["gates"] = Mixture(act + 1)
            case "does not sum to 1":
                found["act"] = Mixture(act / 2)
            case "follows the gradient mode":
                found["gates"] = Mixture(act / (2 if torch.is_grad_enabled() else 3))
        return found


NOISE = iter(range(10**9))


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("takes global random numbers", "changed the random state"),
        ("moves a mixture", "changed mixture act"),
        ("fills .grad", "the .grad of weights"),
        ("leaves the gradient mode off", "changed the gradient mode"),
        ("remembers", "changed itself"),
        ("is noisy", "other numbers with a generator of the same seed"),
        ("forgets a decision", "gives the mixtures"),
        ("asks for half", "asks for the loss of the mixtures"),
        ("flattens", r"gives shape \(6,\) for 'normal'"),
        ("rounds", "gives torch.float16"),
        ("computes all", "changed what is active in 'pruned'"),
        ("revives", "a candidate of 'pruned' that is not active"),
        ("keeps a graph", "keeps a graph in 'act'"),
        ("passes the graph of what it leaves alone", "keeps a graph in 'normal.edges'"),
        ("is not finite", "not finite in 'act'"),
        ("leaves the box", "outside"),
        ("does not sum to 1", "a row of 'act' that does not sum to 1"),
        ("follows the gradient mode", "when the gradient mode is off"),
    ],
)
def test_the_contract_names_what_is_wrong(fault, complaint):
    with torch.enable_grad(), pytest.raises(AssertionError, match=f"Broken .*{complaint}"):
        check_smoothing(Broken(fault))


def test_the_toy_without_a_fault_keeps_the_contract():
    check_smoothing(Broken("none"))
