"""The loop of a search: steps of alphas and weights, epoch after epoch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.utils import get_total_norm

from dnas.core.architecture import Architecture, Kept
from dnas.core.batch import Batch
from dnas.core.run import Run
from dnas.core.training_mode import set_training_mode
from dnas.cost.bounds import Bounds
from dnas.cost.limits import Limits
from dnas.data.batches import Batches
from dnas.data.cycle import Cycle
from dnas.distributed.equal import check_equal
from dnas.distributed.ranks import ranks
from dnas.searching.checkpoint import SearchCheckpoint
from dnas.searching.course import Course
from dnas.searching.execution import Stepper
from dnas.searching.finiteness import non_finite_of
from dnas.searching.first_batch import FirstBatches
from dnas.searching.judging import Judging
from dnas.searching.observer import GoBack, Observer, Stop
from dnas.searching.result import SearchResult
from dnas.searching.search_step import StepResult
from dnas.searching.settings import SearchSettings
from dnas.searching.supernet import Supernet
from dnas.searching.totals import Totals
from dnas.searching.watching import Watching
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.system.interrupt import Interrupted, StopRequest
from dnas.system.tensor_file import first_non_finite
from dnas.task.batch_check import Given, bad_inputs

SEARCHED = "searched.json"  # the architecture of a search whose result is chosen among finalists


class SearchLoop:
    """Takes the steps of one stage of a search.

    It is longer than other classes, since steps, epochs and going back all move the same position in the search; what
    is judged, watched and saved is in classes of their own.

    Args:
        supernet: the supernet of the stage.
        train: batches for the weights.
        val: batches for the alphas.
        validation: batches on which the supernet is measured.
        settings: settings of the whole search.
        stage: index of the stage.
        stamp: turns what is kept into an `Architecture`.
        run: folder for metrics, checkpoints and the result; None to write nothing.
        observers: the caller's observers; they come after those of the settings.
        display: where progress is shown.
        bounds: of the settings' budget; None without one.
        held: limits that are held instead during the search, and that do not concern the architecture at its end.
    """

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
        bounds: Bounds | None = None,
        held: Limits | None = None,
    ):
        observers = (*settings.observers, *observers)
        watched = any(observer.watches_steps for observer in observers)
        part, in_stages, memories = settings.parts[stage], bool(settings.stages), [{} for _ in observers]
        self.supernet, self.settings, self.run, self.display = supernet, settings, run, display
        self.train, self.val = Cycle(train), Cycle(val)
        self.stepper = Stepper(
            supernet,
            settings,
            say=display.say,
            bounds=held or (bounds if settings.budget is not None and settings.budget.priced else None),
            steps_per_epoch=max(len(train) // settings.weight_steps, 1),
            watched=watched,
        )
        self.course = Course(part, stage, in_stages, len(train), memories)
        self.judging = Judging(
            self.stepper,
            self.course,
            settings,
            train_on=self._train_on,
            validation=validation,
            bounds=bounds,
            stamp=stamp,
            display=display,
        )
        self.watching = Watching(
            observers, stepper=self.stepper, course=self.course, settings=settings, judging=self.judging
        )
        self.checkpoint = SearchCheckpoint(self.stepper, self.course, settings, run=run, display=display)
        self.shown: dict[str, float] = {}  # numbers beside the progress bar
        self.first_batches = FirstBatches({"train": train, "val": val, "validation": validation})
        self._batch_is_tried = bool(supernet.allowed)  # of a later stage, all but what is ruled out was tried
        self._upcoming: deque[Batch] = deque()

    def run_epochs(self, request: StopRequest) -> None:
        """Take the remaining steps of the stage.

        Raises:
            Interrupted: a stop was requested; a checkpoint has been written.
            NonFiniteLoss: a loss or a weight became NaN or infinite.
        """
        course = self.course
        if self.settings.stages and course.step < course.end:
            self._say_stage()
        if not self.supernet.model.training:  # otherwise parts that the user put into evaluation mode stay in it
            set_training_mode(self.supernet.model)
        while course.step < course.end and not course.stopped:
            started = time.perf_counter()
            self._set_learning_rate()
            self._one_step()
            epoch_ended = course.epoch_has_ended
            if course.step % self.settings.log_every == 0 or epoch_ended:
                self._log_step()
            if epoch_ended:
                self._end_epoch()
            self._show_progress()
            course.seconds += time.perf_counter() - started
            is_stopped = ranks().any(request.made)
            if epoch_ended or is_stopped or self.checkpoint.last.is_due(self.settings.checkpoint_minutes):
                self.checkpoint.save()
            if is_stopped:
                raise self._interrupted()

    # A step

    def _one_step(self) -> None:
        settings, course = self.settings, self.course
        due = course.epoch >= course.part.warmup_end and course.step % settings.weight_steps == 0
        alphas_move = due and settings.relaxation.trains_alphas
        look_ahead = 0 if settings.one_level or not alphas_move else settings.hypergradient.num_train_batches
        weight_batches = self._next_batches(max(look_ahead, 1))
        alpha_batch, checks = None, self.first_batches.checks
        given = [(checks["train"], course.step, weight_batches[0])]
        if alphas_move:
            alpha_step = course.step // settings.weight_steps
            alpha_batch = weight_batches[0] if settings.one_level else self.val.batch(alpha_step)
            given += [] if settings.one_level else [(checks["val"], alpha_step, alpha_batch)]
        if not self._batch_is_tried and not (settings.skip_non_finite and bad_inputs(given)):
            self._batch_is_tried = True
            self.first_batches.try_all(self.supernet, course.step, weight_batches[0])
        result = self._taken(given, weight_batches, alpha_batch, course.step + 1)
        course.step += 1
        if result is None:
            self.watching.step_left_out(weight_batches[0], alpha_batch)
        else:
            self._note(weight_batches[0], alpha_batch, result)

    def _taken(
        self, given: Sequence[Given], weight_batches: Sequence[Batch], alpha_batch: Batch | None, step: int
    ) -> StepResult | None:
        """The result of a step, counted from 1; None if it is left out."""
        return self.checkpoint.finiteness.taken(
            given,
            lambda: self.stepper.take(weight_batches, alpha_batch, self.course.progress),
            wrong_with=self._wrong_with,
            when=self.course.at(step),
        )

    def _wrong_with(self, result: StepResult) -> str:
        """What of a step is NaN or infinite, in words; empty if all is finite."""
        bad = non_finite_of(result.scalars)
        if not bad and not bool(get_total_norm(self.supernet.alpha_parameters()).isfinite()):
            bad = f"{first_non_finite(self.supernet.alphas)} holds NaN or infinity"
        return bad

    def _train_on(self, index: int) -> None:
        """Train the weights alone on the training batch of this number."""
        batch = self.train.batch(index)
        self._taken([(self.first_batches.checks["train"], index, batch)], [batch], None, index + 1)

    def _next_batches(self, count: int) -> list[Batch]:
        """The training batch of this step, and the following ones if several inner steps look ahead."""
        while len(self._upcoming) < count:
            self._upcoming.append(self.train.batch(self.course.step + len(self._upcoming)))
        batches = list(self._upcoming)[:count]
        self._upcoming.popleft()
        return batches

    def _note(self, weight_batch: Batch, alpha_batch: Batch | None, result: StepResult) -> None:
        """Add up the scalars of the step that was counted last, and tell the observers."""
        course, epoch = self.course, (self.course.step - 1) // self.course.steps_per_epoch
        course.totals.add(course.step, result.scalars, result.num_samples, result.aux.outputs, weight_batch.targets)
        self.watching.step_ended(epoch, weight_batch, alpha_batch)

    def _set_learning_rate(self) -> None:
        # Once per epoch, as in DARTS.
        progress = self.course.part.progress(self.course.epoch)
        self.settings.weights.assign_lr(self.stepper.weight_optimizer, progress)

    def _log_step(self) -> None:
        course = self.course
        self.checkpoint.check_losses()
        scalars = course.totals.latest()
        if self.run is not None:
            self.run.log(course.steps_taken, {"epoch": course.epoch, "phase": "step", **course.labels, **scalars})
        self.shown |= {name: scalars[name] for name in ("train_loss", "train_accuracy") if name in scalars}

    # An epoch

    def _end_epoch(self) -> None:
        course = self.course
        scalars = course.totals.means()
        self.checkpoint.finiteness.check_epoch(course.epoch - 1, has_trained=bool(scalars))
        course.totals = Totals()
        if self.stepper.held is not None:
            self.stepper.held.end_epoch()
        if not self.settings.synchronise_batch_norm:  # each rank has kept statistics of its own rows
            ranks().first(list(self.supernet.model.buffers()))
        mixtures = self.judging.mixtures()
        scalars |= self.judging.epoch_scalars(mixtures) | self.checkpoint.finiteness.counted()
        self.shown |= {
            name: value for name, value in scalars.items() if name == "validation_accuracy" or name.endswith("_use")
        }
        architecture = self.judging.architecture_of_epoch(mixtures)
        scalars |= self.judging.skip_share(mixtures, architecture)
        alphas = self.supernet.alphas.items()
        course.alphas_by_epoch.append({name: alpha.detach().cpu().clone() for name, alpha in alphas})
        answers = self.watching.epoch_ended(scalars, mixtures, architecture)
        self._log_epoch(scalars, architecture)
        self._obey(answers)
        check_equal(self.supernet.model, self.supernet.alphas)

    def _log_epoch(self, scalars: dict[str, float], architecture: Architecture | None) -> None:
        course = self.course
        row = {"epoch": course.epoch, **course.labels, **scalars}
        course.epoch_rows.append(row)
        if self.run is not None:
            self.run.log(course.steps_taken, {"phase": "epoch", **row, "seconds": course.seconds})
            if architecture is not None:
                self.run.save_architecture(architecture, course.epoch)

    def _obey(self, answers: Sequence[Stop | GoBack]) -> None:
        """Stop or go back if an observer asks for it; otherwise keep the state if one may ask later."""
        course = self.course
        for stop in (answer for answer in answers if isinstance(answer, Stop)):
            course.stopped, course.result_epoch = True, stop.epoch
        targets = [answer.epoch for answer in answers if isinstance(answer, GoBack)]
        if targets and not course.stopped:
            self._go_back(min(targets))
        elif self.watching.may_go_back_to(course.epoch):
            self.checkpoint.keep()

    def _go_back(self, epoch: int) -> None:
        now = self.course.epoch
        if not (epoch < now and self.watching.may_go_back_to(epoch)):
            raise UserError(
                f"After epoch {now} an observer asks to go back to epoch {epoch}, whose state was not kept: it must be "
                "an earlier epoch of the same stage, for which the observer's may_go_back_to returns True."
            )
        self.checkpoint.go_back(epoch)
        self._upcoming.clear()
        self.display.say(
            f"Going back from the end of epoch {now} to that of epoch {epoch}, as an observer asks: the search takes "
            f"{now - epoch} epochs longer than planned."
        )

    # The end

    def finish(self, request: StopRequest, *, is_final: bool = True) -> SearchResult:
        """Discretize, and write the result.

        Args:
            request: whether somebody wants to stop.
            is_final: whether the architecture is the run's result, or will be one of several candidates for it.

        Raises:
            Interrupted: a stop was requested while the discretization trained or evaluated; when resumed, it starts
                again from the last checkpoint.
        """

        def heed() -> None:
            if ranks().any(request.made):
                raise self._interrupted()

        started, course = time.perf_counter(), self.course
        if course.result_epoch is not None:
            with torch.no_grad():
                for name, alpha in course.alphas_by_epoch[course.result_epoch - 1].items():
                    self.supernet.alphas[name].copy_(alpha)
        architecture = self.judging.final_architecture(heed)
        decided = self.judging.decidedness(architecture)
        course.seconds += time.perf_counter() - started
        if self.run is not None:
            architecture.save(self.run.architecture_path if is_final else self.run.path / SEARCHED)
            summary: dict[str, Any] = {"seconds": course.seconds, "steps": course.steps_taken, "epochs": course.epoch}
            summary |= self.checkpoint.finiteness.counted()
            if decided is not None:
                summary["decidedness"] = decided.to_data()
            self.run.save_json("search", summary)
        self.checkpoint.forget_kept()
        return SearchResult(architecture, self.supernet, course.epoch_rows, course.seconds, decidedness=decided)

    # What is shown

    def _say_stage(self) -> None:
        course = self.course
        stage, part = self.settings.all_stages[course.stage], course.part
        left = "" if stage.num_candidates is None else f", {stage.num_candidates} candidates left in each choice"
        self.display.say(
            f"Stage {course.stage + 1} of {len(self.settings.stages)}: epochs {part.first + 1} to {part.end}{left}."
        )

    def _show_progress(self) -> None:
        course = self.course
        total = self.settings.epochs * course.steps_per_epoch + course.given_up
        self.display.update("search", course.steps_taken, total, {**course.labels, **self.shown})

    def _interrupted(self) -> Interrupted:
        return Interrupted(self.checkpoint.last.how_to_go_on(self.course.place))
