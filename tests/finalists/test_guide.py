"""The Gaussian process over architectures: its equations in closed form, and what it proposes."""

import math
from itertools import product

import pytest
import torch
from torch.distributions import MultivariateNormal
from torch.testing import assert_close

from dnas.core.architecture import Architecture
from dnas.core.decision import Decision
from dnas.finalists.guide import LENGTHS, NOISES, OPTIMISM, Guide
from dnas.finalists.proposals import Possible, Proposals

# Four architectures with three places, the best first.
SETTLED = [(0, 1, 2), (0, 1, 0), (1, 1, 2), (2, 0, -1)]


def likelihood(covariance: torch.Tensor, y: torch.Tensor) -> float:
    """The density of y for the s^2 that is best."""
    scale = y @ covariance.inverse() @ y / len(y)
    return float(MultivariateNormal(torch.zeros(len(y)).double(), scale * covariance).log_prob(y))


def test_expectations_and_bounds_are_those_of_the_likeliest_gaussian_process():
    others = [(0, 0, 2), (2, 0, -1)]
    settled, new = torch.tensor(SETTLED), torch.tensor(others)
    y = torch.special.ndtri(torch.tensor([0.875, 0.625, 0.375, 0.125], dtype=torch.float64))
    y = y / y.square().mean().sqrt()

    def k(a: torch.Tensor, b: torch.Tensor, length: float) -> torch.Tensor:
        return torch.exp(-(a[:, None] != b).double().mean(2) / length)

    eye = torch.eye(4, dtype=torch.float64)
    length, noise = max(
        product(LENGTHS, NOISES), key=lambda one: likelihood(k(settled, settled, one[0]) + one[1] * eye, y)
    )
    inverse = (k(settled, settled, length) + noise * eye).inverse()
    across = k(new, settled, length)
    variance = (y @ inverse @ y / 4) * (1 - (across @ inverse @ across.T).diagonal())
    guide = Guide(SETTLED)
    assert_close(guide.expected(others), across @ inverse @ y, rtol=1e-9, atol=1e-12)
    assert_close(guide.promise(others), across @ inverse @ y + OPTIMISM * variance.sqrt(), rtol=1e-9, atol=1e-12)


def test_of_two_results_the_better_one_has_the_opposite_of_the_others_expectation():
    better, worse = Guide([(0,), (1,)]).expected([(0,), (1,)]).tolist()
    assert math.isclose(better, -worse, rel_tol=1e-12)
    assert better > 0


DECISIONS = {name: Decision(name, "choice", ("a", "b", "c", "d")) for name in ("u", "v", "w")}
ALL = [Architecture(dict(zip(DECISIONS, names, strict=True))) for names in product("abcd", repeat=3)]


def worth(one: Architecture) -> int:
    """The later its letters, the better."""
    return sum("abcd".index(str(name)) for name in one.decisions.values())


class Written:
    """Architectures count as the same if they are written alike."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def is_new(self, architecture: Architecture) -> bool:
        written = architecture.to_json()
        self.seen, is_new = {*self.seen, written}, written not in self.seen
        return is_new


@pytest.fixture
def proposals() -> Proposals:
    possible = Possible(
        DECISIONS,
        lambda kept: Architecture(dict(kept)),
        lambda kept: kept["u"] != "d",
        lambda index: ALL[11 * index % len(ALL)],
        Written(),  # pyright: ignore[reportArgumentType]
    )
    return Proposals(possible, None, seed=0)


def test_a_guide_finds_the_best_combination_that_fits_and_nothing_was_like(proposals: Proposals):
    trained = [one.architecture for one in proposals.random(12)]
    assert max(map(worth, trained)) < 8
    for _ in range(6):
        trained.sort(key=worth, reverse=True)
        (proposal,) = proposals.guided(trained)
        assert proposal.source == "model of trainings"
        trained.append(proposal.architecture)
    assert worth(max(trained, key=worth)) == 8  # c, d, d: with d in u it would not fit


def test_a_guide_has_nothing_to_propose_where_all_is_known(proposals: Proposals):
    assert len(proposals.random(64)) == 48
    assert proposals.guided(ALL[:3]) == []
