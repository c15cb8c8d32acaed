"""How search steps are carried out on a device: at which precision, and one by one or recorded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from dnas.core.batch import Batch
from dnas.cost import Costs, candidate_costs, candidate_parameters
from dnas.cost.limits import Limits
from dnas.distributed.ranks import ranks
from dnas.method.discretization.within import rules_of
from dnas.method.hypergradient.precision import in_precision
from dnas.method.hypergradient.randomness import draws_random_numbers, generators_of, nothing_is_drawn
from dnas.method.penalty import Penalty
from dnas.searching.capture import CudaRecorder, Recorder, StepCapture, optimizer_tensors
from dnas.searching.held_budget import HeldBudget
from dnas.searching.search_step import StepResult, one_level_step, search_step
from dnas.searching.settings import SearchSettings
from dnas.searching.supernet import Supernet


class Stepper:
    """Takes search steps as the settings ask for them.

    Args:
        supernet: the supernet whose weights and alphas are trained.
        settings: the method, and how it is carried out.
        say: shows a line to a person.
        bounds: limits that expected costs are held at; None without a budget.
        steps_per_epoch: architecture steps in an epoch.
        watched: whether an observer looks at the gradients after every step; a recorded step does not leave them.
        recorder: records steps if `settings.capture` asks for it; None for CUDA graphs on a CUDA device.
    """

    def __init__(
        self,
        supernet: Supernet,
        settings: SearchSettings,
        *,
        say: Callable[[str], None],
        bounds: Limits | None = None,
        steps_per_epoch: int = 1,
        watched: bool = False,
        recorder: Recorder | None = None,
    ):
        self.supernet = supernet
        self.settings = settings
        self.weight_optimizer = settings.weights.build(list(supernet.weights().values()))
        self.alpha_optimizer = settings.alphas.build(supernet.alpha_parameters())
        self.device = supernet.device
        on_gpu = self.device.type == "cuda"
        # On a GPU the samples are drawn there, so that nothing waits for the host and a graph can hold the draw.
        self.generator = torch.Generator(self.device if on_gpu else "cpu").manual_seed(settings.seed)
        self.progress = torch.zeros((), device=self.device)
        self.say = say
        self.watched = watched
        self.recorder = recorder or (CudaRecorder([self.generator]) if on_gpu else None)
        self.held: HeldBudget | None = None  # the budget, where alphas are trained within one
        if bounds is not None and settings.relaxation.trains_alphas:
            rules = rules_of(settings.discretization)
            self.held = HeldBudget(supernet, settings.relaxation, bounds, rules, steps_per_epoch=steps_per_epoch)
        self._penalties: tuple[Penalty, ...] | None = None  # measured for this supernet at the first step
        self._capture: StepCapture | None = None
        self._is_decided = False
        self._draws_nothing = False  # only set if steps are recorded

    def take(self, weight_batches: Sequence[Batch], alpha_batch: Batch | None, progress: float) -> StepResult:
        """One search step.

        Args:
            weight_batches: batches for the weights; more than one if the hypergradient looks ahead.
            alpha_batch: batch for the alphas; None if they do not move. With one level, any batch: it is not looked at.
            progress: progress of the search, from 0 to 1.
        """
        self.progress.fill_(progress)
        batches = [*weight_batches, *([] if alpha_batch is None or self.settings.one_level else [alpha_batch])]
        if self._penalties is None and alpha_batch is not None:
            self._penalties = self._measured(batches[-1])

        def work(batches: Sequence[Batch]) -> StepResult:
            drawing = nothing_is_drawn() if self._draws_nothing else nullcontext()
            with drawing, in_precision(self.settings.precision, self.device):
                return self._step(batches, moves_alphas=alpha_batch is not None)

        capture = self._decided(batches, alpha_batch is not None)
        return work(batches) if capture is None else capture(batches, self._baked(alpha_batch is not None), work)

    def _step(self, batches: Sequence[Batch], *, moves_alphas: bool) -> StepResult:
        if self.held is None or not moves_alphas:
            return self._step_with(self._penalties or (), batches, moves_alphas=moves_alphas)
        result = self._step_with((*(self._penalties or ()), self.held), batches, moves_alphas=True)
        self.held.adapt()
        return result

    def _step_with(self, penalties: Sequence[Penalty], batches: Sequence[Batch], *, moves_alphas: bool) -> StepResult:
        settings = self.settings
        if settings.one_level and moves_alphas:
            return one_level_step(
                self.supernet,
                batch=batches[0],
                weight_optimizer=self.weight_optimizer,
                alpha_optimizer=self.alpha_optimizer,
                relaxation=settings.relaxation,
                penalties=penalties,
                progress=self.progress,
                generator=self.generator,
                clip=settings.weights.clip,
            )
        return search_step(
            self.supernet,
            weight_batch=batches[0],
            weight_optimizer=self.weight_optimizer,
            alpha_batch=batches[-1] if moves_alphas else None,
            alpha_optimizer=self.alpha_optimizer if moves_alphas else None,
            relaxation=settings.relaxation,
            hypergradient=settings.hypergradient,
            penalties=penalties,
            smoothing=settings.smoothing,
            progress=self.progress,
            generator=self.generator,
            clip=settings.weights.clip,
            clip_over=settings.clip_over,
            weights_first=settings.weights_first,
            inner_batches=batches[1:-1] if moves_alphas else (),
        )

    def _measured(self, batch: Batch) -> tuple[Penalty, ...]:
        """The penalties, with what they need to know about the supernet."""

        def measure(unit: str) -> Mapping[str, Costs]:
            model = self.supernet.model
            return candidate_parameters(model) if unit == "parameters" else candidate_costs(model, batch.inputs)

        return tuple(penalty.measured(measure) for penalty in self.settings.penalties)

    # Recording

    def _baked(self, moves_alphas: bool) -> Hashable:
        """Everything that a step reads on the host and that may change."""
        rates = tuple((group["lr"], group["weight_decay"]) for group in self.weight_optimizer.param_groups)
        allowed = tuple(sorted(self.supernet.allowed.items()))
        return moves_alphas, rates, tuple(self.supernet.weights()), allowed

    def _decided(self, batches: Sequence[Batch], moves_alphas: bool) -> StepCapture | None:
        """The recorder of steps, decided at the first step that moves alphas; None if nothing is recorded."""
        if self.recorder is None or not self.settings.capture or self._is_decided or not moves_alphas:
            return self._capture if moves_alphas else None
        self._is_decided = True
        why = self._why_not(batches)
        if why is not None:
            self.say(f"Search steps are not recorded as a CUDA graph: {why}. They are taken one kernel at a time.")
            return None
        for optimizer in (self.weight_optimizer, self.alpha_optimizer):
            make_capturable(optimizer, self.device)
        self._capture = StepCapture(self.recorder, state=self._state, generators=self._generators(), say=self.say)
        return self._capture

    def _why_not(self, batches: Sequence[Batch]) -> str | None:
        """Why steps cannot be recorded, in words; None if they can."""
        settings, supernet = self.settings, self.supernet
        if ranks().size > 1:
            return "several processes exchange gradients"
        if settings.skip_non_finite:
            return "skip_non_finite takes steps back"
        if self.watched:
            return "an observer looks at the gradients after every step"
        if not is_recordable(self.weight_optimizer):
            return f"{type(self.weight_optimizer).__name__} may count its steps on the host"
        if batches[0].carry is not None:
            return "a state is carried from batch to batch"
        before = self.generator.get_state()
        mixtures = supernet.sample(settings.relaxation, self.progress, self.generator)
        self.generator.set_state(before)
        if any(mixtures[name].active not in (None, supernet.allowed.get(name)) for name in supernet.decisions):
            return f"{type(settings.relaxation).__name__} decides on the host which candidates are computed"
        weights = dict[str, Tensor](supernet.weights())
        drawn = draws_random_numbers(lambda: supernet.loss(weights, mixtures, batches[0]), weights)
        self._draws_nothing = not drawn
        if drawn and not settings.one_level:
            return "the model draws random numbers, and the host sees to it that all passes draw the same ones"
        return None

    def _state(self) -> list[list[Tensor]]:
        model = self.supernet.model
        groups = [[*model.parameters(), *model.buffers()], list(self.supernet.alphas.values())]
        groups += [optimizer_tensors(optimizer) for optimizer in (self.weight_optimizer, self.alpha_optimizer)]
        groups += [] if self.held is None else [self.held.tensors()]
        return [group for group in groups if group]

    def _generators(self) -> list[torch.Generator]:
        return [self.generator, *generators_of(self.supernet.alphas)]


def is_recordable(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a recorded step of an optimizer does at each replay what a step does: SGD, or one that can say so."""
    known = type(optimizer).__module__.startswith("torch.optim")
    return known and (
        type(optimizer) is torch.optim.SGD or all("capturable" in group for group in optimizer.param_groups)
    )


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Let an optimizer of `torch.optim` keep its step count on the device, where a graph can increase it."""
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = device.type == "cuda"
    for state in optimizer.state.values():
        if isinstance(state.get("step"), Tensor):
            state["step"] = state["step"].to(device=device, dtype=torch.float32)
    # Steps of another batch size are taken as usual; for these the optimizer would warn that it could be faster.
    optimizer._warned_capturable_if_run_uncaptured = True  # type: ignore[attr-defined]
