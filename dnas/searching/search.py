"""The search loop: alternate steps of alphas and weights until an architecture can be read off."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from dnas.core.architecture import Architecture, Kept
from dnas.core.batch import Batch, map_tensors
from dnas.core.last_checkpoint import CHECKPOINT, LastCheckpoint
from dnas.core.mixture import Active, Mixture
from dnas.core.progress import set_progress
from dnas.core.run import Run
from dnas.data.batches import Batches
from dnas.data.cycle import Cycle
from dnas.data.iterable_batches import IterableBatches
from dnas.data.keyed_random import stream_key
from dnas.method.discretization import Argmax
from dnas.method.discretization.genome import is_whole
from dnas.method.discretization.genome import kept as kept_of
from dnas.searching.execution import Stepper
from dnas.searching.handover import Widening, check_num_candidates, load_optimizer, load_pruned, load_widened
from dnas.searching.observer import EpochReport, GoBack, Observer, StepReport, Stop, skip_share
from dnas.searching.search_step import StepResult
from dnas.searching.settings import SearchSettings
from dnas.searching.stage import Stage
from dnas.searching.supernet import Criterion, Supernet
from dnas.searching.supernet_measures import evaluate_supernet, mean_entropy
from dnas.searching.totals import Totals
from dnas.system.difference import first_difference, fixed_settings
from dnas.system.display import Display, Silent
from dnas.system.errors import NonFiniteLoss, UserError
from dnas.system.interrupt import Interrupted, StopRequest, stop_request
from dnas.system.plain_data import to_plain
from dnas.system.random_state import random_state, restore_random_state, seeded, seeded_items

Data = Batches | Iterable[Any]


@dataclass(frozen=True)
class SearchResult:
    """What a search leaves.

    Args:
        architecture: what is kept.
        supernet: with its final weights and alphas.
        metrics: one row of scalars per epoch. Where an observer has sent the search back, epochs that were given up
            have theirs as well, and rows from there on say which `attempt` they are of.
        seconds: time spent in steps, evaluation and discretization, over all parts of a resumed run.
    """

    architecture: Architecture
    supernet: Supernet
    metrics: list[dict[str, float]]
    seconds: float


def search(
    model: nn.Module | Supernet,
    train: Data,
    val: Data,
    *,
    criterion: Criterion = nn.functional.cross_entropy,
    settings: SearchSettings = SearchSettings(),
    validation: Data | None = None,
    stamp: Callable[[dict[str, Kept]], Architecture] = Architecture,
    run: Run | None = None,
    observers: Sequence[Observer] = (),
    display: Display = Silent(),
) -> SearchResult:
    """Search for an architecture by gradient descent.

    With a run folder the search can be stopped by Ctrl-C or killed, and calling it again goes on from the last
    checkpoint, on the CPU to bit-identical results. A loader of your own may draw from torch's global generator, as
    `DataLoader(shuffle=True)` does; what it draws from elsewhere is not repeated.

    Args:
        model: a module with choices inside, or a supernet made from it.
        train: batches for the weights, `(inputs, targets)`: a `DataLoader`, a list, or `dnas.data.ImageBatches`.
        val: batches for the alphas; data that the weights never see.
        criterion: for a model: `criterion(outputs, targets)` gives a scalar or a dict of them.
        settings: the method, its optimizers and its length.
        validation: batches on which the supernet is measured after each epoch; None for one pass over `val`.
        stamp: turns what is kept into an `Architecture` (a space's `architecture` writes its name into it).
        run: folder for metrics, checkpoints and the result.
        observers: called after each epoch; any of them may stop the search, or send it back.
        display: where progress is shown.

    Raises:
        UserError: no choice in the model, no batch in the data, decisions that do not fit the discretization or an
            observer, an observer that would see nothing, or the run's checkpoint is of another search; or the settings
            have stages, for which see `search_in_stages`.
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
    if settings.stages:
        raise UserError(
            f"The settings have {len(settings.stages)} stages, each with a model of its own: use "
            "dnas.search_in_stages(build, ...), where build(stage) makes it."
        )
    return search_in_stages(
        lambda stage: model,
        train,
        val,
        criterion=criterion,
        settings=settings,
        validation=validation,
        stamp=stamp,
        run=run,
        observers=observers,
        display=display,
    )


def search_in_stages(
    build: Callable[[Stage], nn.Module | Supernet],
    train: Data,
    val: Data,
    *,
    criterion: Criterion = nn.functional.cross_entropy,
    settings: SearchSettings = SearchSettings(),
    validation: Data | None = None,
    stamp: Callable[[dict[str, Kept]], Architecture] = Architecture,
    run: Run | None = None,
    observers: Sequence[Observer] = (),
    display: Display = Silent(),
) -> SearchResult:
    """Search stage by stage: from each one candidates are ruled out, and another supernet may follow.

    Steps and epochs count on, batches and random numbers go on. What a stage takes over is said in `Stage` and in
    `dnas.handover`; an observer that stops ends the whole search. Stopped or killed, it goes on as `search` does.

    Args:
        build: makes the model of a stage, with the same decisions in each and weights that depend on nothing but
            torch's global generator, which is seeded.
        train, val, criterion, settings, validation, stamp, run, observers, display: as in `search`.

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
    settings.check_length()
    settings.check_observers(observers)
    stages = settings.all_stages

    def loop_of(index: int) -> _Loop:
        supernet = _built(build, stages[index], criterion, settings.seed if index == 0 else _key(settings, index))
        settings.discretization.check(supernet.decisions)
        for observer in (*settings.observers, *observers):
            observer.check(supernet.decisions)
        for stage in stages:
            if stage.num_candidates is not None:
                check_num_candidates(supernet.decisions, stage.num_candidates)
        return _Loop(
            supernet,
            train=_as_batches("train", train, supernet, stream_key(settings.seed, 0)),
            val=_as_batches("val", val, supernet, stream_key(settings.seed, 1)),
            validation=_as_batches(
                "validation", val if validation is None else validation, supernet, stream_key(settings.seed, 2)
            ),
            settings=settings,
            stage=index,
            stamp=stamp,
            run=run,
            observers=observers,
            display=display,
        )

    index, before = _stage_reached(run, settings)
    loop = loop_of(index)
    if run is not None and not run.config_path.exists():
        run.write_config({"search": to_plain(settings)})
    try:
        with seeded(settings.seed), stop_request() as request:
            while True:
                if before is None:
                    loop.resume()
                else:
                    loop.take_over(before)
                loop.run_epochs(request)
                if loop.stopped or index == len(stages) - 1:
                    return loop.finish(request)
                before, index = loop.state(), index + 1
                loop = loop_of(index)
    finally:
        if run is not None:
            run.close()


def _built(build: Callable[[Stage], nn.Module | Supernet], stage: Stage, criterion: Criterion, seed: int) -> Supernet:
    with seeded(seed):
        model = build(stage)
    return model if isinstance(model, Supernet) else Supernet(model, criterion, seed=seed)


def _key(settings: SearchSettings, stage: int) -> int:
    """The seed of what is new in a later stage."""
    return stream_key(settings.seed, stage)


def _stage_reached(run: Run | None, settings: SearchSettings) -> tuple[int, dict[str, Any] | None]:
    """The index of the stage to go on with, and the state that the one before has left, if that was all of it."""
    if run is None or not settings.stages or not run.checkpoint_path(CHECKPOINT).exists():
        return 0, None
    state = run.load_checkpoint(CHECKPOINT)
    stage, step, per_epoch = (state.get(name) for name in ("stage", "step", "steps_per_epoch"))
    if not (isinstance(stage, int) and isinstance(step, int) and isinstance(per_epoch, int)):
        return 0, None  # the loop says what is wrong with it
    if not 0 <= stage < len(settings.stages):
        return 0, None
    ended = step >= settings.parts[stage].end * per_epoch and not state.get("stopped")
    return (stage + 1, state) if ended and stage + 1 < len(settings.stages) else (stage, None)


class _Loop:
    """A search in progress. Everything that changes is in `state()`."""

    def __init__(
        self,
        supernet: Supernet,
        *,
        train: Batches,
        val: Batches,
        validation: Batches,
        settings: SearchSettings,
        stage: int,
        stamp: Callable[[dict[str, Kept]], Architecture],
        run: Run | None,
        observers: Sequence[Observer],
        display: Display,
    ):
        self.supernet = supernet
        self.train_stream = Cycle(train)
        self.val_stream = Cycle(val)
        self.validation = validation
        self.settings = settings
        self.stage = stage
        self.part = settings.parts[stage]
        self.stamp = stamp
        self.run = run
        self.observers = (*settings.observers, *observers)
        self.memories: list[dict[str, Any]] = [{} for _ in self.observers]
        self.display = display
        self.steps_per_epoch = len(train)
        self.watches_steps = any(observer.watches_steps for observer in self.observers)
        self.stepper = Stepper(supernet, settings, say=display.say, watched=self.watches_steps)
        self.weight_optimizer = self.stepper.weight_optimizer
        self.alpha_optimizer = self.stepper.alpha_optimizer
        self.generator = self.stepper.generator
        self.weight_names = list(supernet.weights())  # of the optimizer's tensors; some may be frozen later
        self.step = self.part.first * self.steps_per_epoch
        self.attempt = 1  # one more each time an observer has sent the search back
        self.given_up = 0  # steps that were taken and are not part of `step`
        self.kept: dict[int, dict[str, Any]] = {}  # what may be gone back to, by epoch, where there is no run folder
        self.seconds = 0.0
        self.labels: dict[str, int] = {"stage": stage + 1} if settings.stages else {}  # of rows of metrics
        self.shown: dict[str, float] = dict(self.labels)  # beside the progress bar
        self.stopped = False  # by an observer
        self.result_epoch: int | None = None  # whose alphas are the result; None for the last
        self.alphas_by_epoch: list[dict[str, Tensor]] = []
        self.tuning_steps = 0  # of a discretization that trains; they are no part of a checkpoint
        self.totals = Totals()
        self.epoch_rows: list[dict[str, float]] = []
        self._upcoming: deque[Batch] = deque()
        self._last_batches: tuple[Batch | None, Batch | None] = (None, None)
        self.checkpoint = LastCheckpoint(
            run,
            "search",
            state=self.state,
            restore=self._restore,
            difference=self._difference,
            device=_device(supernet),
            display=display,
        )

    # The loop

    def run_epochs(self, request: StopRequest) -> None:
        total = self.settings.epochs * self.steps_per_epoch
        end = self.part.end * self.steps_per_epoch
        if self.settings.stages and self.step < end:
            self._say_stage()
        if not self.supernet.model.training:  # parts of a training model may be in evaluation mode, and stay so
            self.supernet.model.train()
        while self.step < end and not self.stopped:
            started = time.perf_counter()
            self._set_learning_rate()
            self._one_step()
            epoch_ended = self.step % self.steps_per_epoch == 0
            if self.step % self.settings.log_every == 0 or epoch_ended:
                self._log_step()
            if epoch_ended:
                self._end_epoch()
            self.display.update("search", self.steps_taken, total + self.given_up, self.shown)
            self.seconds += time.perf_counter() - started
            if epoch_ended or request.made or self.checkpoint.is_due(self.settings.checkpoint_minutes):
                self.save()
            if request.made:
                raise Interrupted(self.checkpoint.how_to_go_on(self._place))

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch

    @property
    def steps_taken(self) -> int:
        """All of them, those that were given up included: what rows of metrics are counted by."""
        return self.step + self.given_up

    @property
    def _progress(self) -> float:
        return self.part.progress(self.step, self.steps_per_epoch)

    @property
    def progress(self) -> Tensor:
        return torch.tensor(self._progress)

    def _one_step(self) -> None:
        settings = self.settings
        due = self.epoch >= self.part.warmup_end and self.step % settings.weight_steps == 0
        alphas_move = due and settings.relaxation.trains_alphas
        look_ahead = 0 if settings.one_level or not alphas_move else settings.hypergradient.num_train_batches
        weight_batches = self._next_batches(max(look_ahead, 1))
        alpha_batch = None
        if alphas_move:
            alpha_step = self.step // settings.weight_steps
            alpha_batch = weight_batches[0] if settings.one_level else self.val_stream.batch(alpha_step)
        self._note(weight_batches[0], alpha_batch, self.stepper.take(weight_batches, alpha_batch, self._progress))

    def _note(self, weight_batch: Batch, alpha_batch: Batch | None, result: StepResult) -> None:
        """Count a step, add its scalars up, and tell the observers."""
        epoch = self.epoch
        self.step += 1
        self._last_batches = (weight_batch, alpha_batch or self._last_batches[1])
        self.totals.add(self.step, result.scalars, result.num_samples, result.aux.outputs, weight_batch.targets)
        if self.watches_steps:
            mixtures = self.supernet.expected(self.settings.relaxation, self.progress)
            for observer, memory in zip(self.observers, self.memories, strict=True):
                observer.step_ended(
                    StepReport(self.step, epoch, self.supernet, mixtures, weight_batch, alpha_batch, memory)
                )

    def _next_batches(self, count: int) -> list[Batch]:
        """The training batch of this step and those that follow it, which several inner steps look ahead to."""
        while len(self._upcoming) < count:
            self._upcoming.append(self.train_stream.batch(self.step + len(self._upcoming)))
        batches = list(self._upcoming)[:count]
        self._upcoming.popleft()
        return batches

    def _set_learning_rate(self) -> None:
        # Once per epoch, as in DARTS.
        rate = self.settings.weights.lr_at(self.part.progress(self.epoch))
        for group in self.weight_optimizer.param_groups:
            group["lr"] = rate

    # After some steps, and after an epoch

    def _log_step(self) -> None:
        self._check_losses()
        scalars = self.totals.latest()
        if self.run is not None:
            self.run.log(self.steps_taken, {"epoch": self.epoch, "phase": "step", **self.labels, **scalars})
        self.shown |= {name: scalars[name] for name in ("train_loss", "train_accuracy") if name in scalars}

    def _end_epoch(self) -> None:
        scalars = self.totals.means()
        self.totals = Totals()
        mixtures = self.supernet.expected(self.settings.relaxation, self.progress)
        if self.settings.validate_every and self.epoch % self.settings.validate_every == 0:
            scalars |= {f"validation_{name}": value for name, value in self._measure(mixtures).items()}
        self.shown |= {name: value for name, value in scalars.items() if name == "validation_accuracy"}
        gates = self.settings.relaxation.gates
        scalars["entropy"] = mean_entropy(self.supernet.decisions, mixtures, gates=gates)
        scalars["learning_rate"] = self.weight_optimizer.param_groups[0]["lr"]
        architecture = None if self.settings.discretization.needs_training else self._architecture(mixtures)
        share = self._skip_share(mixtures, architecture)
        scalars |= {} if share is None else {"skip_share": share}
        self.alphas_by_epoch.append(
            {name: alpha.detach().cpu().clone() for name, alpha in self.supernet.alphas.items()}
        )
        answers = self._tell_observers(scalars, mixtures, architecture)
        for stop in (answer for answer in answers if isinstance(answer, Stop)):
            self.stopped, self.result_epoch = True, stop.epoch
        row = {"epoch": self.epoch, **self.labels, **scalars}
        self.epoch_rows.append(row)
        if self.run is not None:
            self.run.log(self.steps_taken, {"phase": "epoch", **row, "seconds": self.seconds})
            if architecture is not None:
                self.run.save_architecture(architecture, self.epoch)
        targets = [answer.epoch for answer in answers if isinstance(answer, GoBack)]
        if targets and not self.stopped:
            self._go_back(min(targets))
        elif self._may_go_back_to(self.epoch):
            self._keep()

    def _tell_observers(
        self, scalars: dict[str, float], mixtures: Mapping[str, Mixture], architecture: Architecture | None
    ) -> list[Stop | GoBack]:
        """What the observers want after an epoch; they may add to `scalars`."""
        train_batch, val_batch = self._last_batches
        assert train_batch is not None
        answers = [
            observer.epoch_ended(
                EpochReport(
                    epoch=self.epoch,
                    step=self.step,
                    progress=self.progress,
                    supernet=self.supernet,
                    mixtures=mixtures,
                    relaxation=self.settings.relaxation,
                    architecture=architecture,
                    train_batch=train_batch,
                    val_batch=val_batch,
                    scalars=scalars,
                    weight_optimizer=self.weight_optimizer,
                    evaluate=self._accuracy_with,
                    memory=memory,
                    attempt=self.attempt,
                )
            )
            for observer, memory in zip(self.observers, self.memories, strict=True)
        ]
        return [answer for answer in answers if answer is not None]

    # Going back

    def _may_go_back_to(self, epoch: int) -> bool:
        return epoch > self.part.first and any(observer.may_go_back_to(epoch) for observer in self.observers)

    def _keep(self) -> None:
        """Keep what an observer may go back to: a file for each epoch, or in memory."""
        if self.run is None:
            self.kept[self.epoch] = _copied(self._moving())
        else:
            self.run.save_checkpoint(_kept_name(self.epoch), self._moving())

    def _go_back(self, epoch: int) -> None:
        """Go on from the end of an earlier epoch, with the optimizers' settings of now."""
        if not (epoch < self.epoch and self._may_go_back_to(epoch)):
            raise UserError(
                f"After epoch {self.epoch} an observer asks to go back to epoch {epoch}, whose state was not kept: it "
                "must be an earlier epoch of the same stage, for which the observer's may_go_back_to gives True."
            )
        run, device = self.run, _device(self.supernet)
        kept = self.kept[epoch] if run is None else run.load_checkpoint(_kept_name(epoch), device)
        self._put_back(kept)
        for optimizer, name in ((self.weight_optimizer, "weight_optimizer"), (self.alpha_optimizer, "alpha_optimizer")):
            _copy_optimizer_state(optimizer, kept[name]["state"])
        del self.alphas_by_epoch[epoch:]
        self._upcoming.clear()
        self.display.say(
            f"Going back from the end of epoch {self.epoch} to that of epoch {epoch}, as an observer asks: the search "
            f"takes {self.epoch - epoch} epochs longer than planned."
        )
        self.given_up += self.step - epoch * self.steps_per_epoch
        self.step = epoch * self.steps_per_epoch
        self._count_attempt(self.attempt + 1)

    def _count_attempt(self, attempt: int) -> None:
        self.attempt = attempt
        if attempt > 1:
            self.labels["attempt"] = self.shown["attempt"] = attempt

    def finish(self, request: StopRequest) -> SearchResult:
        """Discretize, and write what was found."""
        started = time.perf_counter()
        if self.result_epoch is not None:
            with torch.no_grad():
                for name, alpha in self.alphas_by_epoch[self.result_epoch - 1].items():
                    self.supernet.alphas[name].copy_(alpha)
        architecture = self._architecture(self.supernet.expected(self.settings.relaxation, self.progress), request)
        self.seconds += time.perf_counter() - started
        if self.run is not None:
            self.run.save_architecture(architecture)
            self.run.save_json("search", {"seconds": self.seconds, "steps": self.steps_taken, "epochs": self.epoch})
            for path in self.run.checkpoint_path(CHECKPOINT).parent.glob("epoch_*.pt"):
                path.unlink()  # kept by _keep, and of no use any more
        return SearchResult(architecture, self.supernet, self.epoch_rows, self.seconds)

    # Evaluation and discretization

    def _architecture(self, mixtures: Mapping[str, Mixture], request: StopRequest | None = None) -> Architecture:
        """What the discretization keeps.

        Raises:
            Interrupted: Ctrl-C while it trained or evaluated; it begins anew from the last checkpoint.
        """

        def heeded() -> None:
            if request is not None and request.made:
                raise Interrupted(self.checkpoint.how_to_go_on(self._place))

        def evaluate(active: Mapping[str, Active]) -> float:
            heeded()
            return self._accuracy_with(active)

        def train(epochs: int, active: Mapping[str, Active] | None = None) -> None:
            self._train_weights(epochs, active or {}, heeded)

        discretization = self.settings.discretization.seeded(self.settings.seed)
        kept = discretization(self.supernet.decisions, mixtures, evaluate=evaluate, train=train)
        return self.stamp(kept)

    def _skip_share(self, mixtures: Mapping[str, Mixture], architecture: Architecture | None) -> float | None:
        """Of what is kept after an epoch; where that is decided at the end only, of what the alphas have strongest."""
        if architecture is None and self.settings.relaxation.trains_alphas:
            kept = Argmax()(self.supernet.decisions, mixtures, evaluate=_not_needed, train=_not_needed)
            architecture = Architecture(kept)
        return None if architecture is None else skip_share(architecture)

    def _measure(self, mixtures: Mapping[str, Mixture]) -> dict[str, float]:
        set_progress(self.supernet.model, self.progress)
        return evaluate_supernet(self.supernet, mixtures, self.validation.epoch(0))

    def _accuracy_with(self, active: Mapping[str, Active]) -> float:
        decisions = self.supernet.decisions
        if is_whole(active, decisions):  # judged as it is derived: gates open, edges without weights
            mixtures = self.supernet.one_hot(Architecture(kept_of(active, decisions)))
        else:
            with self.supernet.only(active):
                mixtures = self.supernet.expected(self.settings.relaxation, self.progress)
        measured = self._measure(mixtures)
        return measured.get("accuracy", -measured["loss"])  # what is no classifier has a loss alone

    def _train_weights(self, epochs: int, active: Mapping[str, Active], heeded: Callable[[], None]) -> None:
        """More epochs of the weights alone, with a constant learning rate; batches go on where they were."""
        settings = self.settings.weights
        for group in self.weight_optimizer.param_groups:
            group["lr"] = self.settings.tuning_lr * settings.lr_at(0.0)
        total = epochs * self.steps_per_epoch
        with self.supernet.only(active):
            for step in range(total):
                heeded()
                self.stepper.take([self.train_stream.batch(self.step + self.tuning_steps)], None, self._progress)
                self.tuning_steps += 1
                self.display.update("tuning", step + 1, total, {})

    # Checkpoints

    def _moving(self) -> dict[str, Any]:
        """The part of the state that going back puts back."""
        return {
            "supernet": self.supernet.state_dict(),
            "trained": list(self.supernet.weights()),  # an observer may have frozen others
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "random_state": random_state(),
            "memories": self.memories,
        }

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "attempt": self.attempt,
            "given_up": self.given_up,
            "settings": fixed_settings(self.settings),
            "stage": self.stage,
            "stopped": self.stopped,
            "seconds": self.seconds,
            **self._moving(),
            "weight_names": self.weight_names,
            "totals": self.totals.state(),
            "epoch_rows": self.epoch_rows,
            "result_epoch": self.result_epoch,
            "alphas_by_epoch": self.alphas_by_epoch,
        }

    def save(self) -> None:
        """Write a checkpoint where there is a run folder; never one with a non-finite weight."""
        self._check_losses()
        self._check_weights()
        self.checkpoint.save()

    def resume(self) -> None:
        """Go on from the run's checkpoint, where there is one."""
        if self.checkpoint.resume():
            self.checkpoint.forget_rows_after(self.steps_taken)
            self.checkpoint.say_going_on(self._place)

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Begin where the stage before has ended."""
        with self.checkpoint.checked(state):
            self._take_over(state)
        self.checkpoint.forget_rows_after(self.steps_taken)  # of this stage, where it began before and was killed

    def _take_over(self, state: Mapping[str, Any]) -> None:
        stage, before = self.settings.all_stages[self.stage], self.settings.parts[self.stage - 1]
        load_pruned(
            self.supernet,
            state["supernet"]["alphas"],
            state["supernet"]["allowed"],
            num_candidates=stage.num_candidates,
            relaxation=self.settings.relaxation,
            progress=torch.tensor(before.progress(before.end)),
            carry=stage.carry,
        )
        if stage.carry:
            widening = Widening(_key(self.settings, self.stage))
            load_widened(self.supernet, state["supernet"]["model"], widening)
            weights, names = self.supernet.weights(), state["weight_names"]
            load_optimizer(self.weight_optimizer, weights, state["weight_optimizer"], names, widening)
            alphas, names = self.supernet.alphas, list(state["supernet"]["alphas"])
            load_optimizer(self.alpha_optimizer, alphas, state["alpha_optimizer"], names, widening)
            for name in set(state["weight_names"]) - set(state["trained"]):
                if name in weights:
                    weights[name].requires_grad_(False)
            for memory, remembered in zip(self.memories, state["memories"], strict=False):
                memory.update(remembered)
        self.generator.set_state(state["generator"].cpu())
        self.seconds, self.given_up = state["seconds"], state["given_up"]
        self._count_attempt(state["attempt"])
        self.epoch_rows, self.alphas_by_epoch = list(state["epoch_rows"]), list(state["alphas_by_epoch"])
        restore_random_state(state["random_state"])

    def _say_stage(self) -> None:
        stage, part = self.settings.all_stages[self.stage], self.part
        left = "" if stage.num_candidates is None else f", {stage.num_candidates} candidates left in each choice"
        self.display.say(
            f"Stage {self.stage + 1} of {len(self.settings.stages)}: epochs {part.first + 1} to {part.end}{left}."
        )

    def _put_back(self, state: Mapping[str, Any]) -> None:
        """Everything in `_moving()` but the optimizers, in place."""
        self.supernet.load_state_dict(state["supernet"])
        for name, weight in self.supernet.model.named_parameters():
            weight.requires_grad_(name in state["trained"])
        self.generator.set_state(state["generator"].cpu())
        for memory, before in zip(self.memories, state["memories"], strict=False):  # other observers may watch now
            memory.clear()
            memory.update(_copied(before))
        restore_random_state(state["random_state"])

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._put_back(state)
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
        self.totals = Totals.from_state(state["totals"])
        self.step, self.stopped, self.seconds = state["step"], state["stopped"], state["seconds"]
        self.given_up = state["given_up"]
        self._count_attempt(state["attempt"])
        self.epoch_rows, self.alphas_by_epoch = state["epoch_rows"], state["alphas_by_epoch"]
        self.result_epoch = state["result_epoch"]
        if state["stage"] != self.stage:
            raise TypeError(f"the stage must be {self.stage} here; got {state['stage']!r}.")

    def _difference(self, state: Mapping[str, Any]) -> str:
        """What a state shows to be other than here: the settings, or the length of the data."""
        there = {name: state[name] for name in ("settings", "steps_per_epoch")}
        return first_difference(there, {"settings": self.settings, "steps_per_epoch": self.steps_per_epoch})

    @property
    def _place(self) -> str:
        return f"step {self.step} (epoch {self.epoch})"

    def _check_losses(self) -> None:
        step = self.totals.first_non_finite()
        if step is not None:
            bad = [f"{name} = {value}" for name, value in self.totals.latest().items() if not _is_finite(value)]
            raise NonFiniteLoss(self._diverged(f"at step {step}", ", ".join(bad) or "a loss was NaN or infinite"))

    def _check_weights(self) -> None:
        tensors = {**dict(self.supernet.model.named_parameters()), **self.supernet.alphas}
        for optimizer in (self.weight_optimizer, self.alpha_optimizer):
            for index, state in enumerate(optimizer.state.values()):
                tensors |= {f"{name} of weight {index}": t for name, t in state.items() if isinstance(t, Tensor)}
        for name, tensor in tensors.items():
            if not bool(tensor.isfinite().all()):
                raise NonFiniteLoss(self._diverged(f"in step {self.step}", f"{name} is NaN or infinite"))

    def _diverged(self, when: str, what: str) -> str:
        rate = self.weight_optimizer.param_groups[0]["lr"]
        return (
            f"The search diverged {when} (epoch {self.epoch}): {what}. Lower the weights' learning rate "
            f"(now {rate:.3g}) or clip their gradient (now {self.settings.weights.clip}), and look for non-finite "
            f"inputs.{self.checkpoint.last_good()}"
        )


def _not_needed(*arguments: object) -> NoReturn:
    raise AssertionError("the strongest candidates are found without evaluation or training")


def _kept_name(epoch: int) -> str:
    """Of the checkpoint that an observer may go back to."""
    return f"epoch_{epoch:04d}"


def _copied(state: Any) -> Any:
    """Plain data and tensors as they are now, whatever becomes of these."""
    return map_tensors(lambda tensor: tensor.detach().clone(), state)


def _copy_optimizer_state(optimizer: torch.optim.Optimizer, before: Mapping[int, Mapping[str, Any]]) -> None:
    """Let an optimizer hold of each weight what it held `before`, in place: a recorded step knows where it is.

    What it had not begun to hold then is 0, as SGD and Adam begin.
    """
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                old = before.get(index, {}).get(name)
                value.zero_() if old is None else value.copy_(old)


def _is_finite(value: float) -> bool:
    return value - value == 0.0


def _as_batches(name: str, data: Data, supernet: Supernet, seed: int) -> Batches:
    batches = (
        data if isinstance(data, Batches) else _SeededBatches(IterableBatches(data, device=_device(supernet)), seed)
    )
    if len(batches) < 1:
        raise UserError(f"There is nothing to search with: {name} holds no batch.")
    return batches


@dataclass(frozen=True)
class _SeededBatches(Batches):
    """A user's loader whose epochs depend on a seed alone, so that a search can go on in the middle of one."""

    batches: Batches
    seed: int

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return seeded_items(self.batches.epoch(epoch, start), stream_key(self.seed, epoch))


def _device(supernet: Supernet) -> torch.device:
    return next(iter(supernet.alphas.values())).device
