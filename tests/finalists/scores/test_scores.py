"""Scores without training against closed forms on tiny networks in float64."""

import math

import pytest
import torch
from torch import Tensor, nn

from dnas.finalists.opponents.by_score import SCORES, ByScore
from dnas.finalists.scores.az_nas import AzNas
from dnas.finalists.scores.naswot import NasWot
from dnas.finalists.scores.score import best_of_scores
from dnas.finalists.scores.swap import Swap
from dnas.finalists.scores.synflow import SynFlow
from dnas.space import DartsSpace, NasBench201Space
from dnas.system.errors import UserError
from tests.finalists.opponents.test_opponents import found
from tests.finalists.test_halving import WIDTHS


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def linear(weight: list[list[float]]) -> nn.Linear:
    made = nn.Linear(len(weight[0]), len(weight), bias=False, dtype=torch.float64)
    made.weight.data.copy_(torch.tensor(weight))
    return made


# Which of three units are on: for the first sample 1 1 0, for the second 1 0 0.
UNITS = nn.Sequential(linear([[1, 0, 0], [0, 1, 0], [0, 0, 1]]), nn.ReLU())
SAMPLES = torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, -1.0]], dtype=torch.float64)


def test_synflow_of_two_linear_layers_is_twice_the_flow():
    first, second = [[1.0, -2.0], [0.5, 3.0]], [[-1.0, 4.0]]
    network = nn.Sequential(linear(first), nn.BatchNorm1d(2, dtype=torch.float64), linear(second))
    flow = 1 * (1 + 2) + 4 * (0.5 + 3)
    assert SynFlow()(network, torch.randn(7, 2), generator()) == pytest.approx((math.log(2 * flow),), rel=1e-14)


def test_naswot_is_the_log_determinant_of_agreements():
    # K = [[3, 2], [2, 3]]
    assert NasWot()(UNITS, SAMPLES, generator()) == pytest.approx((math.log(5),), rel=1e-14)
    assert NasWot()(UNITS, SAMPLES[[0, 0]], generator()) == (-math.inf,)


def test_swap_counts_the_different_patterns_of_units():
    twice = nn.Sequential(linear([[1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 0, 0]]), nn.ReLU())
    assert Swap()(UNITS, SAMPLES, generator()) == (3.0,)
    assert Swap()(twice, SAMPLES, generator()) == (3.0,)


def test_a_relu_that_is_no_module_counts_too_and_a_network_without_one_is_refused():
    class Functional(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x)

    assert Swap()(Functional(), SAMPLES, generator()) == (3.0,)
    with pytest.raises(UserError, match="has no ReLU"):
        NasWot()(linear([[1.0]]), SAMPLES[:, :1], generator())


class Scaled(nn.Module):
    """factor * x in each channel."""

    def __init__(self, *factors: float):
        super().__init__()
        self.factors = nn.Parameter(torch.tensor(factors, dtype=torch.float64).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors


def test_az_nas_of_blocks_that_scale():
    # Two channels of variance 1 without correlation; then the second has variance 9, a share of 0.9.
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64).reshape(4, 2, 1, 1)
    network = nn.Sequential(Scaled(1.0, 1.0), Scaled(1.0, 3.0))
    expressivity, progressivity, _, flops = AzNas()(network, x, generator())
    second = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert expressivity == pytest.approx(math.log(2) + second, abs=1e-6)
    assert progressivity == pytest.approx(second - math.log(2), abs=1e-6)
    assert flops == 0.0


def test_az_nas_trainability_is_highest_where_a_block_keeps_the_gradients_size():
    x = torch.randn(4, 1, 2, 2, generator=generator(), dtype=torch.float64)
    for factor in (0.5, 2.0, -1.0):  # of one channel: G_{l - 1}^T G_l / rows is the factor
        trainability = AzNas()(nn.Sequential(Scaled(1.0), Scaled(factor)), x, generator())[2]
        assert trainability == pytest.approx(2 - abs(factor) - 1 / abs(factor), abs=1e-5)
    assert AzNas()(nn.Sequential(Scaled(1.0), Scaled(1.0)), x, generator())[2] == -math.inf


def test_ranks_of_several_numbers_are_combined():
    assert best_of_scores([(1.0,), (3.0,), (2.0,)]) == 1
    assert best_of_scores([(3.0, 1.0), (2.0, 2.0), (1.0, 3.0)]) == 1  # 2 log(2/3) > log(1/3)
    assert best_of_scores([(math.nan,), (-5.0,)]) == 1
    assert best_of_scores([(1.0,), (1.0,)]) == 0


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("space", [NasBench201Space(), DartsSpace(nodes=2)])
def test_networks_of_spaces_can_be_scored(name: str, space):
    architecture = space.random(generator())
    network = space.network(architecture, channels=4, cells=2, num_classes=3)
    numbers = SCORES[name](network, torch.randn(6, 3, 8, 8, generator=generator()), generator())
    assert not any(math.isnan(number) for number in numbers)


def test_the_largest_network_wins_by_parameters_and_nothing_is_trained(tmp_path):
    architecture, contest = found(ByScore("parameters"), 1e9, tmp_path)
    assert architecture.decisions["width"] == max(WIDTHS)
    assert contest.finalists == []
