"""A search that was killed or stopped goes on as if nothing had happened, bit for bit.

This file is also the process that is killed: `python tests/test_resume.py serve` forks one child per line of JSON.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dnas import (
    AlphaAdam,
    Batch,
    Choice,
    EpochReport,
    FiniteDifference,
    FirstOrder,
    GumbelSoftmax,
    Interrupted,
    Mixture,
    Observer,
    OneStep,
    Run,
    SearchSettings,
    Softmax,
    Stop,
    Supernet,
    Unrolled,
    WeightSGD,
    search,
)
from dnas.searching.result import SearchResult
from dnas.system.display import Display, Silent

NUM_CLASSES = 3
EPOCHS, STEPS = 3, 5  # steps per epoch; the alphas' stream has 3 batches
METHODS: dict[str, dict[str, Any]] = {
    "first order": {"relaxation": Softmax(), "hypergradient": FirstOrder()},
    "hard Gumbel": {"relaxation": GumbelSoftmax(), "hypergradient": FirstOrder()},
    "one step": {"relaxation": Softmax(), "hypergradient": OneStep(FiniteDifference())},
    "unrolled": {"relaxation": Softmax(), "hypergradient": Unrolled(3), "warmup_epochs": 1},
}


class Net(nn.Module):
    """A convolution, batch norm with running statistics, a choice, dropout: all that has state or is random."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.op = Choice("op", {"conv": nn.Conv2d(4, 4, 1), "relu": nn.ReLU(), "drop": nn.Dropout(0.5)})
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(4, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.op(self.norm(self.stem(x)))).mean(dim=(2, 3)))


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def data(count: int, seed: int, *, shuffled: bool) -> Any:
    """Batches of 4 samples in a list, or in a loader that draws their order from the global generator."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(4 * count, 1, 5, 5, generator=generator)
    targets = torch.randint(0, NUM_CLASSES, (4 * count,), generator=generator)
    if shuffled:
        return DataLoader(TensorDataset(inputs, targets), batch_size=4, shuffle=True)
    return [Batch(*pair) for pair in zip(inputs.split(4), targets.split(4), strict=True)]


def settings(method: str, **changes: Any) -> SearchSettings:
    common = {"weights": WeightSGD(clip=1.0), "alphas": AlphaAdam(0.05), "epochs": EPOCHS, "log_every": 2}
    return SearchSettings(**common, **METHODS[method], **changes)


def run_search(
    method: str,
    folder: Path,
    *,
    model: nn.Module | None = None,
    checkpoint_minutes: float = 0.0,
    observers: tuple[Observer, ...] = (),
    display: Display = Silent(),
    shuffled: bool = False,
) -> SearchResult:
    """The search of these tests. By default it writes a checkpoint after every step."""
    return search(
        model or net(),
        data(STEPS, 1, shuffled=shuffled),
        data(3, 2, shuffled=shuffled),
        settings=settings(method, checkpoint_minutes=checkpoint_minutes),
        run=Run(folder),
        observers=observers,
        display=display,
    )


# --- What must be equal -----------------------------------------------------------------------------------------------


def rows(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the times."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in Run(folder).metrics()]


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's scalars by name: (step, value), without the times."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    names = [name for name in accumulator.Tags()["scalars"] if name != "seconds"]
    return {name: [(event.step, event.value) for event in accumulator.Scalars(name)] for name in names}


def final_state(folder: Path) -> dict[str, Any]:
    """The last checkpoint, without the times."""
    return {k: v for k, v in Run(folder).load_checkpoint("last").items() if k not in ("seconds", "threads")}


def files(folder: Path) -> dict[str, str]:
    """The architectures by the names of their files."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.json"))
            if path.name != "search.json"}  # fmt: skip


