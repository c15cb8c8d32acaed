"""How finalists are trained and judged, one rung at a time, each in a folder of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.batch import Batch
from dnas.core.run import Run
from dnas.cost import count_flops, count_parameters
from dnas.data.batches import Batches
from dnas.distributed.ranks import ranks
from dnas.finalists.judgement import Judgement, judge
from dnas.finalists.later_epochs import LaterEpochs
from dnas.finalists.proposals import Proposal
from dnas.finalists.same_function import first_samples
from dnas.finalists.settings import FinalistSettings, Rung
from dnas.system.compute import compute_clock
from dnas.system.difference import first_difference
from dnas.system.display import Display, PartOfBar
from dnas.system.errors import NonFiniteLoss, UserError
from dnas.system.interrupt import Interrupted, StopRequest
from dnas.system.plain_data import to_plain
from dnas.system.random_state import seeded
from dnas.system.tensor_file import load_tensors
from dnas.task.base import Task
from dnas.training.distillation import Distillation
from dnas.training.evaluate import device_of, evaluation_mode
from dnas.training.retrain import retrain

FOLDER = "finalists"  # in the folder of the search
_JUDGEMENT = "judgement"  # name of the JSON file that a rung leaves in the folder of a finalist
_SETTINGS = "settings"  # of the one that says under which settings the folder has begun
_DIVERGED = "diverged"  # of the one that a training leaves that has diverged


@dataclass(frozen=True)
class Conditions:
    """What all finalists share.

    Args:
        build: makes the network of an architecture with the weights to start from.
        fresh: the same with new weights, which only tell whether two networks are the same function.
        train: training batches: the weights' part of the data.
        judging: the batches that decide: the alphas' part, without augmentation.
        task: criterion and metrics; its first metric decides.
        settings: number, rungs and training.
        by_loss: whether the loss ranks them and the best is taken; else the metric does, and of those that cannot be
            told apart from the best the cheapest is taken.
        teacher: a trained network that all learn from besides; None for none.
        distillation: how much they learn from it.
    """

    build: Callable[[Architecture], nn.Module]
    fresh: Callable[[Architecture], nn.Module]
    train: Batches
    judging: Batches
    task: Task
    settings: FinalistSettings
    by_loss: bool = False
    teacher: nn.Module | None = None
    distillation: Distillation = Distillation()

    def order(self, judgement: Judgement) -> tuple[float, ...]:
        """What finalists are sorted by: smaller is better."""
        return (judgement.loss,) if self.by_loss else judgement.order

    @property
    def batch(self) -> Batch:
        """A batch like any other."""
        return next(iter(self.judging.epoch(0)))


@dataclass
class Finalist:
    """One finalist.

    Args:
        number: from 0 on, in the order of proposals.
        architecture: its architecture.
        source: who proposes it, in words.
        parameters: number of parameters of its network.
        flops: FLOPs of its network for one sample.
        judgements: one for each rung that it has taken part in.
        failure: why it was dropped in the middle of a training; empty if it was not.
    """

    number: int
    architecture: Architecture
    source: str
    parameters: int
    flops: int
    judgements: list[Judgement] = field(default_factory=list)
    failure: str = ""

    @property
    def last(self) -> Judgement:
        return self.judgements[-1]

    @property
    def name(self) -> str:
        return f"finalist {self.number}"


class Ahead(Protocol):
    """Does trainings ahead of a contest, in its folders, at the same time; the contest then finds them done."""

    def __call__(self, finalists: Sequence[Finalist], rungs: Sequence[Rung]) -> None:
        """Train each finalist in these rungs, one after another."""
        ...


class Contest:
    """Trains and judges finalists; what was done in an earlier call is read from their folders.

    Args:
        conditions: what they share.
        run: folder of all of them, RUN/finalists; finalist 3 has RUN/finalists/003/rung_0, rung_1 ...
        display: shows progress and messages.
        request: whether somebody wants to stop, which is heeded between two trainings.
        ahead: trains several at the same time; None where this process trains all of them.

    Raises:
        UserError: the folder holds finalists of other settings.
    """

    def __init__(
        self, conditions: Conditions, run: Run, display: Display, request: StopRequest, ahead: Ahead | None = None
    ) -> None:
        self.conditions = conditions
        self.run = run
        self.display = display
        self.finalists: list[Finalist] = []
        self.compute = 0.0  # of all trainings and judgements
        self.compute_now = 0.0  # of those that were not read from their folders
        self.seconds = 0.0
        self._request = request
        self._ahead = ahead
        self._num_done = 0
        self._check_folder()

    def _check_folder(self) -> None:
        settings = self.conditions.settings
        if not (self.run.path / f"{_SETTINGS}.json").exists():
            self.run.save_json(_SETTINGS, to_plain(settings))
        difference = first_difference(self.run.load_json(_SETTINGS), settings)
        if difference:
            raise UserError(f"{self.run.path} has begun with other settings: {difference}. Move that folder away.")

    def enter(self, proposals: Sequence[Proposal]) -> list[Finalist]:
        """Make finalists of proposals."""
        entered = []
        for proposal in proposals:
            network = self.conditions.fresh(proposal.architecture).cpu()
            with evaluation_mode(network):
                flops = count_flops(network, first_samples(self.conditions.batch, 1))
            number = len(self.finalists)
            own = Finalist(number, proposal.architecture, proposal.source, count_parameters(network), flops)
            self.finalists.append(own)
            entered.append(own)
        return entered

    def train_ahead(self, finalists: Sequence[Finalist], rungs: Sequence[Rung]) -> None:
        """Let others train those that are not trained yet, if there are others who do.

        Raises:
            UserError: some could not be trained.
            Interrupted: somebody wants to stop.
        """
        left = [one for one in finalists if not self._is_through(one, rungs)]
        if self._ahead is not None and left and not self._request.made:
            self._ahead(left, rungs)

    def _is_through(self, finalist: Finalist, rungs: Sequence[Rung]) -> bool:
        folders = [self._folder(finalist).child(f"rung_{rung.number}").path for rung in rungs]
        return any((folder / f"{_DIVERGED}.json").exists() for folder in folders) or all(
            (folder / f"{_JUDGEMENT}.json").exists() for folder in folders
        )

    def train(self, finalist: Finalist, rung: Rung) -> None:
        """Train a finalist in a rung and judge it; one that diverges gets a `failure` instead of a judgement.

        Raises:
            UserError: its folder holds another architecture.
            Interrupted: somebody wants to stop.
        """
        if ranks().any(self._request.made):
            raise Interrupted(f"The finalists were stopped before another training, in {self.run.path}.")
        own = self._folder(finalist)
        folder = own.child(f"rung_{rung.number}")
        self._num_done += 1
        if not (own.path / "architecture.json").exists():
            own.save_architecture(finalist.architecture)
        elif own.load_architecture() != finalist.architecture:
            raise UserError(f"{own.path} holds another architecture than {finalist.name}: move {self.run.path} away.")
        judged, diverged = (folder.path / f"{name}.json" for name in (_JUDGEMENT, _DIVERGED))
        if not judged.exists() and not diverged.exists():
            self._train_now(finalist, rung, folder)
        if diverged.exists():
            data = folder.load_json(_DIVERGED)
            finalist.failure = str(data["why"])
            self._count(float(data["compute"]), float(data["seconds"]))
            self.display.say(f"{finalist.name.capitalize()} ({finalist.source}) is dropped: {finalist.failure}")
            return
        judgement = Judgement.from_data(folder.load_json(_JUDGEMENT), source=str(judged))
        finalist.judgements.append(judgement)
        self._count(judgement.compute, judgement.seconds)

    @property
    def training_flops(self) -> float:
        """FLOPs of all trainings that were judged: three forward passes for each sample of their epochs.

        A backward pass costs about two forward ones (Kaplan et al. 2020, https://arxiv.org/abs/2001.08361, section
        2.1). All batches count as large as the first; judging is not counted, nor is a training that diverged.
        """
        conditions = self.conditions
        samples = len(conditions.train) * next(iter(conditions.train.epoch(0))).num_samples
        rungs = (
            (one, conditions.settings.rung(number)) for one in self.finalists for number, _ in enumerate(one.judgements)
        )
        return float(sum(3 * samples * rung.epochs * one.flops for one, rung in rungs))

    def _count(self, compute: float, seconds: float) -> None:
        self.compute += compute
        self.seconds += seconds

    def _folder(self, finalist: Finalist) -> Run:
        return self.run.child(f"{finalist.number:03d}")

    def _train_now(self, finalist: Finalist, rung: Rung, folder: Run) -> None:
        conditions, settings = self.conditions, self.conditions.settings
        started = time.perf_counter()
        with seeded(settings.seed):
            network = conditions.build(finalist.architecture)
        clock = compute_clock(device_of(network))
        before_it = clock()

        def taken() -> dict[str, Any]:
            compute = (clock() - before_it) * ranks().size  # ranks work in step
            self.compute_now += compute
            return {"compute": compute, "seconds": time.perf_counter() - started}

        if rung.number:
            before = self._folder(finalist).child(f"rung_{rung.number - 1}")
            network.load_state_dict(load_tensors(before.weights_path))
        total = max(settings.num_trainings, self._num_done)
        bar = PartOfBar(self.display, FOLDER, unit="training", part=self._num_done - 1, num=total)
        try:
            retrain(
                network,
                LaterEpochs(conditions.train, rung.first_epoch),
                task=conditions.task,
                settings=replace(settings.training(rung), distillation=conditions.distillation),
                run=folder,
                display=bar,
                phase=FOLDER,
                teacher=conditions.teacher,
            )
            # One rank judges for all, since machines could round differently, and what they decide must be the same.
            judgement = ranks().from_first(lambda: judge(network, conditions.judging, conditions.task))
        except NonFiniteLoss as error:
            folder.save_json(_DIVERGED, {"why": str(error), **taken()})
            return
        folder.save_json(_JUDGEMENT, replace(judgement, **taken()).to_data())
