"""A search that an observer sends back: it goes on from an earlier epoch as if it had just come there, bit for bit."""

import importlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dnas import (
    AlphaAdam,
    Choice,
    Constant,
    EpochReport,
    GumbelSoftmax,
    Observer,
    OneStep,
    Run,
    SearchSettings,
    Softmax,
    Stage,
    Stop,
    Unrolled,
    WeightSGD,
    search,
    search_in_stages,
)
from dnas.searching.execution import Stepper
from dnas.searching.observer import GoBack
from dnas.searching.result import SearchResult
from dnas.system.display import Display
from tests.support.replay import Replayed

EPOCHS, STEPS, CLASSES = 6, 3, 3
# Epoch 4 is followed by epoch 3 again.
COURSE = [1, 2, 3, 4, 3, 4, 5, 6]


class Net(nn.Module):
    """All that has state or is random: batch norm with running statistics, dropout, a choice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.op = Choice("op", {"linear": nn.Linear(4, 4), "relu": nn.ReLU(), "drop": nn.Dropout(0.5)})
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.op(self.norm(self.stem(x))))


def net() -> Net:
    torch.manual_seed(0)
    return Net().double()


def data(count: int, seed: int) -> DataLoader[Any]:
    """A loader that draws its order from the global generator."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(4 * count, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, CLASSES, (4 * count,), generator=generator)
    return DataLoader(TensorDataset(inputs, targets), batch_size=4, shuffle=True)


@dataclass(frozen=True)
class Sent(Observer):
    """After epoch `at` of its first attempts a search goes back to `to`, with another weight decay.

    It counts the epochs that it has seen in this course, and freezes the stem after epoch 3.
    """

    at: int = 4
    to: int = 2
    decay: float = 0.1
    times: int = 1
    freezes: bool = True

    def epoch_ended(self, report: EpochReport) -> GoBack | None:
        report.memory["seen"] = [*report.memory.get("seen", []), torch.tensor(report.epoch)]
        report.scalars["seen"] = len(report.memory["seen"])
        if report.epoch == 3 and self.freezes:
            report.supernet.model.get_submodule("stem").requires_grad_(False)
        if report.epoch != self.at or report.attempt > self.times:
            return None
        report.weight_optimizer.param_groups[0]["weight_decay"] = self.decay
        return GoBack(self.to)

    def may_go_back_to(self, epoch: int) -> bool:
        return epoch == self.to


@dataclass(frozen=True)
class Decays(Observer):
    """The weight decay changes after an epoch, and the stem is frozen after epoch 3."""

    epoch: int
    decay: float = 0.1

    def epoch_ended(self, report: EpochReport) -> None:
        if report.epoch == 3:
            report.supernet.model.get_submodule("stem").requires_grad_(False)
        if report.epoch == self.epoch:
            report.weight_optimizer.param_groups[0]["weight_decay"] = self.decay


def settings(**changes: Any) -> SearchSettings:
    common: dict[str, Any] = {"relaxation": GumbelSoftmax(), "alphas": AlphaAdam(0.05), "log_every": 2}
    return SearchSettings(**{**common, "epochs": EPOCHS, "checkpoint_minutes": 0.0, **changes})