def same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def assert_as_if_uninterrupted(folder: Path, reference: Path) -> None:
    assert rows(folder) == rows(reference)
    assert files(folder) == files(reference)
    assert events(folder) == events(reference)
    found, expected = final_state(folder), final_state(reference)
    assert [name for name in expected if not same(found[name], expected[name])] == []


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of an uninterrupted search, made once for each method."""
    done: dict[tuple[str, bool], Path] = {}

    def reference(method: str, *, shuffled: bool = False) -> Path:
        if (method, shuffled) not in done:
            done[method, shuffled] = tmp_path_factory.mktemp("reference") / "run"
            run_search(method, done[method, shuffled], shuffled=shuffled)
        return done[method, shuffled]

    return reference


# --- Killed in a process of its own -----------------------------------------------------------------------------------


@dataclass
class Countdown:
    """Kills the process at call `left`, counted from 1, after doing `last`."""

    left: int
    last: Callable[[], object] = lambda: None

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.last()
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class AtUpdate(Display):
    """Does something whenever a step's row has been written, before a checkpoint is."""

    act: Callable[[], object]
    said: list[str] = field(default_factory=list)

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        self.act()

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass
class AtEpoch(Observer):
    """Does something when an epoch's row and architecture have been written, before its checkpoint is."""

    act: Callable[[], object]

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        self.act()
        return None


def at_replace(file: str, countdown: Callable[[], object], *, before: bool) -> None:
    """From now on, `countdown` is called just before or after a file of this name is put in place."""
    replace = os.replace

    def call(source: Any, target: Any) -> None:
        counts = Path(target).name == file
        if counts and before:
            countdown()
        replace(source, target)
        if counts and not before:
            countdown()

    os.replace = call


def killed_search(task: dict[str, Any]) -> None:
    """The search of these tests, which may kill itself."""
    model, observers, display, folder = net(), (), Silent(), Path(task["folder"])
    countdown = Countdown(task["at"])
    match task["where"]:
        case "nowhere":
            pass
        case "in a forward pass":
            model.register_forward_pre_hook(countdown)
        case "between a row and its checkpoint":
            display = AtUpdate(countdown)
        case "in the middle of a row":
            half = lambda: (folder / "metrics.jsonl").open("a").write('{"step": 7, "epo')  # noqa: E731
            display = AtUpdate(Countdown(task["at"], half))
        case "between an epoch's row and its checkpoint":
            observers = (AtEpoch(countdown),)
        case "before a checkpoint is in place":
            at_replace("last.pt", countdown, before=True)
        case "after a checkpoint is in place":
            at_replace("last.pt", countdown, before=False)
        case "before the result is in place":
            at_replace("architecture.json", countdown, before=True)
    run_search(
        task["method"],
        folder,
        model=model,
        checkpoint_minutes=task["checkpoint_minutes"],
        observers=observers,
        display=display,
        shuffled=task["shuffled"],
    )


