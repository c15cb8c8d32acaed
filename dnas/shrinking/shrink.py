"""A trained model becomes smaller under a budget: the decision, fine-tuning and the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dnas.core.batch import map_tensors, to_device
from dnas.core.run import SHRINK, Run, as_run, run_of_rank, writing
from dnas.cost.bounds import amount
from dnas.cost.budget import Budget
from dnas.cost.flops import Inputs
from dnas.data.batches import Batches
from dnas.distributed.equal import make_equal
from dnas.distributed.ranks import ranks
from dnas.distributed.together import together
from dnas.shrinking.budget import WidthLimits, has_milliseconds, limits_of
from dnas.shrinking.comparing import Comparison, FineTune, as_trained
from dnas.shrinking.deciding import Decision, Worth, decide, worth_of
from dnas.shrinking.finalists import best_of_finalists
from dnas.shrinking.load import described_example
from dnas.shrinking.memory import Memory
from dnas.shrinking.milliseconds import TESTED, Predicted, predicted_milliseconds, whole_milliseconds
from dnas.shrinking.model_checks import check_model
from dnas.shrinking.program import Program
from dnas.shrinking.report import Report
from dnas.shrinking.rivals import random_widths, uniform_widths
from dnas.shrinking.rules import Rule
from dnas.shrinking.searchable import Narrowable, make_searchable
from dnas.shrinking.settings import ShrinkSettings
from dnas.system.accepted import accepted, accepted_list
from dnas.system.display import TERMINAL, Display, Silent
from dnas.system.errors import UserError
from dnas.system.plain_data import to_plain
from dnas.task.base import Task
from dnas.task.choose import chosen_task
from dnas.task.classification import Classification
from dnas.task.own import Criterion
from dnas.training.evaluate import as_batches, device_of
from dnas.training.network_checks import digest_of_weights

# Finalists are also what is decided for so many times the budget, scaled down: rises of the loss of one decision alone
# tell less, the more is cut.
_LOOSER = (2.0, 4.0)


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
    search_epochs: int = 0,
    settings: ShrinkSettings = ShrinkSettings(),
    fine_tune: FineTune | None = None,
    run: Run | Path | str | None = None,
    display: Display = TERMINAL,
) -> nn.Module:
    """A physically smaller copy of a trained model that keeps a budget, fine-tuned; its `shrink_report` tells the rest.

    One-shot: the importance of channels by first-order effects, the rise of the held-out loss for each width and block
    alone, and an integer program that adds these up. With `search_epochs` a bilevel search refines what the values are
    worth: masks on held-out data, weights at a small rate. Beside the network that is found stand uniform widths and
    random widths of the same budget, by the same importance, fine-tuned alike from the same weights.

    Args:
        model: any trained module; it is not changed.
        train: `(inputs, targets)` for importance, statistics of batch norm and fine-tuning.
        validation: held out; it decides the widths.
        budget: such as 'flops<=50%', 'milliseconds<=8' or ('flops<=2M', 'parameters<=40%'); shares are of the
            original's. Milliseconds are those of `example`, measured here with as many threads as torch uses.
        test: on which the rows are measured; without it on `validation`, and the report says so.
        example: inputs for which FLOPs are counted and milliseconds measured; by default the first sample of
            `validation`.
        task: criterion and metrics; None for a classification.
        criterion: a loss alone instead of a task, a function of `(outputs, targets)` or its name, such as 'mse'.
        rules: what must stay.
        search_epochs: passes over `train` of the masked search (`settings.search`); 0 for the one-shot mode.
        settings: sizes of the search and of the comparison.
        fine_tune: trains a network and returns it, in place of `dnas.retrain`.
        run: folder for the result (network.pt, shrink.json), for what is worked out on the way and for the trainings;
            calling it again with the same arguments goes on with them, bit-identical on the CPU.
        display: where progress is shown.

    Raises:
        UserError: the model cannot be traced, nothing of it may vary, the budget is out of reach, task and data do not
            fit, or the run folder is of something else.
        NonFiniteLoss: a training diverged.
        Interrupted: Ctrl-C during search or fine-tuning; with a run folder a checkpoint has been written.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> data = [(torch.randn(8, 4), torch.randint(0, 3, (8,)))]
        >>> small = shrink(model, data, data, budget="flops<=50%", settings=ShrinkSettings(random=1, onnx=False))
        >>> small.shrink_report.row("found").flops <= 0.5 * small.shrink_report.row("original").flops
        True
    """
    check_model(model)
    folder, settings = as_run(run), accepted(settings, ShrinkSettings, "settings")
    rules, search_epochs = accepted_list(rules, Rule, "rules"), accepted(search_epochs, int, "search_epochs")
    limits = Budget(accepted_list(budget, str, "budget"))
    if search_epochs < 0:
        raise UserError(f"search_epochs must be 0 (one-shot) or more; got {search_epochs}.")
    if fine_tune is None and not any(weight.requires_grad for weight in model.parameters()):
        raise UserError(
            "All weights of the model are frozen, so nothing could be fine-tuned: call model.requires_grad_(True), or "
            "give fine_tune."
        )
    if fine_tune is not None and not callable(fine_tune):
        raise UserError(f"fine_tune must be a function that trains a network and returns it; got {fine_tune!r}.")
    shrinking = _Shrinking(
        train=as_batches(train),
        validation=as_batches(validation),
        test=None if test is None else as_batches(test),
        task=chosen_task(task, criterion, Classification()),
        search_epochs=search_epochs,
        settings=settings,
        fine_tune=fine_tune,
        run_folder=folder,
        display=display,
    )
    with together() as current, run_of_rank(folder) as own, writing(own, display.say):
        make_equal(model)
        shrinking.run_folder, shrinking.display = own, display if current.is_first else Silent()
        return shrinking.run(model, limits, example, rules)


@dataclass
class _Shrinking:
    train: Batches
    validation: Batches
    test: Batches | None
    task: Task
    search_epochs: int
    settings: ShrinkSettings
    fine_tune: FineTune | None
    run_folder: Run | None
    display: Display

    def run(self, model: nn.Module, budget: Budget, example: Inputs | None, rules: Sequence[Rule]) -> nn.Module:
        given: Any = _first_sample(self.validation) if example is None else example
        inputs = to_device(given, device_of(model))
        searchable = self._searchable(model, inputs, rules)
        program, memory = searchable.program(self.settings.steps), self._memory(searchable, budget)
        times = self._times(searchable, program, inputs, memory) if has_milliseconds(budget) else None
        limits = limits_of(budget, searchable, program, times)
        worth = worth_of(
            searchable,
            limits,
            train=self.train,
            held_out=self.validation,
            task=self.task,
            settings=self.settings,
            search_epochs=self.search_epochs,
            memory=memory,
            run=self.run_folder,
            display=self.display,
        )
        measure = partial(self._measured, searchable, inputs)
        decision = decide(limits, worth, measure, memory, self.display)
        values, seconds = self._of_finalists(searchable, limits.tightened(decision.factor), decision, worth, measure)
        comparison = Comparison(
            searchable,
            worth.ranking,
            train=self.train,
            measured_on=self.test or self.validation,
            example=inputs,
            task=self.task,
            settings=self.settings,
            fine_tune=self.fine_tune,
            run=self.run_folder,
            display=self.display,
        )
        original, measured = comparison.original()
        small, found = comparison.finished(
            "found", values, worth.seconds + seconds, None if self.settings.finalists.num else decision.milliseconds
        )
        rivals = self._rivals(searchable, limits.tightened(decision.factor))
        others = [comparison.finished(name, rival)[1] for name, rival in rivals]
        if self.settings.from_scratch and rivals and rivals[0][0] == "uniform":
            others[1:1] = comparison.from_scratch("uniform from scratch", rivals[0][1])
        data = "the test data" if self.test is not None else "the validation data, which decided the widths"
        report = Report(
            metric=measured.deciding,
            measured_on=f"{data} ({measured.num_samples} samples)",
            budget=budget.limits,
            rows=(original, found, *others),
            frozen=searchable.structure.frozen,
            selection=searchable.selection(values, worth.ranking),
            example=described_example(inputs),
        )
        self._keep(small, report)
        return small

    def _searchable(self, model: nn.Module, example: Inputs, rules: Sequence[Rule]) -> Narrowable:
        searchable = make_searchable(model, example, rules=rules)
        frozen = searchable.structure.frozen
        for reason in dict.fromkeys(one.reason for one in frozen):
            names = [one.name for one in frozen if one.reason == reason]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            self.display.say(f"Stays as it is: {', '.join(names[:3])}{more} ({reason}).")
        searchable.check_something_varies()
        return searchable

    def _times(self, searchable: Narrowable, program: Program, example: Inputs, memory: Memory) -> Predicted:
        """Predicted milliseconds, measured once for a run folder."""
        self.display.say("Milliseconds of its operators are measured.")

        def measured() -> dict[str, Any]:
            delivered = partial(self._delivered, example=example)
            return predicted_milliseconds(searchable, program, example, delivered=delivered).to_data()

        found = Predicted.from_data(memory.once("milliseconds", lambda: ranks().from_first(measured)))
        self.display.say(
            f"The model takes {amount(found.whole)} milliseconds; predictions of smaller ones differ by "
            f"{found.error:.1%} on average from {TESTED} measured ones."
        )
        return found

    def _delivered(self, network: nn.Module, example: Inputs) -> nn.Module:
        return as_trained(network, example) if self.fine_tune is None else network

    def _measured(self, searchable: Narrowable, example: Inputs, values: Mapping[str, int]) -> float:
        """Milliseconds of the network of these values; which channels it keeps does not matter."""
        ranking = {group.name: range(len(group)) for group in searchable.structure.groups}
        network = searchable.derive(searchable.selection(values, ranking))
        return ranks().from_first(lambda: whole_milliseconds(self._delivered(network, example), example))

    def _of_finalists(
        self,
        searchable: Narrowable,
        limits: WidthLimits,
        decision: Decision,
        worth: Worth,
        measure: Callable[[Mapping[str, int]], float],
    ) -> tuple[Mapping[str, int], float]:
        """The values of the best finalist, and the seconds that it took; what was decided where there are none."""
        if not self.settings.finalists.num:
            return decision.values, 0.0
        most = None if limits.milliseconds is None else limits.milliseconds.most / decision.factor

        return best_of_finalists(
            searchable,
            limits,
            [decision.values, *(limits.looser(factor).best(worth.scores) for factor in _LOOSER)],
            worth.ranking,
            fits=lambda values: most is None or measure(values) <= most,
            train=self.train,
            held_out=self.validation,
            task=self.task,
            settings=self.settings,
            run=self.run_folder,
            display=self.display,
        )

    def _memory(self, searchable: Narrowable, budget: Budget) -> Memory:
        return Memory(
            self.run_folder,
            {
                "weights": digest_of_weights(searchable.model),
                "decisions": searchable.largest,
                "budget": budget.limits,
                "search_epochs": self.search_epochs,
                "settings": to_plain(self.settings),
                "batches": (len(self.train), len(self.validation)),
            },
        )

    def _rivals(self, searchable: Narrowable, limits: WidthLimits) -> list[tuple[str, dict[str, int]]]:
        generator = torch.Generator().manual_seed(self.settings.seed)
        uniform = uniform_widths(searchable, limits.bounds)
        drawn = [random_widths(searchable, limits.bounds, generator) for _ in range(self.settings.random)]
        named = [("uniform", uniform), *((f"random {i}", one) for i, one in enumerate(drawn, start=1))]
        missing = [name for name, values in named if values is None]
        if missing:
            self.display.say(f"No network within the budget for: {', '.join(missing)}.")
        return [(name, values) for name, values in named if values is not None]

    def _keep(self, small: nn.Module, report: Report) -> None:
        """Show the report, write the result, and let the network carry its report."""
        self.display.say(str(report))
        if self.run_folder is not None:
            self.run_folder.save_json(SHRINK, report.to_data())
            self.run_folder.save_weights(small)
        small.shrink_report = report  # pyright: ignore[reportArgumentType] (neither a weight nor a module)


def _first_sample(data: Batches) -> Any:
    """The inputs of the first sample, as a batch of one."""
    return map_tensors(lambda tensor: tensor[:1], next(data.epoch(0)).inputs)
