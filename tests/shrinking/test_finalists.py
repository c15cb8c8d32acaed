"""Candidates for the smaller network: which are proposed, and which one is taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from dnas.core.run import Run
from dnas.core.schedule import Cosine
from dnas.cost.budget import Budget
from dnas.searching.settings import WeightSGD
from dnas.shrinking.budget import limits_of
from dnas.shrinking.proposals import WidthProposals, values_of
from dnas.shrinking.searchable import make_searchable
from dnas.shrinking.settings import FINALISTS, ShrinkSettings
from dnas.shrinking.shrink import shrink
from dnas.system.errors import UserError
from dnas.training.retrain import RetrainSettings
from tests.support.shrinking import ResNet

SHORT = RetrainSettings(epochs=1, weights=WeightSGD(lr=Cosine(0.01, 0.0)))
SETTINGS = ShrinkSettings(
    steps=4,
    batches=1,
    statistics_batches=1,
    finalists=replace(FINALISTS, num=4, changes=0),
    finalist_pieces=2,
    fine_tuning=SHORT,
    random=0,
    onnx=False,
)


def data() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(8, 3, 8, 8, generator=generator), torch.randint(0, 10, (8,), generator=generator))
        for _ in range(2)
    ]


def test_proposals_use_the_budget_and_come_once_and_the_same_for_a_seed():
    searchable = make_searchable(ResNet(), torch.zeros(1, 3, 8, 8))
    program = searchable.program(8)
    limits = limits_of(Budget(("flops<=40%", "parameters<=90%")), searchable, program)
    scores = {(name, value): float(value) for name, some in program.values.items() for value in some}
    decided = [some.best(scores) for some in (limits, limits.looser(2.0))]

    def proposed(seed: int) -> list:
        proposals = WidthProposals(
            searchable, program, limits.bounds, decided, lambda values: values["stem.0"] > 1, seed
        )
        first = proposals.first(12, random_share=0.25)
        return [*first, *proposals.changes(first[-1].architecture, 3, rung=0)]

    found = proposed(0)
    assert found == proposed(0) != proposed(1)
    assert values_of(found[0].architecture) == decided[0]
    assert [one.source for one in found[9:12]] == ["random"] * 3
    assert len(found) == len({one.architecture.to_json() for one in found}) == 15
    flops, parameters = limits.most
    for one in found[1:]:
        values = values_of(one.architecture)
        assert 0.95 * flops <= searchable.flops.of(values) <= flops
        assert searchable.parameters.of(values) <= parameters
        assert values["stem.0"] > 1 and values == searchable.consistent(values)


class Bottleneck(nn.Module):
    """x + two linear layers with 8 channels between them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(16, 8, bias=False), nn.Linear(8, 16, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.outer(self.inner(x).relu())


def test_a_small_model_has_fewer_proposals_than_are_wanted():
    searchable = make_searchable(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.zeros(1, 4))
    program = searchable.program(4)
    limits = limits_of(Budget(("parameters<=16",)), searchable, program)
    proposals = WidthProposals(searchable, program, limits.bounds, [{"0": 2}], lambda values: True, 0)
    assert [values_of(one.architecture) for one in proposals.first(3, random_share=0.5)] == [{"0": 2}]


def test_a_block_comes_back_as_narrow_as_it_can_be_and_other_widths_pay_for_it():
    """With s, w and h channels there are 4 s + 2 s w + s h + 10 h parameters."""
    first, second, third = (nn.Linear(old, new, bias=False) for old, new in ((4, 16), (16, 12), (12, 10)))
    searchable = make_searchable(nn.Sequential(first, Bottleneck(), second, nn.ReLU(), third), torch.zeros(1, 4))
    program = searchable.program(4)  # w is 2, 4, 6 or 8
    limits = limits_of(Budget(("parameters<=319",)), searchable, program)
    decided = {"1": 0, "0": 12, "1.inner": 0, "2": 12}  # 312 parameters
    proposals = WidthProposals(searchable, program, limits.bounds, [decided], lambda values: True, 0)
    found = [(one.source, values_of(one.architecture)) for one in proposals.first(9, random_share=0.0)]
    narrow = "the decision with 1 as narrow as it can be"
    assert [one for one in found if one[0].startswith(narrow)] == [
        (narrow, {"1": 1, "0": 11, "1.inner": 2, "2": 11}),  # both by one factor: 319
        # A narrower stem alone, 9, would use 300: below 95 % of the budget.
        (f"{narrow} and 2 narrower", {"1": 1, "0": 12, "1.inner": 2, "2": 10}),  # 316
    ]


def test_the_finalist_of_the_least_loss_is_the_result_and_a_stopped_contest_goes_on(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ResNet()
    run = Run(tmp_path / "small")

    def again() -> Any:
        return shrink(model, data(), data(), budget="flops<=40%", settings=SETTINGS, run=run)

    small = again()
    contest = run.child("finalists").load_json("result")
    entries = contest["finalists"]
    last = [one for one in entries if len(one["rungs"]) == 2]
    assert len(entries) == 4 and len(last) == 2
    winner = min(last, key=lambda one: one["rungs"][-1]["loss"])
    assert contest["winner"] == winner["number"]
    kept = winner["architecture"]["decisions"]
    assert small.shrink_report.row("found").values == {name: int(value) for name, value in kept.items()}
    (run.child("finalists").child("001").child("rung_0").path / "judgement.json").unlink()
    (run.child("finalists").path / "result.json").unlink()
    second = again()
    assert run.child("finalists").load_json("result")["winner"] == contest["winner"]
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), second.parameters(), strict=True))


def test_settings_of_finalists_without_effect_are_refused():
    with pytest.raises(UserError, match="have no effect in a shrinking"):
        replace(SETTINGS, finalists=replace(FINALISTS, num=4, channels=16))
    with pytest.raises(UserError, match="finalist_pieces must be at least 1"):
        replace(SETTINGS, finalist_pieces=0)
