"""A small search in float64 that one process and several must take alike, with batch norm and an odd last batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dnas import (
    Choice,
    ExactProduct,
    FiniteDifference,
    GumbelSoftmax,
    Neumann,
    Observer,
    OneStep,
    RetrainSettings,
    SearchSettings,
    Silent,
    Unrolled,
    evaluate,
    retrain,
    search,
    shrink,
)
from dnas.cost.budget import Budget
from dnas.distributed.ranks import own_rows
from dnas.distributed.together import together
from dnas.method.smoothing import AdversarialSmoothing
from dnas.searching.observer import EpochReport, StepReport
from dnas.searching.settings import AlphaAdam
from dnas.searching.weight_optimizer import WeightSGD
from dnas.shrinking.settings import ShrinkSettings

SHARED = {"epochs": 5, "alphas": AlphaAdam(lr=0.05), "weights": WeightSGD(momentum=0.5), "log_every": 1}
OWN_BATCH_NORM = "batch norm of each rank's own rows"
CASES: dict[str, dict[str, Any]] = {
    "first order": {},
    "one step by finite difference": {"hypergradient": OneStep(FiniteDifference())},
    "one step, exact": {"hypergradient": OneStep(ExactProduct(), clip=1.0)},
    "Neumann": {"hypergradient": Neumann(terms=3, rate=0.1)},
    "unrolled": {"hypergradient": Unrolled(steps=2)},
    "a sampled relaxation": {"relaxation": GumbelSoftmax()},
    "a budget": {"budget": Budget(("parameters<=60%",))},
    "adversarial smoothing": {"smoothing": AdversarialSmoothing()},
    "one level": {"one_level": True},
    "clipping over mixtures": {"clip_over": "mixtures"},
    OWN_BATCH_NORM: {"synchronise_batch_norm": False},
}


def model() -> nn.Module:
    """Two choices between small layers, around batch norm with running statistics and without."""
    torch.manual_seed(0)

    def candidates() -> dict[str, nn.Module]:
        return {
            "skip": nn.Identity(),
            "conv": nn.Conv2d(4, 4, 3, padding=1),
            "norm": nn.Sequential(nn.Tanh(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False)),
        }

    stem = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    return nn.Sequential(*stem, Choice("a", candidates()), nn.ReLU(), Choice("b", candidates()), *head).double()


def data(seed: int, counts: tuple[int, ...] = (8, 11)) -> list[tuple[Tensor, Tensor]]:
    """Batches of so many images, two in an epoch."""
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": torch.float64}
    return [(torch.randn(n, 2, 6, 6, **draw), torch.randint(0, 3, (n,), generator=generator)) for n in counts]


@dataclass(frozen=True)
class Record(Observer):
    """Notes alphas and weights after each step, and the scalars of each epoch."""

    steps: list[dict[str, Tensor]] = field(default_factory=list)
    rows: list[dict[str, float]] = field(default_factory=list)

    @property
    def watches_steps(self) -> bool:
        return True

    def step_ended(self, report: StepReport) -> None:
        net = report.supernet
        now = {**net.model.state_dict(), **{f"alpha {name}": alpha for name, alpha in net.alphas.items()}}
        self.steps.append({name: tensor.detach().clone() for name, tensor in now.items()})

    def epoch_ended(self, report: EpochReport) -> None:
        self.rows.append(dict(report.scalars))


def searched(case: str) -> tuple[list[dict[str, Tensor]], list[dict[str, float]], dict[str, Any]]:
    """Every step, every epoch, and the result of a case."""
    record = Record()
    result = search(
        model(),
        data(1),
        data(2),
        settings=SearchSettings(**{**SHARED, **CASES[case]}),
        observers=record,
        display=Silent(),
    )
    return record.steps, record.rows, dict(result.architecture.decisions)


def network() -> nn.Module:
    """A network without choices, with batch norm."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).double()


def trained() -> dict[str, Any]:
    """Weights, statistics and what was measured, after a training that measures each epoch."""
    settings = RetrainSettings(epochs=3, keep_best=True, weights=WeightSGD(momentum=0.9, clip=1.0))
    found = retrain(network(), data(1), validation=data(2), settings=settings, display=Silent())
    return {"state": found.state_dict(), "evaluated": evaluate(found, data(2), display=Silent()).loss}


def shrunk() -> dict[str, Any]:
    """The weights of a smaller network, found by a masked search and fine-tuned."""
    settings = ShrinkSettings(random=1, onnx=False, fine_tuning=RetrainSettings(epochs=1))
    train, held_out = data(1), data(2)
    small = shrink(
        network(), train, held_out, budget="flops<=60%", search_epochs=1, settings=settings, display=Silent()
    )
    return {"state": small.state_dict()}


class BatchNormOfParts(TorchFunctionMode):
    """Normalises the rows of each of `size` ranks by themselves, in one process; statistics are kept of the first's."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        others = dict(kwargs or {})
        if func is not F.batch_norm or not others["training"]:  # in evaluation mode rows do not depend on each other
            return func(*args, **others)
        x, mean, variance = args
        parts = [x[own_rows(len(x), rank, self.size)] for rank in range(self.size)]
        first = [func(parts[0], mean, variance, **others)]
        return torch.cat(first + [func(part, None, None, **others) for part in parts[1:]])


def all_searched(cases: list[str]) -> dict[str, Any]:
    """The cases in one group of processes."""
    with together():
        return {case: searched(case) for case in cases}


def all_trained() -> dict[str, Any]:
    """A training and a shrinking in one group of processes."""
    with together():
        return {"training": trained(), "shrinking": shrunk()}