def serve() -> None:
    """For each line of JSON a child of its own; its exit status is the answer."""
    import torch.utils.tensorboard

    # Once, before the children, what torch imports at first use (no backward pass: autograd does not survive a fork).
    torch.set_num_threads(1)
    for part in (settings("first order").weights, settings("first order").alphas):
        part.build([nn.Parameter(torch.zeros(1))])
    Supernet(net()).forward({}, {"op": Mixture(torch.ones(3))}, data(1, 0, shuffled=False)[0])
    for line in sys.stdin:
        task = json.loads(line)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                killed_search(task)
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        if task["kill_after"] is not None:
            time.sleep(task["kill_after"])
            os.kill(pid, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


Start = Callable[..., int]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Runs a search in a process of its own and gives its exit status."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork processes")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONWARNINGS": "default"}
    command = [sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def answer(
            method: str,
            folder: Path,
            where: str = "nowhere",
            at: int = 1,
            *,
            checkpoint_minutes: float = 0.0,
            kill_after: float | None = None,
            shuffled: bool = False,
        ) -> int:
            task = {
                "method": method,
                "folder": str(folder),
                "where": where,
                "at": at,
                "checkpoint_minutes": checkpoint_minutes,
                "kill_after": kill_after,
                "shuffled": shuffled,
            }
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps(task) + "\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        yield answer
        server.stdin.close()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the other process, so that sums are added up in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


EVERY_STEP, EVERY_EPOCH = 0.0, 1000.0
# Where the search is killed, at which occurrence of it, and how often it writes checkpoints.
KILLS = [
    ("first order", "in a forward pass", 1, EVERY_STEP),
    ("first order", "in a forward pass", 13, EVERY_EPOCH),
    ("first order", "between a row and its checkpoint", 2, EVERY_STEP),
    ("first order", "between a row and its checkpoint", 6, EVERY_EPOCH),
    ("first order", "in the middle of a row", 5, EVERY_STEP),
    ("first order", "between an epoch's row and its checkpoint", 1, EVERY_EPOCH),
    ("first order", "between an epoch's row and its checkpoint", 2, EVERY_STEP),
    ("first order", "before a checkpoint is in place", 1, EVERY_STEP),
    ("first order", "before a checkpoint is in place", 2, EVERY_EPOCH),
    ("first order", "after a checkpoint is in place", 7, EVERY_STEP),
    ("first order", "before the result is in place", 1, EVERY_EPOCH),
    ("hard Gumbel", "in a forward pass", 17, EVERY_STEP),
    ("hard Gumbel", "between a row and its checkpoint", 5, EVERY_EPOCH),
    ("one step", "in a forward pass", 44, EVERY_STEP),
    ("one step", "after a checkpoint is in place", 2, EVERY_EPOCH),
    ("unrolled", "in a forward pass", 60, EVERY_STEP),
    ("unrolled", "between an epoch's row and its checkpoint", 2, EVERY_EPOCH),
]


@pytest.mark.parametrize(("method", "where", "at", "minutes"), KILLS)
def test_a_killed_search_goes_on_as_if_it_had_not_been(
    start: Start, references: Callable[..., Path], tmp_path: Path, method: str, where: str, at: int, minutes: float
):
    assert start(method, tmp_path, where, at, checkpoint_minutes=minutes) == -signal.SIGKILL
    assert start(method, tmp_path, checkpoint_minutes=minutes) == 0
    assert_as_if_uninterrupted(tmp_path, references(method))


def test_a_search_that_is_killed_again_and_again_gets_there(start: Start, references, tmp_path: Path):
    statuses = []
    while not statuses or statuses[-1] != 0:
        statuses.append(start("hard Gumbel", tmp_path, "in a forward pass", 15))
        assert len(statuses) < 10
    assert statuses[:-1] == [-signal.SIGKILL] * 3
    assert_as_if_uninterrupted(tmp_path, references("hard Gumbel"))


@pytest.mark.parametrize(("where", "at"), [("in a forward pass", 8), ("in a forward pass", 16), ("nowhere", 1)])
def test_a_loader_that_shuffles_goes_on_in_the_middle_of_its_epoch(start: Start, references, tmp_path, where, at):
    status = start("first order", tmp_path, where, at, shuffled=True)
    assert status == (0 if where == "nowhere" else -signal.SIGKILL)
    assert start("first order", tmp_path, shuffled=True) == 0
    assert_as_if_uninterrupted(tmp_path, references("first order", shuffled=True))
    assert rows(tmp_path) != rows(references("first order"))


@pytest.mark.parametrize("method", METHODS)
def test_a_search_that_is_killed_at_random_times_goes_on_as_if_it_had_not_been(start, references, tmp_path, method):
    dice = random.Random(0)
    statuses = []
    while not statuses or statuses[-1] != 0:
        delay = 0.01 + dice.uniform(0.0, 0.02 * len(statuses))
        statuses.append(start(method, tmp_path, kill_after=delay, checkpoint_minutes=dice.choice((0.0, 1000.0))))
        assert len(statuses) < 200
    assert -signal.SIGKILL in statuses
    assert_as_if_uninterrupted(tmp_path, references(method))


# --- Stopped by Ctrl-C ------------------------------------------------------------------------------------------------


def interrupt_in_forward(model: nn.Module, at: int, number: int) -> nn.Module:
    """The model, which asks the process to stop in forward pass `at`."""
    left = [at]

    def hook(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(number)

    model.register_forward_pre_hook(hook)
    return model


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_search_saves_where_it_is_and_goes_on(references, tmp_path: Path, method: str, number: int):
    with pytest.raises(Interrupted, match=r"stopped and saved after step \d+ \(epoch \d\) in .*" + tmp_path.name):
        run_search(method, tmp_path, model=interrupt_in_forward(net(), 18, number), checkpoint_minutes=EVERY_EPOCH)
    step = Run(tmp_path).load_checkpoint("last")["step"]
    assert step % STEPS != 0  # in the middle of an epoch
    result = run_search(method, tmp_path)
    assert_as_if_uninterrupted(tmp_path, references(method))
    assert [row["epoch"] for row in result.metrics] == [1, 2, 3]


def test_the_handlers_of_the_signals_are_as_before(tmp_path: Path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted):
        run_search("first order", tmp_path, model=interrupt_in_forward(net(), 3, signal.SIGINT))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_does_not_wait_for_the_step(tmp_path: Path):
    model = interrupt_in_forward(interrupt_in_forward(net(), 6, signal.SIGINT), 6, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_search("first order", tmp_path, model=model)
    assert Run(tmp_path).load_checkpoint("last")["step"] == 1  # after 3 trials, passes 5 and 6 belong to step 2


def test_a_search_without_a_run_folder_says_that_nothing_was_saved():
    model = interrupt_in_forward(net(), 6, signal.SIGINT)  # the first passes try a batch of each loader
    with pytest.raises(Interrupted, match=r"stopped after step 2 \(epoch 0\); without a run folder nothing was saved"):
        search(model, data(STEPS, 1, shuffled=False), data(3, 2, shuffled=False), settings=settings("first order"))


def test_a_search_in_another_thread_works_without_signals(references, tmp_path: Path):
    results: list[SearchResult] = []
    thread = threading.Thread(target=lambda: results.append(run_search("first order", tmp_path)))
    thread.start()
    thread.join()
    assert len(results) == 1
    assert rows(tmp_path) == rows(references("first order"))


# --- Observers --------------------------------------------------------------------------------------------------------


@dataclass
class StopAfter(Observer):
    epoch: int

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        return Stop() if report.epoch >= self.epoch else None


def test_a_search_that_an_observer_stopped_stays_stopped(tmp_path: Path):
    first = run_search("first order", tmp_path, observers=(StopAfter(2),))
    again = run_search("first order", tmp_path)
    assert [row["epoch"] for row in again.metrics] == [1, 2]
    assert again.architecture == first.architecture


@dataclass
class FreezeStem(Observer):
    """Freezes the first convolution after the first epoch."""

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        if report.epoch == 1:
            report.supernet.model.get_submodule("stem").requires_grad_(False)
        return None


def test_weights_that_an_observer_froze_stay_frozen_when_the_search_goes_on(tmp_path: Path):
    run_search("one step", tmp_path / "whole", observers=(FreezeStem(),))
    model = interrupt_in_forward(net(), 45, signal.SIGINT)
    with pytest.raises(Interrupted):
        run_search("one step", tmp_path / "parts", model=model, observers=(FreezeStem(),))
    assert Run(tmp_path / "parts").load_checkpoint("last")["step"] > STEPS
    model = net()
    run_search("one step", tmp_path / "parts", model=model, observers=(FreezeStem(),))
    assert not model.stem.weight.requires_grad
    assert_as_if_uninterrupted(tmp_path / "parts", tmp_path / "whole")


# --- What is told -----------------------------------------------------------------------------------------------------


def test_another_number_of_threads_is_told(tmp_path: Path):
    with pytest.raises(Interrupted):
        run_search("first order", tmp_path, model=interrupt_in_forward(net(), 6, signal.SIGINT))
    torch.set_num_threads(2)
    display = AtUpdate(lambda: None)
    run_search("first order", tmp_path, display=display)
    assert display.said[0] == (
        "Note: this search began with 1 threads and goes on with 2; its numbers will differ in the last digits from an "
        "uninterrupted search."
    )
    assert display.said[1] == f"Going on with {tmp_path} after step 2 (epoch 0)."


def test_the_same_number_of_threads_is_not_mentioned(tmp_path: Path):
    with pytest.raises(Interrupted):
        run_search("first order", tmp_path, model=interrupt_in_forward(net(), 6, signal.SIGINT))
    display = AtUpdate(lambda: None)
    run_search("first order", tmp_path, display=display)
    assert display.said == [f"Going on with {tmp_path} after step 2 (epoch 0)."]


def test_rows_without_a_checkpoint_are_forgotten(references, tmp_path: Path):
    Run(tmp_path).log(2, {"epoch": 0, "phase": "step", "train_loss": 5.0})
    run_search("first order", tmp_path)
    assert rows(tmp_path) == rows(references("first order"))


if __name__ == "__main__":
    assert sys.argv[1:] == ["serve"]
    serve()
