"""A trained model becomes smaller under a budget: the one-shot search, fine-tuning and the comparison."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from dnas.core.batch import Batch, map_tensors, to_device
from dnas.core.run import Run, as_run
from dnas.core.schedule import Cosine
from dnas.cost.budget import Budget
from dnas.cost.flops import Inputs, count_flops
from dnas.cost.params import count_parameters
from dnas.data.batches import Batches
from dnas.searching.settings import WeightSGD
from dnas.shrinking.budget import bounds_of
from dnas.shrinking.groups import Selection
from dnas.shrinking.importance import importance, ranking
from dnas.shrinking.program import Bound
from dnas.shrinking.report import Report, Row
from dnas.shrinking.rivals import random_widths, uniform_widths
from dnas.shrinking.rules import Rule
from dnas.shrinking.searchable import Narrowable, make_searchable
from dnas.shrinking.sensitivity import scores
from dnas.shrinking.statistics import reestimate
from dnas.shrinking.trace import copied
from dnas.system.accepted import accept
from dnas.system.display import TERMINAL, Display
from dnas.system.errors import MissingPackage, UserError
from dnas.system.peak import measured_seconds
from dnas.system.processes import check_not_wrapped, check_one_process
from dnas.task.base import Task
from dnas.task.choose import chosen_task
from dnas.task.classification import Classification
from dnas.task.own import Criterion
from dnas.training.evaluate import as_batches, call, device_of, evaluate
from dnas.training.retrain import RetrainSettings, retrain

FineTune = Callable[[nn.Module], nn.Module]

# Fine-tuning starts from trained weights: a tenth of the epochs' usual number, at a lower rate.
FINE_TUNING = RetrainSettings(
    epochs=5, weights=WeightSGD(lr=Cosine(0.01, 0.0), weight_decay=5e-4), auxiliary=False, drop_path=0.0, cutout=0
)


@dataclass(frozen=True)
class ShrinkSettings:
    """How a smaller network is found and compared.

    Args:
        steps: widths are chosen in so many equal steps.
        batches: of training data for importance and statistics of batch norm, and of held-out data for sensitivity.
        statistics_batches: of training data for statistics of batch norm during sensitivity.
        fine_tuning: how every network is trained afterwards, if `fine_tune` is not given.
        random: number of random networks in the comparison.
        onnx: whether the sizes of ONNX files are measured, but for random networks.
        seed: of random networks.

    Raises:
        UserError: a value out of its range.
    """

    steps: int = 8
    batches: int = 8
    statistics_batches: int = 2
    fine_tuning: RetrainSettings = FINE_TUNING
    random: int = 3
    onnx: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        accept(self)
        for name, least in (("steps", 2), ("batches", 1), ("statistics_batches", 1), ("random", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}; got {getattr(self, name)}.")


def shrink(
    model: nn.Module,
    train: Batches | Iterable[Any],
    validation: Batches | Iterable[Any],
    *,
    budget: str | Sequence[str],
    test: Batches | Iterable[Any] | None = None,
    example: Inputs | None = None,
    task: Task | None = None,
    criterion: Criterion | str | None = None,
    rules: Sequence[Rule] = (),
    settings: ShrinkSettings = ShrinkSettings(),
    fine_tune: FineTune | None = None,
    run: Run | Path | str | None = None,
    display: Display = TERMINAL,
) -> nn.Module:
    """A physically smaller copy of a trained model that keeps a budget, fine-tuned; its `shrink_report` tells the rest.

    One-shot: the importance of channels by first-order effects, the rise of the held-out loss for each width and block
    alone, and an integer program that adds these up. Beside the network that is found stand uniform widths and random
    widths of the same budget, by the same importance, fine-tuned alike.

    Args:
        model: any trained module; it is not changed.
        train: `(inputs, targets)` for importance, statistics of batch norm and fine-tuning.
        validation: held out; it decides the widths.
        budget: such as 'flops<=50%' or ('flops<=2M', 'parameters<=40%'); shares are of the original's.
        test: on which the rows are measured; without it on `validation`, and the report says so.
        example: inputs for which FLOPs are counted; by default the first sample of `validation`.
        task: criterion and metrics; None for a classification.
        criterion: a loss alone instead of a task, a function of `(outputs, targets)` or its name, such as 'mse'.
        rules: what must stay.
        settings: sizes of the search and of the comparison.
        fine_tune: trains a network and returns it, in place of `dnas.retrain`.
        run: folder for the result (network.pt, shrink.json) and for the fine-tunings; calling it again with the same
            arguments goes on with them.
        display: where progress is shown.

    Raises:
        UserError: the model cannot be traced, nothing of it may vary, the budget is out of reach, task and data do not
            fit, or there are several processes.
        Interrupted: Ctrl-C during fine-tuning; with a run folder a checkpoint has been written.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> data = [(torch.randn(8, 4), torch.randint(0, 3, (8,)))]
        >>> small = shrink(model, data, data, budget="flops<=50%", settings=ShrinkSettings(random=1, onnx=False))
        >>> small.shrink_report.row("found").flops <= 0.5 * small.shrink_report.row("original").flops
        True
    """
    check_one_process("shrinking")
    check_not_wrapped(model)
    shrinking = _Shrinking(
        train=as_batches(train),
        validation=as_batches(validation),
        test=None if test is None else as_batches(test),
        task=chosen_task(task, criterion, Classification()),
        settings=settings,
        fine_tune=fine_tune,
        run_folder=as_run(run),
        display=display,
    )
    return shrinking.run(model, Budget((budget,) if isinstance(budget, str) else tuple(budget)), example, rules)


@dataclass
class _Shrinking:
    train: Batches
    validation: Batches
    test: Batches | None
    task: Task
    settings: ShrinkSettings
    fine_tune: FineTune | None
    run_folder: Run | None
    display: Display

    def run(self, model: nn.Module, budget: Budget, example: Inputs | None, rules: Sequence[Rule]) -> nn.Module:
        started = time.perf_counter()
        given: Any = _first_sample(self.validation) if example is None else example
        inputs = to_device(given, device_of(model))
        searchable = self._searchable(model, inputs, rules)
        bounds = bounds_of(budget, searchable, searchable.program(self.settings.steps))
        train = [*islice(self.train.epoch(0), self.settings.batches)]
        important = importance(model, searchable.structure, train, self.task)
        order = ranking(important)
        values = self._best(searchable, bounds, train, important, order)
        seconds = time.perf_counter() - started

        small, found = self._finished("found", searchable, values, order, train, inputs, seconds)
        rows = [self._row("original", copied(model), searchable.largest, inputs, 0.0), found]
        for name, rival in self._rivals(searchable, bounds):
            rows.append(self._finished(name, searchable, rival, order, train, inputs, 0.0)[1])
        report = self._report(budget, rows, searchable, searchable.selection(values, order))
        self.display.say(str(report))
        if self.run_folder is not None:
            self.run_folder.save_json("shrink", report.to_data())
            self.run_folder.save_weights(small)
        small.shrink_report = report  # pyright: ignore[reportArgumentType] (neither a weight nor a module)
        return small

    def _searchable(self, model: nn.Module, example: Inputs, rules: Sequence[Rule]) -> Narrowable:
        searchable = make_searchable(model, example, rules=rules)
        frozen = searchable.structure.frozen
        for reason in dict.fromkeys(one.reason for one in frozen):
            names = [one.name for one in frozen if one.reason == reason]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            self.display.say(f"Stays as it is: {', '.join(names[:3])}{more} ({reason}).")
        if not searchable.structure.groups and not searchable.structure.blocks:
            reasons = "; ".join(dict.fromkeys(one.reason for one in frozen))
            raise UserError(f"Nothing in this model may become smaller: {reasons}.")
        return searchable

    def _best(
        self,
        searchable: Narrowable,
        bounds: Sequence[Bound],
        train: Sequence[Batch],
        important: Mapping[str, torch.Tensor],
        order: Mapping[str, Sequence[int]],
    ) -> dict[str, int]:
        program = searchable.program(self.settings.steps)
        found = scores(
            searchable,
            program,
            important,
            order,
            train=train[: self.settings.statistics_batches],
            held_out=[*islice(self.validation.epoch(0), self.settings.batches)],
            task=self.task,
            display=self.display,
        )
        best = program.best(found, bounds)
        if best is None:
            raise UserError("No network keeps all limits of the budget at once, though one keeps each; loosen one.")
        return best

    def _rivals(self, searchable: Narrowable, bounds: Sequence[Bound]) -> list[tuple[str, dict[str, int]]]:
        generator = torch.Generator().manual_seed(self.settings.seed)
        uniform = uniform_widths(searchable, bounds)
        drawn = [random_widths(searchable, bounds, generator) for _ in range(self.settings.random)]
        named = [("uniform", uniform), *((f"random {i}", one) for i, one in enumerate(drawn, start=1))]
        missing = [name for name, values in named if values is None]
        if missing:
            self.display.say(f"No network within the budget for: {', '.join(missing)}.")
        return [(name, values) for name, values in named if values is not None]

    def _finished(
        self,
        name: str,
        searchable: Narrowable,
        values: Mapping[str, int],
        order: Mapping[str, Sequence[int]],
        train: Sequence[Batch],
        example: Inputs,
        seconds: float,
    ) -> tuple[nn.Module, Row]:
        """The network of these values, statistics measured anew, fine-tuned; and its row."""
        started = time.perf_counter()
        network = searchable.derive(searchable.selection(values, order))
        reestimate(network, train)
        if self.fine_tune is None:
            network = retrain(
                network,
                self.train,
                task=self.task,
                settings=self.settings.fine_tuning,
                run=self.run_folder and self.run_folder.child(name.replace(" ", "_")),
                display=self.display,
                phase=name,
            )
        else:
            network = self.fine_tune(network).eval()
        seconds += time.perf_counter() - started
        return network, self._row(name, network, values, example, seconds)

    def _row(self, name: str, network: nn.Module, values: Mapping[str, int], example: Inputs, seconds: float) -> Row:
        measured = evaluate(network, self.test or self.validation, task=self.task).measurement
        # An export takes seconds; random networks go without.
        onnx = self.settings.onnx and not name.startswith("random")
        return Row(
            name=name,
            score=measured.score,
            loss=measured.loss,
            parameters=count_parameters(network),
            flops=count_flops(network, example),
            milliseconds=_milliseconds(network, example),
            onnx_bytes=self._onnx_bytes(network, example) if onnx else None,
            seconds=seconds,
            values=dict(values),
        )

    def _onnx_bytes(self, network: nn.Module, example: Inputs) -> int | None:
        try:
            return onnx_bytes(network, example)
        except UserError as error:
            self.display.say(f"No size of an ONNX file: {error}")
            return None

    def _report(self, budget: Budget, rows: list[Row], searchable: Narrowable, selection: Selection) -> Report:
        measured = evaluate(searchable.model, self.test or self.validation, task=self.task).measurement
        data = "the test data" if self.test is not None else "the validation data, which decided the widths"
        return Report(
            metric=measured.deciding,
            measured_on=f"{data} ({measured.num_samples} samples)",
            budget=budget.limits,
            rows=tuple(rows),
            frozen=searchable.structure.frozen,
            selection=selection,
        )


def onnx_bytes(network: nn.Module, example: Inputs) -> int:
    """The size of the network's ONNX file.

    Raises:
        MissingPackage: onnx or onnxscript is not installed.
        UserError: ONNX cannot express the network.
    """
    from dnas.shipping.exporters.trace import quiet, reason_of

    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingPackage('it needs onnx and onnxscript: pip install ".[export]" in a clone of dnas') from error
    arguments = example if isinstance(example, tuple) else ((example,) if isinstance(example, torch.Tensor) else ())
    keywords = dict(example) if isinstance(example, Mapping) else None
    try:
        with quiet():
            program = torch.onnx.export(network, tuple(arguments), kwargs=keywords, dynamo=True, verbose=False)
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"ONNX cannot express the network: {reason_of(error)}") from error
    assert program is not None
    return program.model_proto.ByteSize()


def _milliseconds(network: nn.Module, example: Inputs) -> float:
    """One forward pass over the example: the median of 15 after 3."""
    with torch.no_grad():
        taken = [measured_seconds(lambda: call(network, example), device_of(network)) for _ in range(18)]
    return 1000 * median(taken[3:])


def _first_sample(data: Batches) -> Any:
    """The inputs of the first sample, as a batch of one."""
    return map_tensors(lambda tensor: tensor[:1], next(data.epoch(0)).inputs)
