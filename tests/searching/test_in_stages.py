"""A search in stages is one search: it counts on, prunes, carries, and goes on after a kill as if nothing had been."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dnas import (
    AlphaAdam,
    Choice,
    Constant,
    Dirichlet,
    EpochReport,
    Interrupted,
    Observer,
    Run,
    SearchSettings,
    Stage,
    Stop,
    WeightSGD,
    search,
    search_in_stages,
)
from dnas.searching.result import SearchResult
from dnas.system.display import Display, Silent
from dnas.system.interrupt import StopRequest
from tests.searching.test_resume import AtUpdate, assert_as_if_uninterrupted, data

STEPS = 5  # in an epoch
STAGES = (
    Stage(2, warmup_epochs=1, channels=2),
    Stage(1, num_candidates=3, channels=3),
    Stage(2, num_candidates=2, channels=4, carry=False),
)
SETTINGS = SearchSettings(
    relaxation=Dirichlet(), weights=WeightSGD(clip=1.0), alphas=AlphaAdam(0.05), epochs=5, stages=STAGES, log_every=2
)


class Net(nn.Module):
    """A convolution, batch norm with running statistics, a choice, dropout: all that has state or is random."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3)
        self.norm = nn.BatchNorm2d(width)
        convolutions = {f"conv{k}": nn.Conv2d(width, width, 1) for k in range(2)}
        self.op = Choice("op", {**convolutions, "relu": nn.ReLU(), "drop": nn.Dropout(0.5)})
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.op(self.norm(self.stem(x))).mean(dim=(2, 3)))


def build(stage: Stage) -> Net:
    return Net(stage.channels or 2)


