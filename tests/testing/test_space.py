"""All spaces keep the contract, and it names what is wrong with one that does not."""

import doctest
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import dnas.space
import dnas.testing.space
from dnas.core.architecture import Architecture
from dnas.core.choice import Choice
from dnas.core.decision import Decision
from dnas.core.mixture import uniform
from dnas.core.schedule import Linear
from dnas.method.discretization.genome import sites, size
from dnas.space import DartsSpace, MobileSpace, NasBench201Space, ReducedDartsSpace, Space, Stem, TransformerSpace
from dnas.testing import check_space
from tests.support.contracts import public_parts

EXAMPLES: Mapping[type, tuple[Space, ...]] = {
    DartsSpace: (
        DartsSpace(nodes=2),
        DartsSpace(nodes=2, candidates=("none", "skip_connect", "sep_conv_3x3"), edge_weights=True),
        DartsSpace(nodes=2, partial_channels=4),
        DartsSpace(nodes=2, auxiliary_skip=Linear(1.0, 0.0), drop_path=Linear(0.0, 0.2)),
    ),
    ReducedDartsSpace: tuple(ReducedDartsSpace(number=number) for number in (1, 2, 3, 4)),
    NasBench201Space: (NasBench201Space(), NasBench201Space(edge_weights=True, partial_channels=2)),
    MobileSpace: (MobileSpace(layers=2, stages=2), MobileSpace(layers=1, stages=2, width_multipliers=(0.5, 1.0))),
    TransformerSpace: (TransformerSpace(blocks=2, patch_size=4),),
}
SPACES = public_parts(dnas.space, Space, EXAMPLES)


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_every_space_keeps_the_contract(space: Space):
    # One cell of NAS-Bench-201 is three; of two cells of DARTS the second is a reduction cell.
    check_space(space, cells=1 if isinstance(space, NasBench201Space) else 2, image_size=8)


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_the_size_of_our_spaces_is_all_that_their_decisions_leave_open(space: Space):
    decisions = space.decisions()
    equal = {name: uniform(decision.shape, torch.empty(0)) for name, decision in decisions.items()}
    assert space.size() == size(sites(decisions, equal))


def test_the_example_in_the_documentation_runs():
    assert doctest.testmod(dnas.testing.space) == (0, 2)


