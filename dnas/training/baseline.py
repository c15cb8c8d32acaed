"""Random architectures of the same space, trained in the same way: what a search has to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.batch import Batch, tensors_in, to_device
from dnas.core.run import Run
from dnas.data.batches import Batches
from dnas.data.keyed_random import stream_key
from dnas.space import Space
from dnas.space.recurrent import RecurrentSpace
from dnas.system.display import Display, PartOfBar, Silent
from dnas.system.errors import UserError
from dnas.system.interrupt import Interrupted, stop_request
from dnas.system.random_state import seeded
from dnas.task.base import Task
from dnas.task.classification import Classification
from dnas.training.evaluate import call_carried, device_of, evaluate, evaluation_mode
from dnas.training.loop import SUMMARY
from dnas.training.retrain import retrain
from dnas.training.row import Row
from dnas.training.settings import RetrainSettings

FOLDER = "baseline"  # the folder of a search run that holds the random networks
RESULTS = "results"  # name of the JSON file in it


@dataclass(frozen=True)
class Training:
    """What all compared networks share: how they are built, trained and measured.

    Args:
        build: makes the network of an architecture; `settings.seed` seeds its weights.
        train: training batches, the same stream for each network.
        validation: samples held out from the training; networks are chosen by the task's metric on them.
        test: the test part; no network is chosen by it.
        settings: settings of the training.
        task: criterion and metrics; None for a classification with the settings' label smoothing.
        keep: writes a trained network into the folder of its training; None to keep its checkpoint alone.
    """

    build: Callable[[Architecture], nn.Module]
    train: Batches
    validation: Batches
    test: Batches
    settings: RetrainSettings
    task: Task | None = None
    keep: Callable[[Run, nn.Module, Architecture], None] | None = None

    @property
    def judged_by(self) -> Task:
        """The task by whose first metric networks are compared."""
        return Classification() if self.task is None else self.task

    def row(
        self, name: str, architecture: Architecture, *, run: Run, display: Display = Silent(), phase: str = "retrain"
    ) -> Row:
        """Train and measure one network; a training that was stopped goes on, a finished one is only measured again.

        Raises:
            UserError, NonFiniteLoss, Interrupted: as `dnas.retrain.retrain`.
        """
        with seeded(self.settings.seed):
            network = self.build(architecture)
        run.save_architecture(architecture)
        retrain(
            network,
            self.train,
            task=self.task,
            settings=self.settings,
            run=run,
            display=display,
            phase=phase,
            validation=self.validation,
        )
        task, quiet = self.judged_by, Silent()
        if self.keep is not None:
            self.keep(run, network, architecture)
        validation = evaluate(network, self.validation, task=task, intervals=False, display=quiet).measurement
        test = evaluate(network, self.test, task=task, display=quiet).score
        return Row(
            name,
            architecture,
            num_used_parameters(network, next(self.validation.epoch(0))),
            validation.score.value,
            test.value,
            run.load_json(SUMMARY)["seconds"],
            validation.deciding,
            test.better,
            test.interval,
        )


def draw_random(space: Space | RecurrentSpace, seed: int, index: int) -> Architecture:
    """Random architecture number `index` (0, 1 ...) of a space; the same seed and number always give the same one."""
    return space.random(torch.Generator().manual_seed(stream_key(seed, index)))


def random_places(draw: Callable[[int], Architecture], num: int) -> dict[Path, Architecture]:
    """The first random architectures, by their folders in that of the search."""
    return {Path(FOLDER) / f"{index:03d}": draw(index) for index in range(num)}


def train_random_baseline(
    draw: Callable[[int], Architecture],
    training: Training,
    *,
    run: Run,
    num: int,
    display: Display = Silent(),
) -> list[Row]:
    """Train `num` random architectures, each in a folder of its own: RUN/baseline/000, 001 ...

    Each result is written to RUN/baseline/results.json when its training ends. A second call does not train finished
    networks again, resumes one that was stopped, and with a larger `num` adds networks to those that are there.

    Args:
        draw: returns architecture number 0, 1 ...; the same number must always give the same architecture.
        training: what these networks share with the found one.
        run: run folder of the search.
        num: number of random architectures.
        display: shows one progress bar for all trainings.

    Raises:
        UserError: `num` is below 1, or the folder holds results from other settings, data or draws.
        NonFiniteLoss, Interrupted: as `dnas.retrain.retrain`.
    """
    if num < 1:
        raise UserError(f"The number of random architectures must be at least 1; got {num}.")
    folder = run.child(FOLDER)
    rows = _finished(folder, draw, training)
    with stop_request() as request:
        for index in range(len(rows), num):
            bar = PartOfBar(display, FOLDER, unit="network", part=index, num=num)
            rows.append(
                training.row(
                    f"random {index}", draw(index), run=folder.child(f"{index:03d}"), display=bar, phase=FOLDER
                )
            )
            folder.save_json(RESULTS, {**_conditions(training), "rows": [row.to_data() for row in rows]})
            if request.made and index + 1 < num:
                raise Interrupted(f"The baseline was stopped after {index + 1} of {num} networks in {folder.path}.")
    return rows[:num]


def train_beside(
    architectures: Mapping[str, Architecture], training: Training, *, run: Run, display: Display = Silent()
) -> list[Row]:
    """Train named architectures like the others, each in RUN/baseline/NAME; finished ones are only measured again.

    Raises:
        UserError: one cannot be built, or its folder holds another architecture; then nothing is trained. Or its folder
            holds a training with other settings or data.
        NonFiniteLoss, Interrupted: as `dnas.retrain.retrain`.
    """
    folders = {name: run.child(FOLDER).child(name) for name in architectures}
    for name, architecture in architectures.items():
        training.build(architecture)
        folder = folders[name]
        if folder.architecture_path.exists() and folder.load_architecture() != architecture:
            raise UserError(
                f"{folder.path} holds another architecture than the {name} that is asked for: move that folder away."
            )
    return [
        training.row(
            name,
            architecture,
            run=folders[name],
            display=PartOfBar(display, name, unit="network", part=index, num=len(architectures)),
            phase=name,
        )
        for index, (name, architecture) in enumerate(architectures.items())
    ]


def _conditions(training: Training) -> dict[str, Any]:
    """What must be the same for all rows: settings and task of the training, and numbers of batches."""
    sizes = {name: len(getattr(training, name)) for name in ("train", "validation", "test")}
    return {"settings": training.settings.to_data(), "batches": sizes, "task": training.judged_by.name()}


def _finished(folder: Run, draw: Callable[[int], Architecture], training: Training) -> list[Row]:
    """The rows that earlier calls left, which must have been made under the same conditions."""
    source = folder.path / f"{RESULTS}.json"
    if not source.exists():
        return []
    data = folder.load_json(RESULTS)
    if not isinstance(data, Mapping) or not isinstance(data.get("rows"), list):
        raise UserError(f"{source} does not hold the results of a baseline: expected an object with a list of rows.")
    rows = [Row.from_data(row, source=f"{source}, row {index}") for index, row in enumerate(data["rows"])]
    # Results had no task before there were others than classification.
    there = {"task": Classification().name(), **{name: value for name, value in data.items() if name != "rows"}}
    if there != _conditions(training):
        raise UserError(
            f"{source} was made under other conditions ({there}) than those asked for ({_conditions(training)}); "
            "networks that are compared must be trained alike. Use the same settings, or move that folder away."
        )
    for index, row in enumerate(rows):
        if row.architecture != draw(index):
            raise UserError(
                f"{source}, row {index}, holds another architecture than draw {index}: its seed or space was another. "
                "Use the same, or move that folder away."
            )
    return rows


def num_used_parameters(network: nn.Module, batch: Batch) -> int:
    """Number of parameters that evaluation uses; those of an auxiliary head, for instance, are left out.

    Args:
        network: the network whose parameters are counted.
        batch: any batch, with the carry that an epoch begins with.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    with evaluation_mode(network), torch.enable_grad():
        outputs, _ = call_carried(network, to_device(batch.inputs, device_of(network)), batch.carry)
        totals = [tensor.sum() for tensor in tensors_in(outputs) if tensor.requires_grad]
        if not totals:  # outputs of a class of their own: nobody can tell which parameters they need
            return sum(weight.numel() for weight in network.parameters())
        gradients = torch.autograd.grad(totals, weights, allow_unused=True)
    unused = sum(weight.numel() for weight, gradient in zip(weights, gradients, strict=True) if gradient is None)
    return sum(weight.numel() for weight in network.parameters()) - unused
