"""Random architectures of the same space, trained in the same way: what a search has to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.batch import to_device
from dnas.core.run import Run
from dnas.data.batches import Batches
from dnas.system.display import Display, Silent
from dnas.system.errors import UserError
from dnas.system.interrupt import Interrupted, stop_request
from dnas.system.random_state import seeded
from dnas.training.baseline_report import Row
from dnas.training.evaluate import call, device_of, evaluate, evaluation_mode
from dnas.training.retrain import SUMMARY, RetrainSettings, retrain

FOLDER = "baseline"  # the run inside a search run that holds the random networks
RESULTS = "results"  # name of the JSON file in it


@dataclass(frozen=True)
class Training:
    """What all compared networks share: how they are built, trained and measured.

    Args:
        build: architecture to network; its weights are seeded by `settings.seed`.
        train: batches of the training, the same stream for each network.
        validation: images held out from the training, by which networks are chosen.
        test: the test part, by which none is chosen.
        settings: of the training.
    """

    build: Callable[[Architecture], nn.Module]
    train: Batches
    validation: Batches
    test: Batches
    settings: RetrainSettings

    def row(
        self, name: str, architecture: Architecture, *, run: Run, display: Display = Silent(), phase: str = "retrain"
    ) -> Row:
        """Train and measure one network; with a run that has begun it goes on, one that has finished is only measured.

        Raises:
            UserError, NonFiniteLoss, Interrupted: as `dnas.retrain.retrain`.
        """
        with seeded(self.settings.seed):
            network = self.build(architecture)
        run.save_architecture(architecture)
        retrain(
            network,
            self.train,
            settings=self.settings,
            run=run,
            display=display,
            phase=phase,
            validation=self.validation,
        )
        return Row(
            name,
            architecture,
            num_used_parameters(network, next(self.validation.epoch(0)).inputs),
            evaluate(network, self.validation).top1,
            evaluate(network, self.test).top1,
            run.load_json(SUMMARY)["seconds"],
        )


def train_random_baseline(
    draw: Callable[[int], Architecture],
    training: Training,
    *,
    run: Run,
    num: int,
    display: Display = Silent(),
) -> list[Row]:
    """Train `num` random architectures, each in a folder of its own: RUN/baseline/000, 001 ...

    Results are kept in RUN/baseline/results.json as they finish. Called again, finished networks are not trained again
    and one that was stopped in the middle goes on; a larger `num` adds to those that are there.

    Args:
        draw: draw number (0, 1 ...) to architecture; the same number must give the same architecture.
        training: of the found network too.
        run: of the search.
        num: how many.
        display: shows one bar for all.

    Raises:
        UserError: `num` is below 1, or the folder holds results of other settings, data or draws.
        NonFiniteLoss, Interrupted: as `dnas.retrain.retrain`.
    """
    if num < 1:
        raise UserError(f"The number of random architectures must be at least 1; got {num}.")
    folder = run.child(FOLDER)
    rows = _finished(folder, draw, training)
    with stop_request() as request:
        for index in range(len(rows), num):
            bar = _PartOfBar(display, part=index, num=num)
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
        UserError: one cannot be built, or its folder is of another architecture or training; nothing is trained then.
        NonFiniteLoss, Interrupted: as `dnas.retrain.retrain`.
    """
    folders = {name: run.child(FOLDER).child(name) for name in architectures}
    for name, architecture in architectures.items():
        training.build(architecture)
        folder = folders[name]
        if folder.architecture_path.exists() and folder.load_architecture() != architecture:
            raise UserError(
                f"{folder.path} is of another architecture than the {name} that is asked for: move that folder away."
            )
    return [
        training.row(
            name,
            architecture,
            run=folders[name],
            display=_PartOfBar(display, part=index, num=len(architectures)),
            phase=name,
        )
        for index, (name, architecture) in enumerate(architectures.items())
    ]


def _conditions(training: Training) -> dict[str, Any]:
    """What must be the same for all rows."""
    sizes = {name: len(getattr(training, name)) for name in ("train", "validation", "test")}
    return {"settings": training.settings.to_data(), "batches": sizes}


def _finished(folder: Run, draw: Callable[[int], Architecture], training: Training) -> list[Row]:
    """Rows of an earlier call, if they were made under the same conditions."""
    source = folder.path / f"{RESULTS}.json"
    if not source.exists():
        return []
    data = folder.load_json(RESULTS)
    if not isinstance(data, Mapping) or not isinstance(data.get("rows"), list):
        raise UserError(f"{source} does not hold the results of a baseline: expected an object with a list of rows.")
    rows = [Row.from_data(row, source=f"{source}, row {index}") for index, row in enumerate(data["rows"])]
    there = {name: value for name, value in data.items() if name != "rows"}
    if there != _conditions(training):
        raise UserError(
            f"{source} was made under other conditions ({there}) than those asked for ({_conditions(training)}); "
            "networks that are compared must be trained alike. Use the same settings, or move that folder away."
        )
    for index, row in enumerate(rows):
        if row.architecture != draw(index):
            raise UserError(
                f"{source}, row {index}, is of another architecture than draw {index}: another seed or space. "
                "Use the same, or move that folder away."
            )
    return rows


def num_used_parameters(network: nn.Module, inputs: Any) -> int:
    """Number of parameters without those that evaluation does not use, such as an auxiliary head's.

    Args:
        inputs: of any batch.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    with evaluation_mode(network), torch.enable_grad():
        logits = call(network, to_device(inputs, device_of(network)))
        gradients = torch.autograd.grad(logits.sum(), weights, allow_unused=True)
    unused = sum(weight.numel() for weight, gradient in zip(weights, gradients, strict=True) if gradient is None)
    return sum(weight.numel() for weight in network.parameters()) - unused


class _PartOfBar(Display):
    """Shows the progress of one of several trainings as a part of that of all."""

    def __init__(self, display: Display, *, part: int, num: int) -> None:
        self.display = display
        self.part = part
        self.num = num

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        self.display.update(phase, self.part * total + done, self.num * total, {"network": self.part, **scalars})

    def say(self, text: str) -> None:
        self.display.say(text)