def run_search(
    folder: Path | None,
    *,
    settings: SearchSettings = SETTINGS,
    observers: tuple[Observer, ...] = (),
    display: Display = Silent(),
    build: Callable[[Stage], nn.Module] = build,
) -> SearchResult:
    return search_in_stages(
        build,
        data(STEPS, 1, shuffled=True),
        data(3, 2, shuffled=True),
        settings=settings,
        run=None if folder is None else Run(folder),
        observers=observers,
        display=display,
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages") / "run"
    run_search(folder)
    return folder


# What it does


def test_steps_epochs_and_metrics_count_on_and_say_their_stage(reference: Path):
    rows = Run(reference).metrics()
    epochs = [(row["epoch"], row["step"], row["stage"]) for row in rows if row["phase"] == "epoch"]
    assert epochs == [(1, 5, 1), (2, 10, 1), (3, 15, 2), (4, 20, 3), (5, 25, 3)]
    assert [row["step"] for row in rows if row["phase"] == "step"] == sorted({*range(2, 26, 2), *range(5, 26, 5)})
    assert Run(reference).load_json("search")["steps"] == 25
    assert len(list((reference / "architectures").iterdir())) == 5


def test_the_learning_rate_falls_over_stages_that_carry_and_begins_anew_where_not(reference: Path):
    rates = [row["learning_rate"] for row in Run(reference).metrics() if row["phase"] == "epoch"]
    lr_at = SETTINGS.weights.lr_at
    assert rates == [lr_at(0.0), lr_at(1 / 3), lr_at(2 / 3), lr_at(0.0), lr_at(0.5)]


def test_each_stage_has_its_warm_up(reference: Path):
    with_alphas = [row["epoch"] for row in Run(reference).metrics() if row["phase"] == "epoch" and "val_loss" in row]
    assert with_alphas == [2, 3, 4, 5]


def test_candidates_are_ruled_out_by_the_alphas_at_the_end_of_the_stage_before():
    alphas: dict[int, list[float]] = {}
    result = run_search(None, observers=(Remember(alphas),))
    three = sorted(range(4), key=lambda k: -alphas[2][k])[:3]
    two = sorted(three, key=lambda k: -alphas[3][k])[:2]
    assert result.supernet.allowed == {"op": (tuple(sorted(two)),)}
    assert result.architecture.decisions["op"] in [("conv0", "conv1", "relu", "drop")[k] for k in two]


class Remember(Observer):
    def __init__(self, alphas: dict[int, list[float]]) -> None:
        self.alphas = alphas

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        self.alphas[report.epoch] = report.supernet.alphas["op"].tolist()
        return None


def test_a_run_folder_changes_nothing(reference: Path):
    state = Run(reference).load_checkpoint("last")["supernet"]
    for name, tensor in run_search(None).supernet.state_dict()["model"].items():
        assert torch.equal(tensor, state["model"][name]), name


def test_two_stages_that_change_nothing_are_one_search():
    one = SearchSettings(relaxation=Dirichlet(), alphas=AlphaAdam(0.05), epochs=4)
    two = replace(one, stages=(Stage(1), Stage(3)))
    results = [run_search(None, settings=settings).supernet.state_dict() for settings in (one, two)]
    for part in ("model", "alphas"):
        for name, tensor in results[0][part].items():
            assert torch.equal(tensor, results[1][part][name]), name


def test_without_carrying_a_later_stage_has_new_weights_and_alphas():
    states = []
    for carry in (True, False):
        stages = (Stage(1, 1), Stage(1, 1, carry=carry))
        settings = replace(SETTINGS, weights=WeightSGD(lr=Constant(0.0)), epochs=2, stages=stages)
        states.append(run_search(None, settings=settings).supernet.state_dict())
    assert not torch.equal(states[0]["model"]["head.weight"], states[1]["model"]["head.weight"])
    assert not torch.equal(states[0]["alphas"]["op"], states[1]["alphas"]["op"])


class StopAt(Observer):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        return Stop() if report.epoch == self.epoch else None


def test_an_observer_that_stops_ends_the_whole_search(tmp_path: Path):
    result = run_search(tmp_path, observers=(StopAt(3),))
    assert [row["epoch"] for row in result.metrics] == [1, 2, 3]
    assert [row["epoch"] for row in run_search(tmp_path, observers=(StopAt(3),)).metrics] == [1, 2, 3]


# How it goes on


class Killed(BaseException):
    """Nothing of the process is left but its files."""


def kill_at(update: int) -> Display:
    left = [update]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    return AtUpdate(count)


@pytest.mark.parametrize(("update", "checkpoint_minutes"), [(7, 0.0), (10, 0.0), (11, 10.0), (13, 0.0), (19, 10.0)])
def test_killed_at_any_step_it_goes_on_bit_for_bit(
    reference: Path, tmp_path: Path, update: int, checkpoint_minutes: float
):
    settings = replace(SETTINGS, checkpoint_minutes=checkpoint_minutes)
    with pytest.raises(Killed):
        run_search(tmp_path, settings=settings, display=kill_at(update))
    run_search(tmp_path, settings=settings)
    assert_as_if_uninterrupted(tmp_path, reference)


@pytest.mark.parametrize("stage", [1, 2])
def test_killed_while_the_next_stage_is_built_it_goes_on_bit_for_bit(reference: Path, tmp_path: Path, stage: int):
    def broken(one: Stage) -> Net:
        if one == STAGES[stage]:
            raise Killed
        return build(one)

    with pytest.raises(Killed):
        run_search(tmp_path, build=broken)
    assert Run(tmp_path).load_checkpoint("last")["stage"] == stage - 1
    built: list[Stage] = []
    run_search(tmp_path, build=lambda one: [built.append(one), build(one)][1])  # type: ignore[func-returns-value]
    assert built == list(STAGES[stage:])  # nothing of a finished stage is made again
    assert_as_if_uninterrupted(tmp_path, reference)


def test_ctrl_c_within_a_later_stage_saves_and_says_where(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[StopRequest] = []
    before = StopRequest.__init__
    monkeypatch.setattr(StopRequest, "__init__", lambda self: (before(self), made.append(self))[0])

    def ask() -> None:
        made[-1].made = updates.append(0) is None and len(updates) == 13

    updates: list[int] = []
    with pytest.raises(Interrupted, match=r"after step 13 \(epoch 2\)"):
        run_search(tmp_path, display=AtUpdate(ask))
    assert Run(tmp_path).load_checkpoint("last")["stage"] == 1
    run_search(tmp_path)
    assert_as_if_uninterrupted(tmp_path, reference)


def test_a_finished_search_ends_at_once_with_the_same_result(reference: Path, tmp_path: Path):
    run_search(tmp_path)
    display = AtUpdate(lambda: pytest.fail("a step was taken"))
    result = run_search(tmp_path, display=display)
    assert result.architecture == Run(reference).load_architecture()


def test_the_bar_shows_the_whole_search_and_lines_tell_of_stages():
    seen: list[tuple[int, int, float]] = []

    class Bar(AtUpdate):
        def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
            seen.append((done, total, scalars["stage"]))

    bar = Bar(lambda: None)
    run_search(None, display=bar)
    assert seen == [(step, 25, 1 + (step > 10) + (step > 15)) for step in range(1, 26)]
    assert bar.said == [
        "Stage 1 of 3: epochs 1 to 2.",
        "Stage 2 of 3: epochs 3 to 3, 3 candidates left in each choice.",
        "Stage 3 of 3: epochs 4 to 5, 2 candidates left in each choice.",
    ]


# What is refused


def test_a_single_model_cannot_be_searched_in_stages():
    with pytest.raises(ValueError, match=r"3 stages, each with a model of its own: use dnas\.search_in_stages"):
        search(build(STAGES[0]), data(1, 1, shuffled=False), data(1, 2, shuffled=False), settings=SETTINGS)


@pytest.mark.parametrize(("count", "message"), [(5, "no more than 4 candidates"), (4, "")])
def test_more_candidates_than_there_are_are_refused_before_the_first_step(count: int, message: str):
    settings = replace(SETTINGS, epochs=2, stages=(Stage(1), Stage(1, num_candidates=count)))
    if message:
        with pytest.raises(ValueError, match=message):
            run_search(None, settings=settings, display=kill_at(1))
    else:
        run_search(None, settings=settings)


def test_a_checkpoint_of_other_stages_is_refused(reference: Path, tmp_path: Path):
    with pytest.raises(Killed):
        run_search(tmp_path, display=kill_at(11))
    other = replace(SETTINGS, stages=(*STAGES[:2], replace(STAGES[2], num_candidates=1)))
    with pytest.raises(ValueError, match=r"search: settings\.stages\[2\]\.num_candidates is 2 there and 1 here"):
        run_search(tmp_path, settings=other)


def damaged(run: Run, change: Callable[[dict[str, Any]], object]) -> None:
    state = run.load_checkpoint("last")
    change(state)
    run.save_checkpoint("last", state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("weight_names"), "'weight_names' is missing"),
        (lambda state: state.update(stage="one"), "damaged"),
        (lambda state: state["supernet"].pop("alphas"), "damaged"),
        (lambda state: state.update(weight_optimizer={}), "damaged"),
    ],
)
def test_a_damaged_checkpoint_between_two_stages_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
):
    with pytest.raises(Killed):
        run_search(tmp_path, display=kill_at(11))
    damaged(Run(tmp_path), change)
    with pytest.raises(ValueError, match=message):
        run_search(tmp_path)


def test_it_runs_outside_the_main_thread():
    results: list[SearchResult] = []
    thread = threading.Thread(target=lambda: results.append(run_search(None)))
    thread.start()
    thread.join()
    assert len(results) == 1
