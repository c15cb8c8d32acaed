"""A network that learns from a teacher: closed forms, and what must fit."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.run import Run
from dnas.core.schedule import Constant
from dnas.searching.settings import WeightSGD
from dnas.system.errors import UserError
from dnas.task import Classification, LanguageModelling, MultiLabel, Regression, Segmentation
from dnas.task.base import Task
from dnas.training.distillation import Distillation, Teacher
from dnas.training.retrain import retrain
from dnas.training.settings import RetrainSettings

ONE_STEP = RetrainSettings(epochs=1, weights=WeightSGD(lr=Constant(0.1), momentum=0.0, weight_decay=0.0, clip=None))


def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(6, 4, generator=generator, dtype=torch.float64), torch.arange(6) % 3)]


def linear(seed: int, outputs: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(4, outputs).double()


def test_the_distance_of_classes_is_the_divergence_at_the_temperature_times_its_square():
    """Teacher (2 log 3, 0) and student (0, 0) at T = 2: softmax of (log 3, 0) is (3/4, 1/4), that of zeros 1/2 each."""
    taught, outputs = torch.tensor([[2 * math.log(3), 0.0]]).double(), torch.zeros(1, 2).double()
    expected = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    for task, shape in (
        (Classification(), (1, 2)),
        (Segmentation(), (1, 2, 1, 1)),
        (LanguageModelling(), (1, 1, 2)),
    ):
        found = task.distance_to_teacher(outputs.reshape(shape), taught.reshape(shape), 2.0)
        assert found.item() == pytest.approx(expected, rel=1e-6)
    # Of one label: a choice between 0 and its logit.
    found = MultiLabel().distance_to_teacher(torch.zeros(1, 1).double(), taught[:, :1], 2.0)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_at_a_high_temperature_the_gradient_matches_logits():
    """(z - v) / classes for logits of mean 0 (Hinton et al. 2015, eq. 4)."""
    z = torch.tensor([[1.0, -3.0, 2.0]], dtype=torch.float64, requires_grad=True)
    v = torch.tensor([[0.5, 0.5, -1.0]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(Classification().distance_to_teacher(z, v, 1e5), z)
    assert_close(gradient, (z - v).detach() / 3, rtol=1e-4, atol=0)


def test_other_tasks_compare_outputs_by_squares():
    found = Regression().distance_to_teacher(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]]), 3.0)
    assert found.item() == 2.0


def test_the_loss_is_blended_by_the_weight():
    teacher, student, task = linear(1), linear(2), Classification()
    ((inputs, targets),) = data()
    outputs = student(inputs)
    loss = task.criterion(outputs, targets)
    taught = Teacher(teacher, Distillation(3.0, 0.25), task, torch.device("cpu"))
    distance = task.distance_to_teacher(outputs, teacher(inputs), 3.0)
    assert_close(taught.blended(loss, outputs, inputs), 0.75 * loss + 0.25 * distance, rtol=1e-12, atol=0)


def trained(network: nn.Module, weight: float, teacher: nn.Module | None, **given: object) -> Tensor:
    settings = replace(ONE_STEP, distillation=Distillation(2.0, weight))
    return retrain(network, data(), settings=settings, teacher=teacher, **given).weight  # pyright: ignore


def test_a_weight_of_0_changes_nothing_and_with_1_a_network_learns_nothing_from_itself():
    assert torch.equal(trained(linear(2), 0.0, linear(1)), trained(linear(2), 0.5, None))
    assert not torch.equal(trained(linear(2), 0.5, linear(1)), trained(linear(2), 0.5, None))
    assert_close(trained(linear(2), 1.0, linear(2)), linear(2).weight, rtol=0, atol=1e-15)


def test_the_teacher_stays_as_it_is():
    teacher = nn.Sequential(linear(1), nn.BatchNorm1d(3).double())
    before = copy.deepcopy(teacher.state_dict())
    trained(linear(2), 0.5, teacher)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert teacher.training and all(weight.requires_grad for weight in teacher.parameters())


def test_a_training_goes_on_only_with_its_own_teacher(tmp_path):
    first = trained(linear(2), 0.5, linear(1), run=Run(tmp_path / "run"))
    assert torch.equal(first, trained(linear(2), 0.5, linear(1), run=Run(tmp_path / "run")))
    with pytest.raises(UserError, match="teacher"):
        trained(linear(2), 0.5, linear(3), run=Run(tmp_path / "run"))
    with pytest.raises(UserError, match="teacher"):
        trained(linear(2), 0.5, None, run=Run(tmp_path / "run"))


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (linear(1, outputs=2), r"teacher Linear gives a tensor \(6, 2\).*the network a tensor \(6, 3\)"),
        (nn.Linear(5, 3).double(), r"teacher Linear cannot take a tensor \(6, 4\)"),
        ("runs/teacher", "teacher must be a trained"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(teacher: nn.Module, message: str):
    with pytest.raises(UserError, match=message):
        trained(linear(2), 0.5, teacher)


@pytest.mark.parametrize("given", [{"temperature": 0.0}, {"weight": 1.5}, {"temperature": float("inf")}])
def test_settings_out_of_range_are_refused(given: dict[str, float]):
    with pytest.raises(UserError, match="must be"):
        Distillation(**given)


class _Pair(Task):
    def criterion(self, outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
        return outputs[0].square().mean()

    def metrics(self) -> dict:
        return {}


def test_outputs_of_several_tensors_count_alike():
    ours, theirs = (
        (torch.zeros(2), torch.zeros(8), torch.arange(3)),
        (torch.ones(2), torch.full((8,), 3.0), torch.ones(3)),
    )
    assert _Pair().distance_to_teacher(ours, theirs, 1.0).item() == (1 + 9) / 2