@dataclass
class Shown(Display):
    """Keeps what is shown."""

    done: list[tuple[int, int]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def update(self, phase: str, done: int, total: int, scalars: Any) -> None:
        self.done.append((done, total))

    def say(self, text: str) -> None:
        self.said.append(text)


def run_search(
    *observers: Observer, folder: Path | None = None, model: nn.Module | None = None, **more: Any
) -> SearchResult:
    run = None if folder is None else Run(folder)
    display = more.pop("display", Shown())
    with_settings = settings(**more)
    return search(
        model or net(),
        data(STEPS, 1),
        data(2, 2),
        settings=with_settings,
        observers=observers,
        run=run,
        display=display,
    )


def same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def state_of(result: SearchResult) -> object:
    return result.supernet.state_dict(), list(result.supernet.weights()), dict(result.architecture.decisions)


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


# --- The same numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_a_folder", [False, True], ids=["in memory", "in a folder"])
@pytest.mark.parametrize(
    ("changes", "to"),
    [
        ({}, 2),
        # Adam has not begun when the search comes to epoch 1, nor has it when it comes back there.
        ({"warmup_epochs": 1}, 1),
        ({"relaxation": Softmax(), "hypergradient": OneStep(), "weight_steps": 2}, 2),
        # It has looked ahead to batches of the epoch that does not follow.
        ({"relaxation": Softmax(), "hypergradient": Unrolled(3)}, 2),
    ],
    ids=["hard Gumbel", "back into the warm-up", "second order", "looking ahead"],
)
def test_from_there_on_it_is_the_search_that_has_the_other_decay_from_that_epoch_on(tmp_path, in_a_folder, changes, to):
    sent = run_search(Sent(to=to), folder=tmp_path / "run" if in_a_folder else None, **changes)
    plain = run_search(Decays(to), **changes)
    assert same(state_of(sent), state_of(plain))
    assert [row["epoch"] for row in sent.metrics] == [1, 2, 3, 4, *range(to + 1, EPOCHS + 1)]
    second = [without(row, "attempt", "seen") for row in sent.metrics[4:]]
    assert second == plain.metrics[to:]
    # The decay is all that differs between the two attempts.
    first = run_search(Decays(0), **changes).metrics
    assert [without(row, "seen") for row in sent.metrics[:4]] == first[:4]
    assert second != first[to:]


def test_going_back_and_changing_nothing_changes_nothing():
    sent, plain = (run_search(observer) for observer in (Sent(decay=3e-4), Decays(0)))
    assert same(state_of(sent), state_of(plain))
    assert [without(row, "attempt") for row in sent.metrics[4:6]] == sent.metrics[2:4]


def test_what_an_observer_remembers_goes_back_too():
    sent = run_search(Sent(times=2))
    assert [row["epoch"] for row in sent.metrics] == [1, 2, 3, 4, 3, 4, 3, 4, 5, 6]
    assert [row["seen"] for row in sent.metrics] == [1, 2, 3, 4, 3, 4, 3, 4, 5, 6]


def test_a_stop_names_an_epoch_of_the_last_attempt():
    @dataclass(frozen=True)
    class StopAtThree(Observer):
        def epoch_ended(self, report: EpochReport) -> Stop | None:
            return Stop(3) if report.epoch == 5 else None

    sent = run_search(Sent(), StopAtThree())
    plain = run_search(Decays(2), epochs=EPOCHS)
    stopped = run_search(Decays(2), StopAtThree())
    assert torch.equal(sent.supernet.alphas["op"], stopped.supernet.alphas["op"])
    assert not torch.equal(sent.supernet.alphas["op"], plain.supernet.alphas["op"])


def test_a_stop_goes_before_going_back():
    @dataclass(frozen=True)
    class StopAtFour(Observer):
        def epoch_ended(self, report: EpochReport) -> Stop | None:
            return Stop() if report.epoch == 4 else None

    assert [row["epoch"] for row in run_search(Sent(), StopAtFour()).metrics] == [1, 2, 3, 4]


def test_of_two_epochs_the_earlier_one_is_gone_back_to():
    sent = run_search(Sent(to=3), Sent(to=1), Sent(to=2))
    assert [row["epoch"] for row in sent.metrics] == [1, 2, 3, 4, 2, 3, 4, 5, 6]


@dataclass(frozen=True)
class AlphaSGD(AlphaAdam):
    """Adam's `capturable` form, which a recorded step needs, is there on a GPU alone."""

    def build(self, alphas: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(alphas, lr=0.05, momentum=0.5)


def test_all_tensors_stay_where_they_are_so_that_a_recorded_step_goes_on(monkeypatch: pytest.MonkeyPatch):
    # A constant rate and an unchanged decay: the step is recorded once, and replayed after going back.
    made: list[Stepper] = []

    def recording(*arguments: Any, **keywords: Any) -> Stepper:
        recorder = Replayed(lambda: list(itertools.chain(*made[-1]._state())), lambda: made[-1]._generators())
        made.append(Stepper(*arguments, recorder=recorder, **keywords))
        return made[-1]

    def result(*observers: Observer) -> SearchResult:
        torch.manual_seed(0)
        choice = Choice("op", {"linear": nn.Linear(4, 4), "relu": nn.ReLU()})
        model = nn.Sequential(choice, nn.Linear(4, CLASSES)).double()
        method: dict[str, Any] = {"relaxation": Softmax(), "weights": WeightSGD(lr=Constant(0.1)), "alphas": AlphaSGD()}
        return run_search(*observers, model=model, **method)

    usual = result()
    monkeypatch.setattr(importlib.import_module("dnas.searching.loop"), "Stepper", recording)
    again = result(Sent(at=5, to=2, decay=3e-4, freezes=False))
    assert same(state_of(again), state_of(usual))
    capture, recorder = made[-1]._capture, made[-1].recorder
    assert capture is not None
    assert isinstance(recorder, Replayed)
    assert (capture.num_records, recorder.num_replays) == (1, (EPOCHS + 3) * STEPS - 3)


# --- What is written and shown ----------------------------------------------------------------------------------------


def test_rows_of_both_attempts_are_kept_and_say_which_they_are_of(tmp_path: Path):
    shown = Shown()
    result = run_search(Sent(), folder=tmp_path, display=shown)
    rows = Run(tmp_path).metrics()
    epochs = [row for row in rows if row["phase"] == "epoch"]
    assert [(row["epoch"], row.get("attempt", 1)) for row in epochs] == list(
        zip(COURSE, [1] * 4 + [2] * 4, strict=True)
    )
    assert [without(row, "phase", "seconds", "step") for row in epochs] == result.metrics
    # Steps count on, so that no two rows are of the same one.
    assert [row["step"] for row in epochs] == [STEPS * (index + 1) for index in range(8)]
    steps = [row["step"] for row in rows if row["phase"] == "step"]
    assert steps == sorted(set(steps))
    summary = Run(tmp_path).load_json("search")
    assert (summary["steps"], summary["epochs"]) == (8 * STEPS, EPOCHS)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["last.pt", "start.pt"]
    # The bar grows longer instead of going back.
    assert [done for done, _ in shown.done] == list(range(1, 8 * STEPS + 1))
    assert [total for _, total in shown.done] == [EPOCHS * STEPS] * (4 * STEPS - 1) + [8 * STEPS] * (4 * STEPS + 1)
    assert shown.said == [
        "Going back from the end of epoch 4 to that of epoch 2, as an observer asks: the search takes 2 epochs longer "
        "than planned."
    ]


def test_the_learning_rate_is_that_of_the_epoch():
    rates = [row["learning_rate"] for row in run_search(Sent()).metrics]
    assert rates[4:6] == rates[2:4]
    assert rates[3] != rates[4]


def test_states_that_nobody_may_go_back_to_are_not_written(tmp_path: Path):
    class Looks(Observer):
        def epoch_ended(self, report: EpochReport) -> None:
            names.append(sorted(path.name for path in (tmp_path / "checkpoints").glob("epoch_*")))

    names: list[list[str]] = []
    run_search(Sent(), Looks(), folder=tmp_path)
    assert names == [[], [], *[["epoch_0002.pt"]] * 6]


@pytest.mark.parametrize(
    ("observer", "asked"), [(Sent(to=4), 4), (Sent(to=5), 5), (Sent(to=0), 0)], ids=["now", "the future", "the start"]
)
def test_only_earlier_epochs_can_be_gone_back_to(observer: Sent, asked: int):
    with pytest.raises(
        ValueError, match=f"After epoch 4 an observer asks to go back to epoch {asked}, whose state was"
    ):
        run_search(observer)


def test_an_epoch_that_was_not_kept_is_refused():
    @dataclass(frozen=True)
    class Surprising(Sent):
        def may_go_back_to(self, epoch: int) -> bool:
            return False

    message = r"go back to epoch 2, whose state was not kept: .*may_go_back_to returns True"
    with pytest.raises(ValueError, match=message):
        run_search(Surprising())


def test_an_epoch_of_another_stage_cannot_be_gone_back_to():
    def run(observer: Observer) -> SearchResult:
        in_stages = settings(stages=(Stage(2), Stage(4)))
        batches = data(STEPS, 1), data(2, 2)
        return search_in_stages(lambda stage: net(), *batches, settings=in_stages, observers=(observer,))

    with pytest.raises(ValueError, match=r"go back to epoch 2, .* must be an earlier epoch of the same stage"):
        run(Sent())
    result = run(Sent(to=3))
    assert [(row["stage"], row["epoch"]) for row in result.metrics] == [
        *[(1, 1), (1, 2), (2, 3), (2, 4)],
        *[(2, 4), (2, 5), (2, 6)],
    ]


# --- Killed -----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What is left on disk is all that there is."""


def killed_in_forward(at: int) -> Net:
    model, left = net(), [at]

    def hook(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    model.register_forward_pre_hook(hook)
    return model


def left_behind(folder: Path) -> object:
    """Everything in a run folder but the times."""
    run = Run(folder)
    files = {str(path.relative_to(folder)): path.read_text() for path in sorted((folder / "architectures").iterdir())}
    state = without(run.load_checkpoint("last"), "seconds", "threads")
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    return [without(row, "seconds") for row in run.metrics()], files, state, names, run.load_json("search")["steps"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_search(Sent(), folder=folder)
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("minutes", [0.0, 1000.0], ids=["every step", "every epoch"])
def test_killed_in_any_epoch_it_goes_on_as_if_it_had_not_been(tmp_path: Path, uninterrupted: Path, minutes: float):
    expected = left_behind(uninterrupted)
    kills = 0
    for at in itertools.count(5, 11):
        folder = tmp_path / str(at)
        # 2 passes in a step and 2 when an epoch is measured: another place of an epoch each time
        try:
            run_search(Sent(), folder=folder, model=killed_in_forward(at), checkpoint_minutes=minutes)
        except Killed:
            run_search(Sent(), folder=folder, checkpoint_minutes=minutes)
            assert same(left_behind(folder), expected), at
            kills += 1
        else:
            break
    assert kills > 5


@pytest.mark.slow
def test_killed_before_any_file_is_in_place_it_goes_on_as_if_it_had_not_been(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
):
    expected, replace, kills = left_behind(uninterrupted), os.replace, 0
    for at in itertools.count(1):
        folder, left = tmp_path / str(at), [at]

        def dies(source: Any, target: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            replace(source, target)

        monkeypatch.setattr(os, "replace", dies)
        try:
            run_search(Sent(), folder=folder, checkpoint_minutes=1000.0)
        except Killed:
            monkeypatch.setattr(os, "replace", replace)
            run_search(Sent(), folder=folder, checkpoint_minutes=1000.0)
            assert same(left_behind(folder), expected), at
            kills += 1
        else:
            break
    assert kills > 8 + 8 + 2  # a checkpoint and an architecture of each epoch, a kept state, settings, results
