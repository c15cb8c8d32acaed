"""Networks of one comparison: cut out of the same model, trained alike, measured alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from dnas.core.described import described
from dnas.core.run import Run
from dnas.cost.flops import Inputs, count_flops
from dnas.cost.params import count_parameters
from dnas.data.batches import Batches
from dnas.shrinking.first_batches import for_statistics
from dnas.shrinking.milliseconds import whole_milliseconds
from dnas.shrinking.onnx_size import onnx_bytes
from dnas.shrinking.report import Row
from dnas.shrinking.scratch import with_new_weights, with_same_compute
from dnas.shrinking.searchable import Narrowable
from dnas.shrinking.settings import ShrinkSettings
from dnas.shrinking.statistics import reestimate
from dnas.shrinking.trace import copied
from dnas.system.display import Display, Silent
from dnas.system.errors import UserError, in_own_code
from dnas.task.base import Task
from dnas.task.measurement import Measurement
from dnas.training.evaluate import evaluate
from dnas.training.network_checks import takes_channels_last
from dnas.training.retrain import retrain
from dnas.training.settings import RetrainSettings

FineTune = Callable[[nn.Module], nn.Module]


def as_trained(network: nn.Module, example: Inputs) -> nn.Module:
    """A network in the memory format that `dnas.retrain` leaves it in."""
    if takes_channels_last(network, example):
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return network


@dataclass
class Comparison:
    """Makes, trains and measures networks.

    Args:
        searchable: the trained model.
        ranking: of each group's classes, the most important first.
        train: batches for statistics of batch norm and for fine-tuning.
        measured_on: batches on which networks are measured.
        example: inputs for FLOPs and milliseconds.
        task: criterion and metrics.
        settings: of the fine-tuning.
        fine_tune: trains in place of `dnas.retrain`.
        run: folder of the fine-tunings.
        display: where progress is shown.
    """

    searchable: Narrowable
    ranking: Mapping[str, Sequence[int]]
    train: Batches
    measured_on: Batches
    example: Inputs
    task: Task
    settings: ShrinkSettings
    fine_tune: FineTune | None
    run: Run | None
    display: Display

    def original(self) -> tuple[Row, Measurement]:
        """The model as it is."""
        network = copied(self.searchable.model)
        if self.fine_tune is None:
            network = as_trained(network, self.example)  # as the others are, whose milliseconds stand beside its own
        measured = evaluate(network, self.measured_on, task=self.task, display=Silent()).measurement
        return self._row("original", network, self.searchable.largest, measured, 0.0), measured

    def finished(
        self, name: str, values: Mapping[str, int], seconds: float = 0.0, milliseconds: float | None = None
    ) -> tuple[nn.Module, Row]:
        """The network of these values, statistics measured anew, fine-tuned; and its row.

        Args:
            name: of the row.
            values: of the decisions.
            seconds: that it took to find them.
            milliseconds: of the network, if that was measured when it was decided on.
        """
        started = time.perf_counter()
        network = self.searchable.derive(self.searchable.selection(values, self.ranking))
        reestimate(network, for_statistics(self.train, self.settings))
        network = self._fine_tuned(name, network)
        seconds += time.perf_counter() - started
        measured = evaluate(network, self.measured_on, task=self.task, display=Silent()).measurement
        row = self._row(name, network, values, measured, seconds)
        return network, row if milliseconds is None else replace(row, milliseconds=milliseconds)

    def from_scratch(self, name: str, values: Mapping[str, int]) -> list[Row]:
        """The row of the network of these values with new weights; none where these cannot be drawn."""
        started = time.perf_counter()
        network = self.searchable.derive(self.searchable.selection(values, self.ranking))
        try:
            with_new_weights(network, self.settings.seed)
        except UserError as error:
            self.display.say(f"No network from scratch: {error}.")
            return []
        settings = with_same_compute(
            self.settings.scratch,
            epochs=self.settings.from_scratch,
            fine_tuning=self.settings.fine_tuning.epochs,
            original_flops=self.searchable.flops.of(self.searchable.largest),
            flops=self.searchable.flops.of(values),
        )
        network = self._trained(name, network, settings)
        seconds = time.perf_counter() - started
        measured = evaluate(network, self.measured_on, task=self.task, display=Silent()).measurement
        return [self._row(name, network, values, measured, seconds)]

    def _fine_tuned(self, name: str, network: nn.Module) -> nn.Module:
        if self.fine_tune is not None:
            with in_own_code(lambda: "fine_tune failed"):
                trained = self.fine_tune(network)
            if not isinstance(trained, nn.Module):
                raise UserError(f"fine_tune must return the trained network; it returned {described(trained)}.")
            return trained.eval()
        return self._trained(name, network, self.settings.fine_tuning)

    def _trained(self, name: str, network: nn.Module, settings: RetrainSettings) -> nn.Module:
        return retrain(
            network,
            self.train,
            task=self.task,
            settings=settings,
            run=self.run and self.run.child(name.replace(" ", "_")),
            display=self.display,
            phase=name,
            teacher=self.searchable.model if self.settings.distill else None,
        )

    def _row(
        self, name: str, network: nn.Module, values: Mapping[str, int], measured: Measurement, seconds: float
    ) -> Row:
        # An export takes seconds; random networks go without.
        onnx = self.settings.onnx and not name.startswith("random")
        return Row(
            name=name,
            score=measured.score,
            loss=measured.loss,
            parameters=count_parameters(network),
            flops=count_flops(network, self.example),
            milliseconds=whole_milliseconds(network, self.example),
            onnx_bytes=self._onnx_bytes(network) if onnx else None,
            seconds=seconds,
            values=dict(values),
        )

    def _onnx_bytes(self, network: nn.Module) -> int | None:
        try:
            return onnx_bytes(network, self.example)
        except UserError as error:
            self.display.say(f"No size of an ONNX file: {error}")
            return None