class Scale(nn.Module):
    """x times a weight, and noise where asked for."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


class Off(Choice):
    """A choice whose derived module is another than it was."""

    def plain(self, kept: Any) -> nn.Module:
        return nn.Sequential(super().plain(kept), nn.Tanh())


CANDIDATES = ("none", "scale", "tanh")


@dataclass(frozen=True)
class Broken(Space):
    """Two choices, with one fault."""

    name: ClassVar[str] = "broken"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "two choices"

    fault: str
    calls: list[int] = field(default_factory=list, compare=False)

    @property
    def arguments(self) -> dict[str, Any]:
        if self.fault == "has no JSON":
            return {"at": torch.zeros(1)}
        return {"at": (1,)} if self.fault == "has a tuple" else {}

    def decisions(self) -> dict[str, Decision]:
        excluded = () if self.fault == "forgets what is excluded" else ("none",)
        found = {name: Decision(name, "choice", CANDIDATES, excluded=excluded) for name in ("a", "b")}
        if self.fault == "forgets a decision":
            del found["b"]
        return {"c" if self.fault == "misnames a decision" else name: one for name, one in found.items()}

    def _size(self, channels: int, num_classes: int) -> None:
        if self.fault != "accepts nothing" and min(channels, num_classes) < 1:
            raise ValueError("numbers below 1")

    def model(
        self, *, channels: int, cells: int, num_classes: int, in_channels: int = 3, stem: Stem = "cifar"
    ) -> nn.Sequential:
        self._size(channels, num_classes)
        kind = Off if self.fault == "derives another" else Choice

        def choice(name: str) -> Choice:
            candidates = {"none": nn.Dropout(), "scale": Scale(channels), "tanh": nn.Tanh()}
            return kind(name, candidates, excluded=("none",))

        return nn.Sequential(
            nn.Conv2d(in_channels, max(channels, 1), 1),
            choice("a"),
            choice("b"),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(max(channels, 1), num_classes),
        )

    def network(
        self,
        architecture: Architecture,
        *,
        channels: int,
        cells: int,
        num_classes: int,
        in_channels: int = 3,
        stem: Stem = "cifar",
        auxiliary: bool = False,
    ) -> nn.Module:
        self.check(architecture)
        if self.fault == "remembers":
            self.calls.append(1)
        model = self.model(channels=channels, cells=cells, num_classes=num_classes, in_channels=in_channels)
        if self.fault == "keeps choices":
            return model
        if self.fault == "is not seeded":
            torch.seed()
            nn.init.normal_(model[-1].weight)  # type: ignore[arg-type]
        if self.fault == "leaves out the classifier":
            del model[-1]
        if self.fault == "divides by zero":
            nn.init.constant_(model[-1].weight, torch.nan)  # type: ignore[arg-type]
        return dnas.derive(model, replace(architecture, decisions=dict(architecture.decisions)))

    def random(self, generator: torch.Generator) -> Architecture:
        count = 3 if self.fault in ("draws what is excluded", "forgets what is excluded") else 2
        kept = {}
        for name in ("a", "b"):
            if self.fault == "takes global random numbers":
                index = int(torch.randint(2, ()))
            else:
                index = int(torch.randint(count, (), generator=generator))
            kept[name] = CANDIDATES[3 - count + (0 if self.fault == "draws one" else index)]
        if self.fault == "invents a candidate":
            kept["a"] = "pool"
        return Architecture(kept) if self.fault == "stamps nothing" else self.architecture(kept)

    def size(self) -> int:
        return {"counts too few": 1, "counts too many": 5}.get(self.fault, 9 if "excluded" in self.fault else 4)

    def check(self, architecture: Architecture) -> None:
        if self.fault == "refuses its own":
            raise ValueError("not mine")
        if self.fault != "accepts others" and architecture.space != self.name:
            raise ValueError("another space")


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("has no JSON", "arguments that are not JSON"),
        ("has a tuple", "arguments that JSON changes"),
        ("misnames a decision", "calls the decision '[ab]' 'c'"),
        ("forgets a decision", "draws what does not fit: The architecture decides"),
        ("forgets what is excluded", "has other decisions than its supernet"),
        ("invents a candidate", "draws what does not fit: .*'pool'"),
        ("refuses its own", "draws what does not fit: not mine"),
        ("stamps nothing", "stamps .*'module'"),
        ("draws what is excluded", "draws \\['none'\\] of '[ab]', excluded there"),
        ("takes global random numbers", "changed the random state"),
        ("draws one", "draws the same each time, but says that there are 4"),
        ("counts too few", "says that 1 can be drawn; [234] were, and the decisions leave 4 open"),
        ("counts too many", "says that 5 can be drawn; [234] were, and the decisions leave 4 open"),
        ("derives another", "differs from the supernet under one-hot mixtures"),
        ("keeps choices", "leaves something searchable"),
        ("is not seeded", "builds another network from the same seed"),
        ("leaves out the classifier", r"has a network that gives \(2, 8\) instead of logits"),
        ("divides by zero", "gives NaN or infinity"),
        ("remembers", "changed itself"),
        ("accepts others", "accepts an architecture of another space"),
        ("accepts nothing", "accepts a supernet of 0 channels"),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_the_contract_names_what_is_wrong(fault: str, complaint: str):
    with pytest.raises(AssertionError, match=f"Broken .*{complaint}"):
        check_space(Broken(fault), image_size=4)


def test_the_toy_without_a_fault_keeps_the_contract():
    check_space(Broken("none"), image_size=4)
