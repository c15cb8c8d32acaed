"""All discretizations keep the contract, and it names what is wrong with one that does not."""

import doctest
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch

import dnas.method.discretization
import dnas.testing.discretization
from dnas.core.architecture import CellArchitecture, Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.method.discretization import Argmax, Discretization
from dnas.method.discretization.base import Evaluate, Train
from dnas.testing import check_discretization
from tests.support.contracts import public_parts


@pytest.mark.parametrize("discretization", public_parts(dnas.method.discretization, Discretization, {}), ids=repr)
def test_every_discretization_keeps_the_contract(discretization):
    check_discretization(discretization)


def test_the_example_in_the_documentation_runs():
    assert doctest.testmod(dnas.testing.discretization) == (0, 2)


@dataclass(frozen=True)
class Broken(Discretization):
    """Argmax with one fault."""

    fault: str
    calls: list[int] = field(default_factory=list, compare=False)

    def __call__(
        self,
        decisions: Mapping[str, Decision],
        mixtures: Mapping[str, Mixture],
        *,
        evaluate: Evaluate,
        train: Train,
    ) -> dict[str, Kept]:
        kept = Argmax()(decisions, mixtures, evaluate=evaluate, train=train)
        cell = kept["normal"]
        assert isinstance(cell, CellArchitecture)
        match self.fault:
            case "takes random numbers":
                torch.rand(())
            case "takes Python's random numbers":
                random.random()
            case "moves a mixture":
                mixtures["act"].values.mul_(1.001)
            case "remembers":
                self.calls.append(1)
            case "evaluates unasked":
                evaluate({"act": ((1,),)})
            case "trains unasked":
                train(1, None)
            case "trains for nothing":
                train(0, None)
            case "asks about nothing there":
                evaluate({"act": ((7,),)})
            case "asks about another decision":
                evaluate({"edge": ((0,),)})
            case "forgets a decision":
                del kept["from"]
            case "invents a candidate":
                kept["act"] = "pool"
            case "keeps what is excluded":
                kept["act"] = "none"
            case "keeps what is not active":
                kept["act"] = "skip_connect"
            case "keeps all edges":
                kept["normal"] = Argmax()(
                    {"normal": replace(decisions["normal"], num_kept=None)}, mixtures, evaluate=evaluate, train=train
                )["normal"]
            case "drops a node":
                kept["normal"] = CellArchitecture(tuple(e for e in cell.edges if e.target != 3), cell.output)
            case "alternates":
                kept["from"] = ("a",) if next(NOISE) % 2 else ("b",)
        return kept


NOISE = iter(range(10**9))


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("takes random numbers", "changed the random state"),
        ("takes Python's random numbers", "changed the random state of Python"),
        ("moves a mixture", "changed mixture act"),
        ("remembers", "changed itself"),
        ("evaluates unasked", "says that it does not need training"),
        ("trains unasked", "says that it does not need training"),
        ("trains for nothing", "trains for 0 epochs"),
        ("asks about nothing there", r"asks about the candidates \(\(7,\),\) of 'act'"),
        ("asks about another decision", "asks about the candidates .* of 'edge'"),
        ("forgets a decision", "does not fit"),
        ("invents a candidate", "does not fit: .* no candidate 'pool'"),
        ("keeps what is excluded", "keeps 'none' of 'act', excluded there"),
        ("keeps what is not active", "keeps 'skip_connect' of 'act', which is not active there"),
        ("keeps all edges", "keeps 3 inputs of state 3 of 'normal'"),
        ("drops a node", "does not fit"),
        ("alternates", "something else when called again"),
    ],
)
def test_the_contract_names_what_is_wrong(fault, complaint):
    with pytest.raises(AssertionError, match=f"Broken .*{complaint}"):
        check_discretization(Broken(fault))


def test_the_toy_without_a_fault_keeps_the_contract():
    check_discretization(Broken("none"))
