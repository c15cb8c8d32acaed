"""The contract of every observer."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from dnas.core.batch import Batch
from dnas.core.cell import Cell
from dnas.core.decision import Decision
from dnas.searching.observer import EpochReport, GoBack, Observer, StepReport, Stop
from dnas.searching.search import SearchResult, search
from dnas.searching.settings import SearchSettings
from dnas.searching.supernet import Supernet
from dnas.testing.require import copies, require, same, unchanged


class SmallNet(nn.Module):
    """A model for observers: one cell 'normal' of three edges, each with a skip connection and two linear operations.

    Inputs are (batch, 4), outputs (batch, 3); the weights are always the same.
    """

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            candidates = [
                {
                    "skip_connect": nn.Identity(),
                    "linear": nn.Linear(4, 4),
                    "tanh": nn.Sequential(nn.Linear(4, 4), nn.Tanh()),
                }
                for _ in range(3)
            ]
            self.cell = Cell("normal", ((0, 1), (0, 2), (1, 2)), candidates, num_inputs=1, output=(1, 2))
            self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x))


def check_observer(
    observer: Observer,
    model: Callable[[], nn.Module] = SmallNet,
    *,
    epochs: int = 4,
    changes_search: bool = False,
    device: torch.device | str = "cpu",
) -> None:
    """Check the contract of every observer, in searches of a few epochs of three steps; the first epoch is a warm-up.

    - It leaves itself, the gradient mode and the global random state as they were.
    - Its memory is plain data and tensors that a checkpoint can hold, and it logs only numbers.
    - A `Stop` names a finished epoch, a `GoBack` an earlier one that it `may_go_back_to`.
    - The result is the same, bit for bit, if the search is repeated, if a pickled or a deep copy watches, and if the
      memory is saved and read after every call.
    - Unless it `changes_search`, weights, alphas, `.grad`, frozen weights, allowed candidates and the optimizer's
      settings stay as they are, and the search is the same as without it.

    Args:
        observer: the part to check.
        model: makes the model of a search, with the same weights each time, for inputs (batch, 4) and three classes.
        epochs: epochs of each search; enough for the observer to act.
        changes_search: whether it may change the search: stop it, go back, freeze or adjust.
        device: device of model and batches.

    Raises:
        AssertionError: names the first point that does not hold.

    Example:
        >>> from dnas import HessianEigenvalue, SkipStop
        >>> check_observer(HessianEigenvalue())
        >>> check_observer(SkipStop(), changes_search=True)
    """
    settings = SearchSettings(epochs=epochs, warmup_epochs=1)

    def run(*observers: Observer) -> SearchResult:
        train, val = _batches(3, 1, device), _batches(2, 2, device)
        return search(model().to(device), train, val, settings=settings, observers=observers)

    watched = run(_Watched(observer, may_change=changes_search))
    require(_alike(watched, run(observer)), observer, "goes on differently when its memory was saved and read")
    require(_alike(watched, run(observer)), observer, "does something else in the same search again")
    for kind, copied in copies(observer).items():
        require(_alike(watched, run(cast(Observer, copied))), observer, f"differs from its {kind} copy")
    if not changes_search:
        _check_same_search(observer, watched=watched, alone=run())


def _check_same_search(observer: Observer, *, watched: SearchResult, alone: SearchResult) -> None:
    """Check that a search ended as it does without the observer."""
    require(len(alone.metrics) == len(watched.metrics), observer, "stops the search")
    rows = [
        {name: row.get(name) for name in before} for before, row in zip(alone.metrics, watched.metrics, strict=True)
    ]
    require(same(rows, alone.metrics), observer, "changes what is logged by the search itself")
    require(same(_state(watched), _state(alone)), observer, "changes the search")


class _Watched(Observer):
    """Checks what an observer leaves behind in each call, and saves and reads its memory after it."""

    def __init__(self, inner: Observer, *, may_change: bool) -> None:
        self.inner = inner
        self.may_change = may_change

    def check(self, decisions: Mapping[str, Decision]) -> None:
        self.inner.check(decisions)

    def step_ended(self, report: StepReport) -> None:
        with self._watching(report, None):
            self.inner.step_ended(report)

    def epoch_ended(self, report: EpochReport) -> Stop | GoBack | None:
        before = dict(report.scalars)
        with self._watching(report, report.weight_optimizer):
            answer = self.inner.epoch_ended(report)
        for name, value in report.scalars.items():
            require(type(value) in (int, float), self.inner, f"logs {name} = {value!r}, which is no number")
        require(all(name in report.scalars for name in before), self.inner, "takes back what others have logged")
        require(self._fits(answer, report), self.inner, f"gives {answer!r} after epoch {report.epoch}")
        return answer

    def may_go_back_to(self, epoch: int) -> bool:
        return self.inner.may_go_back_to(epoch)

    def _fits(self, answer: object, report: EpochReport) -> bool:
        match answer:
            case GoBack(epoch):
                return 1 <= epoch < report.epoch and self.may_go_back_to(epoch)
            case Stop(epoch):
                return epoch is None or 1 <= epoch <= report.epoch
            case _:
                return answer is None

    @contextmanager
    def _watching(self, report: StepReport | EpochReport, optimizer: torch.optim.Optimizer | None) -> Iterator[None]:
        supernet = report.supernet
        settings_stay = nullcontext() if self.may_change else _same_settings(self.inner, supernet, optimizer)
        with unchanged(self.inner, {} if self.may_change else _tensors(supernet)), settings_stay:
            yield
        saved = _through_a_file(self.inner, report.memory)
        report.memory.clear()
        report.memory.update(saved)


@contextmanager
def _same_settings(part: Observer, supernet: Supernet, optimizer: torch.optim.Optimizer | None) -> Iterator[None]:
    def settings() -> object:
        groups = [] if optimizer is None else optimizer.param_groups
        return dict(supernet.allowed), [{n: v for n, v in group.items() if n != "params"} for group in groups]

    before = copy.deepcopy(settings())
    yield
    require(same(before, settings()), part, "changed what is allowed, or the optimizer's settings")


def _through_a_file(part: Observer, memory: dict[str, Any]) -> dict[str, Any]:
    """The memory after being saved to a checkpoint and read from it."""
    file = io.BytesIO()
    try:
        torch.save(memory, file)
        file.seek(0)
        found = torch.load(file, weights_only=True)
    except (pickle.UnpicklingError, pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(
            f"{type(part).__name__} keeps in its memory what a checkpoint cannot hold: {error}."
        ) from error
    require(same(found, memory), part, "keeps in its memory what a checkpoint gives back differently")
    return found


def _tensors(supernet: Supernet) -> dict[str, Tensor]:
    tensors = {**dict(supernet.model.named_parameters()), **dict(supernet.model.named_buffers())}
    return tensors | {f"alphas {name}": alpha for name, alpha in supernet.alphas.items()}


def _state(result: SearchResult) -> object:
    return result.supernet.state_dict(), list(result.supernet.weights()), dict(result.architecture.decisions)


def _alike(a: SearchResult, b: SearchResult) -> bool:
    return same((a.metrics, _state(a)), (b.metrics, _state(b)))


def _batches(count: int, seed: int, device: torch.device | str) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Batch(
            torch.randn(6, 4, generator=generator).to(device), torch.randint(0, 3, (6,), generator=generator).to(device)
        )
        for _ in range(count)
    ]
