"""One call searches a model of one's own and takes the best of its finalists."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dnas import Budget, Choice, FinalistSettings, Run, SearchResult, SearchSettings, Silent, search_with_finalists
from dnas.core.derive import derive
from dnas.system.errors import UserError
from dnas.training.evaluate import evaluate

FINALISTS = FinalistSettings(num=3, rungs=1, epochs=1, changes=0)


class Net(nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(0)
        acts = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid()}
        wide = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))
        super().__init__(Choice("layer", {"wide": wide, "skip": nn.Identity()}), Choice("act", acts), nn.Linear(4, 2))


def data(seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    inputs = torch.randn(3, 12, 4, generator=torch.Generator().manual_seed(seed))
    return [(x, (x.sum(1) > 0).long()) for x in inputs]


def searched(run: Path, finalists: FinalistSettings = FINALISTS, budget: Budget | None = None) -> SearchResult:
    settings = SearchSettings(epochs=2, budget=budget)
    return search_with_finalists(
        Net(), data(0), data(1), run=run, settings=settings, finalists=finalists, display=Silent()
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, SearchResult]:
    path = tmp_path_factory.mktemp("whole")
    return path, searched(path)


def test_the_winner_is_the_result_of_the_search_and_of_its_folder(whole):
    path, result = whole
    table = Run(path / "finalists").load_json("result")
    best = max(table["finalists"], key=lambda one: (one["rungs"][0]["value"], -one["rungs"][0]["loss"]))
    winner = table["finalists"][table["winner"]]
    assert best["number"] in table["equals"] and table["winner"] in table["equals"]
    assert Run(path).load_architecture() == result.architecture
    assert winner["architecture"] == result.architecture.to_data()
    assert table["finalists"][0]["source"] == "the search's result"
    assert Run(path).load_json("search")["finalists_seconds"] == table["seconds"]


def test_a_finalist_starts_from_the_weights_that_the_model_came_with(whole):
    _, result = whole
    network, fresh = result.network(), derive(Net(), result.architecture)
    for own, other in zip(network.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(own, other)


def test_a_call_that_is_repeated_trains_nothing_anew(whole):
    path, result = whole
    before = {file: file.stat().st_mtime_ns for file in path.glob("finalists/*/rung_0/judgement.json")}
    again = searched(path)
    assert before and before == {file: file.stat().st_mtime_ns for file in before}
    assert again.architecture == result.architecture


def test_every_finalist_is_within_the_budget(tmp_path):
    result = searched(tmp_path, budget=Budget(("parameters<=50",)))
    table = Run(tmp_path / "finalists").load_json("result")
    assert {one["architecture"]["decisions"]["layer"] for one in table["finalists"]} == {"skip"}
    assert evaluate(result.network(), data(1), display=Silent()).measurement.num_samples == 36


@pytest.mark.parametrize(
    ("finalists", "words"),
    [
        (FinalistSettings(), "give num"),
        (FinalistSettings(num=2, channels=4), "channels of the finalists has no effect"),
        (FinalistSettings(num=2, alone=True), "alone of the finalists has no effect"),
    ],
)
def test_settings_without_effect_are_refused(tmp_path, finalists, words):
    with pytest.raises(UserError, match=words):
        searched(tmp_path, finalists)
    assert not list(tmp_path.iterdir())
