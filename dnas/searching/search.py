"""Search for an architecture: the two public functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from dnas.core.architecture import Architecture, Kept
from dnas.core.run import Run, as_run, run_of_rank, writing
from dnas.core.trial_write import check_search_can_be_saved
from dnas.cost.bounds import Bounds
from dnas.cost.limits import Limits
from dnas.data.batches import Batches
from dnas.data.carried import CarriedBatches, ContinuedBatches
from dnas.data.keyed_random import stream_key
from dnas.data.rank_rows import check_data, rows_of
from dnas.distributed.batch_norm import batch_norm_over_ranks
from dnas.distributed.equal import check_same, make_equal
from dnas.distributed.together import together
from dnas.searching.checkpoint import stage_reached
from dnas.searching.handover import check_num_candidates
from dnas.searching.loop import SearchLoop
from dnas.searching.observer import Observer
from dnas.searching.own_bounds import bounds_on, derived
from dnas.searching.result import SearchResult
from dnas.searching.seeded_batches import Data, seeded_batches
from dnas.searching.settings import SearchSettings
from dnas.searching.stage import Stage, stage_seed
from dnas.searching.start import keep_start
from dnas.searching.supernet import Criterion, Supernet
from dnas.system.accepted import accepted, accepted_list
from dnas.system.display import TERMINAL, Display, Silent
from dnas.system.errors import UserError
from dnas.system.interrupt import stop_request
from dnas.system.plain_data import to_plain
from dnas.system.random_state import seeded
from dnas.task.base import Task
from dnas.task.choose import chosen_task, named_criterion


def search(
    model: nn.Module | Supernet,
    train: Data,
    val: Data,
    *,
    task: Task | None = None,
    criterion: Criterion | str | None = None,
    settings: SearchSettings = SearchSettings(),
    validation: Data | None = None,
    stamp: Callable[[dict[str, Kept]], Architecture] = Architecture,
    run: Run | Path | str | None = None,
    observers: Observer | Sequence[Observer] = (),
    display: Display = TERMINAL,
    bounds: Bounds | None = None,
    held: Limits | None = None,
    is_final: bool = True,
) -> SearchResult:
    """Search for an architecture by gradient descent.

    With a run folder, a search that was stopped by Ctrl-C or killed continues from its last checkpoint when it is
    called again; on the CPU the results are bit-identical. A loader of your own may draw from torch's global generator,
    as `DataLoader(shuffle=True)` does; what it draws from elsewhere is not repeated.

    Under torchrun or srun, or in a process group that is there, all processes search together (docs/clusters.md): each
    is given the same arguments and takes its rows of every batch, and the first one writes.

    Before the first step the model, every candidate of a `Choice` and the criterion are tried on the first batch.

    Args:
        model: a module with choices inside, or a supernet made from it.
        train: batches for the weights, `(inputs, targets)`: a `DataLoader`, a list, or `dnas.data.ImageBatches`. Of
            `dnas.data.ContinuedBatches` each begins with the state that the model gave for the last.
        val: batches for the alphas; the weights must never see these data.
        task: criterion and metrics; None for a classification, or if a criterion is given. A supernet has its own.
        criterion: a loss alone instead of a task: `criterion(outputs, targets)` gives a scalar or a dict of them, or
            is the name of one in `torch.nn.functional`, such as 'mse'.
        settings: the method, its optimizers and its length.
        validation: batches on which the supernet is measured after each epoch; None for one pass over `val`.
        stamp: turns what is kept into an `Architecture` (the method `architecture` of a space adds the space's name).
        run: folder for metrics, checkpoints and the result, or its path.
        observers: called after each epoch; any of them may stop the search, or send it back.
        display: where progress is shown: by default one line in a terminal and nothing elsewhere; `dnas.Silent()` shows
            nothing at all.
        bounds: those of `settings.budget` on the network that is delivered (`dnas.searching.own_bounds`); None for
            those on what `dnas.derive` makes of the model.
        held: limits on expected costs of mixtures in place of those of a budget, for a caller who decides by the alphas
            what is kept within them.
        is_final: whether the architecture is the result of the run folder; if not, it is only written as searched.json,
            and what chooses among finalists writes the result.

    Raises:
        UserError: the model has no choice, the data have no batch, candidates cannot be mixed, the model or the
            criterion cannot take a batch, the decisions do not fit the discretization or an observer, an observer would
            see nothing, or the run's checkpoint belongs to another search; or the settings have stages, which
            `search_in_stages` is for.
        NonFiniteLoss: the loss or a weight became NaN or infinite.
        Interrupted: Ctrl-C; a checkpoint has been written.

    Example:
        >>> from dnas import Choice
        >>> model = nn.Sequential(Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(4, 2))
        >>> data = [(torch.randn(8, 4), torch.randint(0, 2, (8,))) for _ in range(4)]
        >>> result = search(model, data[:2], data[2:], settings=SearchSettings(epochs=1))
        >>> result.architecture.decisions["act"] in ("relu", "tanh")
        True
    """
    settings, run = accepted(settings, SearchSettings, "settings"), as_run(run)
    if settings.stages:
        raise UserError(
            f"The settings have {len(settings.stages)} stages, each with a model of its own: use "
            "dnas.search_in_stages(build, ...), where build(stage) makes it."
        )
    observers = accepted_list(observers, Observer, "observers")
    _check_decisions(_built(lambda stage: model, settings, 0, task, criterion), settings, observers)
    accepted(display, Display, "display")
    with together(), run_of_rank(run) as run, writing(run, display.say):
        start = keep_start(model.model if isinstance(model, Supernet) else model, run)
        result = search_in_stages(
            lambda stage: model,
            train,
            val,
            task=task,
            criterion=criterion,
            settings=settings,
            validation=validation,
            stamp=stamp,
            run=run,
            observers=observers,
            display=display,
            bounds=bounds,
            held=held,
            is_final=is_final,
        )
    return replace(result, start=start)


def search_in_stages(
    build: Callable[[Stage], nn.Module | Supernet],
    train: Data,
    val: Data,
    *,
    task: Task | None = None,
    criterion: Criterion | str | None = None,
    settings: SearchSettings = SearchSettings(),
    validation: Data | None = None,
    stamp: Callable[[dict[str, Kept]], Architecture] = Architecture,
    run: Run | Path | str | None = None,
    observers: Observer | Sequence[Observer] = (),
    display: Display = TERMINAL,
    bounds: Bounds | None = None,
    held: Limits | None = None,
    is_final: bool = True,
) -> SearchResult:
    """Search stage by stage: each stage rules out candidates, and the next one may have another supernet.

    Steps and epochs count on, batches and random numbers go on. `Stage` and `dnas.handover` say what a stage takes
    over. An observer that stops ends the whole search. It can be resumed as `search` can.

    Args:
        build: makes the model of a stage. All models must have the same decisions, and their weights must depend on
            nothing but torch's global generator, which is seeded.
        train, val, task, criterion, settings, validation, stamp, run, observers, display, bounds, held, is_final: as in
            `search`.

    Raises:
        UserError, NonFiniteLoss, Interrupted: as `search`; or a stage asks for more candidates than there are.

    Example:
        >>> from dnas import Choice
        >>> def build(stage):
        ...     acts = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "skip": nn.Identity()}
        ...     return nn.Sequential(Choice("act", acts), nn.Linear(4, 2))
        >>> data = [(torch.randn(8, 4), torch.randint(0, 2, (8,))) for _ in range(4)]
        >>> stages = (Stage(epochs=2), Stage(epochs=2, num_candidates=2))
        >>> result = search_in_stages(build, data[:2], data[2:], settings=SearchSettings(epochs=4, stages=stages))
        >>> [len(row) for row in result.supernet.allowed["act"]]
        [2]
    """
    settings, run = accepted(settings, SearchSettings, "settings"), as_run(run)
    observers, display = accepted_list(observers, Observer, "observers"), accepted(display, Display, "display")
    settings.check_length()
    settings.check_observers(observers)
    streams = {"train": train, "val": val, "validation": val if validation is None else validation}
    with together() as current, run_of_rank(run) as run, batch_norm_over_ranks(settings.synchronise_batch_norm):
        check_same(current, "settings", repr(settings))
        display = display if current.is_first else Silent()
        stages = _Stages(build, streams, task, criterion, settings, stamp, run, observers, display, bounds, held)
        with writing(run, display.say), closing(stages):
            return _searched(stages, is_final=is_final)


def _searched(stages: _Stages, *, is_final: bool) -> SearchResult:
    """Take the search from where it is to its end."""
    run, settings = stages.run, stages.settings
    index, before = stage_reached(run, settings)
    loop = stages.loop(index)
    _say_without_choice(loop.supernet, stages.display)
    if run is not None:
        check_search_can_be_saved(run, loop.supernet.model.state_dict(), loop.judging.draft())
    if run is not None and not run.config_path.exists():
        run.write_config({"search": to_plain(settings)})
    with seeded(settings.seed), stop_request() as request:
        while True:
            if before is None:
                loop.checkpoint.resume()
            else:
                loop.checkpoint.take_over(before)
            loop.run_epochs(request)
            if loop.course.stopped or index == len(settings.all_stages) - 1:
                return loop.finish(request, is_final=is_final)
            before, index = loop.checkpoint.state(), index + 1
            loop = stages.loop(index)


@dataclass
class _Stages:
    """Makes the loop of each stage; the bounds of a budget are those that the first stage found."""

    build: Callable[[Stage], nn.Module | Supernet]
    streams: Mapping[str, Data]
    task: Task | None
    criterion: Criterion | str | None
    settings: SearchSettings
    stamp: Callable[[dict[str, Kept]], Architecture]
    run: Run | None
    observers: Sequence[Observer]
    display: Display
    bounds: Bounds | None
    held: Limits | None
    handed_on: list[CarriedBatches] = field(default_factory=list)

    def loop(self, index: int) -> SearchLoop:
        """The loop of stage `index`, with a supernet of its own."""
        supernet = _built(self.build, self.settings, index, self.task, self.criterion)
        _check_decisions(supernet, self.settings, self.observers)
        batches = {
            name: seeded_batches(name, data, device=supernet.device, seed=stream_key(self.settings.seed, stream))
            for stream, (name, data) in enumerate(self.streams.items())
        }
        make_equal(supernet.model, supernet.alphas)
        for name, data in batches.items():
            check_data(name, data)
        batches = {name: rows_of(data) for name, data in batches.items()}
        batches = {name: self._handed_on(name, data, supernet.model) for name, data in batches.items()}
        self._find_bounds(supernet, batches["train"])
        return SearchLoop(
            supernet,
            **batches,
            settings=self.settings,
            stage=index,
            stamp=self.stamp,
            run=self.run,
            observers=self.observers,
            display=self.display,
            bounds=self.bounds,
            held=self.held,
        )

    def _find_bounds(self, supernet: Supernet, train: Batches) -> None:
        if self.settings.budget is None or self.bounds is not None:
            return
        one = next(iter(train.epoch(0)))
        self.bounds = bounds_on(derived(supernet.model, one), self.settings.budget, self.settings.discretization)
        for limit in self.bounds.ranges:
            self.display.say(f"Budget, {limit}.")

    def _handed_on(self, name: str, batches: Batches, model: nn.Module) -> Batches:
        """The same batches; those that continue each other with the state that this model leaves."""
        if not isinstance(batches, ContinuedBatches):
            return batches
        name = "alphas" if name == "val" else name  # of the state in checkpoints
        self.handed_on.append(CarriedBatches(batches.batches, model, name=name, start=batches.start))
        return self.handed_on[-1]

    def close(self) -> None:
        """Take the states of batches that continue each other out of the models."""
        for batches in self.handed_on:
            batches.release()


def _built(
    build: Callable[[Stage], nn.Module | Supernet],
    settings: SearchSettings,
    index: int,
    task: Task | None,
    criterion: Criterion | str | None,
) -> Supernet:
    """The supernet of a stage."""
    seed = stage_seed(settings.seed, index)
    with seeded(seed):
        model = build(settings.all_stages[index])
    if not isinstance(model, Supernet):
        return _supernet(model, task, criterion, seed)
    if task is not None or criterion is not None:
        raise UserError("A Supernet has a criterion of its own; leave out task and criterion, or give them to it.")
    return model


def _supernet(model: nn.Module, task: Task | None, criterion: Criterion | str | None, seed: int) -> Supernet:
    if task is not None:
        return Supernet(model, task=chosen_task(task, criterion, task), seed=seed)
    # A criterion alone: outputs that are class scores have an accuracy all the same.
    loss = nn.functional.cross_entropy if criterion is None else named_criterion(criterion)
    return Supernet(model, loss, seed=seed)


def _say_without_choice(supernet: Supernet, display: Display) -> None:
    """Name the choices that have one candidate, which is most likely a mistake."""
    for name, decision in supernet.decisions.items():
        if decision.kind in ("choice", "inputs") and len(decision.candidates) == 1:
            display.say(
                f"Note: choice {name!r} has one candidate, {decision.candidates[0]!r}: there is nothing to choose."
            )


def _check_decisions(supernet: Supernet, settings: SearchSettings, observers: Sequence[Observer]) -> None:
    """Check that discretization, observers and stages fit the decisions of a supernet.

    Raises:
        UserError: one of them does not fit.
    """
    settings.discretization.check(supernet.decisions)
    for observer in (*settings.observers, *observers):
        observer.check(supernet.decisions)
    for stage in settings.all_stages:
        if stage.num_candidates is not None:
            check_num_candidates(supernet.decisions, stage.num_candidates)
