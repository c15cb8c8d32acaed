"""Successive halving: who stays, newcomers, resuming after a kill anywhere, divergence, and small spaces."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dnas.core.architecture import Architecture
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.core.run import Run
from dnas.core.schedule import Constant, Cosine
from dnas.data.iterable_batches import IterableBatches
from dnas.finalists.contest import Conditions
from dnas.finalists.halving import successive_halving
from dnas.finalists.later_epochs import LaterEpochs
from dnas.finalists.outcome import OPTIMISTIC, Outcome
from dnas.finalists.proposals import Known, Possible, Proposals
from dnas.finalists.same_function import SeenFunctions
from dnas.finalists.settings import FinalistSettings
from dnas.searching.weight_optimizer import WeightSGD
from dnas.system.display import Display, Silent
from dnas.system.errors import UserError
from dnas.task import Classification, Task
from dnas.training.evaluate import evaluate
from dnas.training.retrain import retrain

WIDTHS = {"1": 1, "2": 2, "4": 4, "8": 8}
SGD = WeightSGD(lr=Cosine(0.5, 0.0))
SETTINGS = FinalistSettings(num=4, rungs=2, epochs=1, changes=1, guided_share=0.0, random_share=0.5, weights=SGD)


class Power(nn.Module):
    """x^3, whose training diverges at a high learning rate."""

    def forward(self, x: Tensor) -> Tensor:
        return x**3


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "power": Power}
DECISIONS = {
    "act": Decision("act", "choice", tuple(ACTIVATIONS)),
    "width": Decision("width", "choice", tuple(WIDTHS)),
}


def build(architecture: Architecture) -> nn.Module:
    width = WIDTHS[str(architecture.decisions["width"])]
    act = ACTIVATIONS[str(architecture.decisions["act"])]
    return nn.Sequential(nn.Linear(4, width), act(), nn.Linear(width, 2))


def batches(seed: int) -> IterableBatches:
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(20, 4, generator=generator) for _ in range(3)]
    return IterableBatches([(x, (x.prod(1) > 0).long()) for x in inputs])


def conditions(settings: FinalistSettings = SETTINGS, task: Task = Classification()) -> Conditions:
    return Conditions(build, build, batches(0), batches(1), task, settings)


def at(act: str, width: str) -> Architecture:
    return Architecture({"act": act, "width": width})


def random_one(index: int) -> Architecture:
    generator = torch.Generator().manual_seed(index)
    act, width = (int(torch.randint(len(d.candidates), (), generator=generator)) for d in DECISIONS.values())
    return at(list(ACTIVATIONS)[act], list(WIDTHS)[width])


def equal(decisions: Mapping[str, Decision]) -> dict[str, Mixture]:
    return {name: Mixture(torch.full(decision.shape, 0.25)) for name, decision in decisions.items()}


def proposals(only: Sequence[Architecture] = (), *, knows: bool = True, fits=lambda kept: True) -> Proposals:
    """Of a search that ends with a tanh of width 2; `only` restricts random ones."""
    draw = (lambda index: only[index % len(only)]) if only else random_one
    possible = Possible(DECISIONS, lambda kept: Architecture(dict(kept)), fits, draw, SeenFunctions(build, first()))
    known = Known(at("tanh", "2"), equal(DECISIONS), {1: at("relu", "1"), 2: at("tanh", "2")})
    return Proposals(possible, known if knows else None, seed=0)


def first():
    return next(iter(batches(1).epoch(0)))


class KilledAt(Display):
    """Ends the process, as it were, at an update."""

    def __init__(self, update: int) -> None:
        self.left = update

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def say(self, text: str) -> None: ...


def without_times(outcome: Outcome) -> dict:
    return {name: value for name, value in outcome.to_data().items() if name not in ("seconds", "compute")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Outcome]:
    """A contest that nobody stopped."""
    path = tmp_path_factory.mktemp("whole")
    return path, successive_halving(proposals(), conditions(), run=Run(path))


def test_the_better_half_stays_and_the_winner_says_where_it_came_from(whole):
    path, outcome = whole
    entered, newcomers = outcome.finalists[:4], outcome.finalists[4:]
    assert [one.source for one in entered[:2]] == ["the search's result", "epoch 1"]
    assert [one.source for one in entered[2:]] == ["random", "random"]
    (newcomer,) = newcomers
    assert newcomer.source.startswith("a change in ")
    ranked = sorted(outcome.finalists, key=lambda one: one.judgements[0].order)
    assert {one.number for one in outcome.finalists if len(one.judgements) == 2} == {one.number for one in ranked[:2]}
    assert outcome.winner in outcome.equals
    assert outcome.winner.flops == min(one.flops for one in outcome.equals)
    data = Run(path / "finalists").load_json("result")
    assert (data["winner"], data["source"]) == (outcome.winner.number, outcome.winner.source)
    assert data["figures"] == OPTIMISTIC
    assert OPTIMISTIC in (path / "finalists" / "result.txt").read_text()
    assert outcome.winner.source in str(outcome)


def test_a_second_rung_goes_on_with_weights_and_data_from_where_the_first_ended(whole):
    path, outcome = whole
    one = next(one for one in outcome.finalists if len(one.judgements) == 2)
    torch.manual_seed(SETTINGS.seed)
    network = build(one.architecture)
    for rung in SETTINGS.schedule:
        retrain(network, LaterEpochs(batches(0), rung.first_epoch), settings=SETTINGS.training(rung), display=Silent())
        assert evaluate(network, batches(1)).top1 == one.judgements[rung.number].value
    kept = torch.load(path / "finalists" / f"{one.number:03d}" / "rung_1" / "network.pt", weights_only=True)
    assert all(torch.equal(kept[name], weight) for name, weight in network.state_dict().items())


@pytest.mark.parametrize("update", [1, 4, 11, 17, 26])  # of 4 + 1 + 2 trainings of 3 to 6 updates
def test_a_contest_that_was_killed_anywhere_goes_on_to_the_same_end(whole, tmp_path, update: int):
    with pytest.raises(KeyboardInterrupt):
        successive_halving(proposals(), conditions(), run=Run(tmp_path), display=KilledAt(update))
    assert not (tmp_path / "finalists" / "result.json").exists()
    outcome = successive_halving(proposals(), conditions(), run=Run(tmp_path))
    assert without_times(outcome) == without_times(whole[1])


def test_a_finished_contest_is_read_and_not_trained_again(whole):
    path, outcome = whole
    again = successive_halving(proposals(), conditions(), run=Run(path), display=KilledAt(1))
    assert again.to_data() == outcome.to_data()


def test_a_folder_of_other_settings_or_proposals_is_refused(whole):
    path, _ = whole
    with pytest.raises(UserError, match="begun with other settings: epochs is 1 there and 2 here"):
        successive_halving(proposals(), conditions(replace(SETTINGS, epochs=2)), run=Run(path))
    with pytest.raises(UserError, match="another architecture than finalist 0"):
        successive_halving(proposals(knows=False), conditions(), run=Run(path))


def test_a_training_that_diverges_is_dropped_and_named_also_when_the_contest_goes_on(tmp_path):
    wild = replace(SETTINGS, weights=WeightSGD(lr=Constant(40.0), clip=None), changes=0)
    only = [at("power", "8"), at("power", "4"), at("relu", "1")]
    for _ in range(2):
        outcome = successive_halving(proposals(only, knows=False), conditions(wild), run=Run(tmp_path))
        failed = [one.number for one in outcome.finalists if one.failure]
        assert failed == [0, 1]
        assert "diverged" in outcome.finalists[0].failure
        assert outcome.winner.number == 2


def test_where_all_trainings_diverge_the_searchs_result_stays(tmp_path):
    wild = replace(SETTINGS, weights=WeightSGD(lr=Constant(1e30), clip=None))
    outcome = successive_halving(proposals(), conditions(wild), run=Run(tmp_path))
    assert outcome.winner.source == "the search's result"
    assert outcome.equals == ()
    assert "All trainings of finalists diverged" in str(outcome)
    assert outcome.table().count("diverged") == len(outcome.finalists)


def test_guided_finalists_take_part_from_the_first_rung_on_and_a_killed_contest_proposes_them_again(tmp_path):
    guided = conditions(replace(SETTINGS, num=5, guided_share=0.4, changes=0))
    with pytest.raises(KeyboardInterrupt):
        successive_halving(proposals(), guided, run=Run(tmp_path / "killed"), display=KilledAt(12))
    again, whole = (successive_halving(proposals(), guided, run=Run(tmp_path / name)) for name in ("killed", "whole"))
    assert without_times(again) == without_times(whole)
    assert [one.source for one in whole.finalists[3:]] == ["model of trainings"] * 2
    assert all(one.judgements for one in whole.finalists)
    assert sum(len(one.judgements) == 2 for one in whole.finalists) == 3


def test_a_space_with_one_function_has_nothing_to_train(tmp_path):
    possible = Possible(
        {"act": Decision("act", "choice", ("relu",))},
        lambda kept: at("relu", "1"),
        lambda kept: True,
        lambda index: at("relu", "1"),
        SeenFunctions(build, first()),
    )
    outcome = successive_halving(Proposals(possible, None, 0), conditions(), run=Run(tmp_path))
    assert (len(outcome.finalists), outcome.winner.architecture) == (1, at("relu", "1"))
    assert "There is 1 finalist instead of 4" in str(outcome) and "nothing to choose" in str(outcome)
    assert outcome.table().startswith("nothing was judged")


def test_more_finalists_than_functions_are_said(tmp_path):
    only = [at("relu", "1"), at("tanh", "1"), at("relu", "2")]
    outcome = successive_halving(
        proposals(only, knows=False), conditions(replace(SETTINGS, changes=0)), run=Run(tmp_path)
    )
    assert "There are 3 finalists instead of 4" in str(outcome)


def test_within_a_budget_only_what_fits_is_proposed(tmp_path):
    def fits(kept) -> bool:
        return kept["width"] in ("1", "2")

    found = proposals(fits=fits)
    drawn = [*found.first(6, 0.5), *found.changes(at("tanh", "2"), 9, rung=0)]
    assert {one.architecture.decisions["width"] for one in drawn} == {"1", "2"}
    assert len(drawn) == 6  # all of three activations and two widths


def test_balanced_accuracy_decides_where_the_task_asks_for_it(tmp_path):
    task = Classification(balanced=True)
    outcome = successive_halving(proposals(), conditions(task=task), run=Run(tmp_path))
    assert outcome.winner.last.metric == "balanced_accuracy"
    assert "balanced accuracy" in str(outcome)
