"""Disturbed mixtures are those of the official code, written out row by row."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dnas.core.mixture import Mixture
from dnas.core.schedule import Constant, Linear
from dnas.method.smoothing import AdversarialSmoothing, RandomSmoothing
from dnas.method.smoothing.rows import to_mixture

HALF = torch.tensor(0.5, dtype=torch.float64)
SEEDS = range(20)


def tensor(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clipped(row: list[float]) -> list[float]:
    """`clip` of the official code for one row: clamp, all to the largest where nothing is left, divide by the sum."""
    kept = [min(max(value, 0.0), 1.0) for value in row]
    if sum(kept) == 0:
        kept[max(range(len(row)), key=lambda k: row[k])] = 1.0
    return [value / sum(kept) for value in kept]


def no_loss(mixtures) -> Tensor:
    raise AssertionError("random smoothing asks for no loss")


MIXTURES = {
    "act": Mixture(tensor(0.2, 0.5, 0.3)),
    "cell": Mixture(tensor([0.9, 0.05, 0.05], [0.3, 0.3, 0.4])),
}


# Rows


def test_a_row_that_lost_everything_goes_to_its_largest_entry():
    mixture = Mixture(tensor(0.2, 0.8))
    assert torch.equal(to_mixture(tensor(-0.3, -0.1), mixture), tensor(0.0, 1.0))


def test_rows_sum_to_1_again_and_gates_are_only_clamped():
    perturbed = tensor([0.5, 0.7], [-0.2, 1.3])
    assert_close(to_mixture(perturbed, Mixture(tensor([0.4, 0.6], [0.4, 0.6]))), tensor([5 / 12, 7 / 12], [0.0, 1.0]))
    assert_close(to_mixture(perturbed, Mixture(tensor([0.4, 0.9], [0.1, 0.1]))), tensor([0.5, 0.7], [0.0, 1.0]))


def test_what_is_not_active_stays_0():
    mixture = Mixture(tensor([0.5, 0.0, 0.5], [0.0, 1.0, 0.0]), ((0, 2), (1,)))
    found = to_mixture(tensor([-0.1, 0.9, -0.3], [0.2, -0.4, 0.5]), mixture)
    assert torch.equal(found, tensor([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]))


# Random


@pytest.mark.parametrize("seed", SEEDS)
def test_random_smoothing_adds_uniform_noise_and_makes_it_a_mixture(seed):
    found = RandomSmoothing(Linear(0.1, 0.9))(MIXTURES, no_loss, HALF, generator(seed))
    noise = generator(seed)
    for name, mixture in MIXTURES.items():
        d = 0.5 * (2 * torch.rand(mixture.values.shape, generator=noise, dtype=torch.float64) - 1)
        rows = (mixture.values + d).reshape(-1, 3).tolist()
        expected = tensor(*(clipped(row) for row in rows)).reshape(mixture.values.shape)
        assert_close(found[name].values, expected, rtol=1e-14, atol=1e-16)


def test_noise_fills_the_box_evenly():
    number = 50_000
    gates = Mixture(torch.full((number, 2), 0.4, dtype=torch.float64))  # sums of 0.8: not scaled
    d = RandomSmoothing(Constant(0.1))({"g": gates}, no_loss, HALF, generator(1))["g"].values - 0.4
    assert d.abs().max() <= 0.1 + 1e-15
    # Uniform in (-0.1, 0.1): mean 0, variance 0.01 / 3; five standard errors of 100,000 numbers.
    assert abs(d.mean().item()) < 5 * (0.01 / 3 / d.numel()) ** 0.5
    assert_close(d.square().mean(), tensor(0.01 / 3)[0], rtol=5 * (0.8 / d.numel()) ** 0.5, atol=0)


# Adversarial


def linear(slopes: dict[str, Tensor]):
    return lambda mixtures: torch.stack([(slopes[name] * mixtures[name].values).sum() for name in slopes]).sum()


@pytest.mark.parametrize("random_start", [True, False])
def test_with_a_linear_loss_gates_go_to_the_corner_of_the_box(random_start):
    """|d| = r with the sign of the slope; 7 steps of 2 r / 7 cross the box from any start."""
    slopes = {"act": tensor(1.0, -2.0, 0.1), "cell": tensor([3.0, 0.2, -1.0], [-1.0, 1.0, -0.1])}
    gates = {"act": Mixture(tensor(0.5, 0.6, 0.7)), "cell": Mixture(tensor([0.4, 0.5, 0.3], [0.5, 0.6, 0.7]))}
    smoothing = AdversarialSmoothing(Linear(0.0, 0.4), random_start=random_start)
    for seed in SEEDS:
        found = smoothing(gates, linear(slopes), HALF, generator(seed))
        for name, mixture in gates.items():
            assert_close(found[name].values, mixture.values + 0.2 * slopes[name].sign(), rtol=1e-14, atol=1e-15)


def test_with_a_linear_loss_of_two_candidates_mixtures_go_to_the_corner_that_sums_to_1():
    found = AdversarialSmoothing(Constant(0.2), random_start=False)(
        {"act": Mixture(tensor(0.3, 0.7))}, linear({"act": tensor(-1.0, 2.0)}), HALF, None
    )
    assert_close(found["act"].values, tensor(0.1, 0.9), rtol=1e-14, atol=0)


def attack_in_python(row: list[float], slope, radius: float, steps: int) -> list[float]:
    """The loop of the official code for one row, from the middle of the box."""
    m = list(row)
    for _ in range(steps):
        gradient = slope(m)
        m = [x + 2 * radius / steps * ((g > 0) - (g < 0)) for x, g in zip(m, gradient, strict=True)]
        d = [min(max(x - x0, -radius), radius) for x, x0 in zip(m, row, strict=True)]
        m = clipped([x0 + dx for x0, dx in zip(row, d, strict=True)])
    return m


@pytest.mark.parametrize("steps", [1, 3, 7])
@pytest.mark.parametrize("radius", [0.03, 0.3])
def test_the_ascent_is_that_of_the_official_code(steps, radius):
    target = [0.6, 0.1, 0.3]

    def loss(mixtures) -> Tensor:
        return ((mixtures["act"].values - tensor(*target)) ** 2).sum()

    def slope(m: list[float]) -> list[float]:
        return [2 * (x - t) for x, t in zip(m, target, strict=True)]

    smoothing = AdversarialSmoothing(Constant(radius), steps, random_start=False)
    found = smoothing({"act": MIXTURES["act"]}, loss, HALF, None)["act"].values
    expected = attack_in_python([0.2, 0.5, 0.3], slope, radius, steps)
    assert_close(found, tensor(*expected), rtol=1e-13, atol=1e-15)


def test_where_the_attack_lowers_the_loss_the_mixtures_stay():
    """A loss with a narrow peak at the mixture: every step leads down."""

    def peak(mixtures) -> Tensor:
        return -(mixtures["act"].values - tensor(0.2, 0.5, 0.3)).abs().sum()

    found = AdversarialSmoothing()({"act": MIXTURES["act"]}, peak, HALF, generator())
    assert torch.equal(found["act"].values, MIXTURES["act"].values)


def test_the_attack_starts_at_a_random_point_of_the_box():
    flat = linear({"act": tensor(0.0, 0.0, 0.0)})
    found = AdversarialSmoothing(Constant(0.1))({"act": MIXTURES["act"]}, flat, HALF, generator(4))
    random = RandomSmoothing(Constant(0.1))({"act": MIXTURES["act"]}, no_loss, HALF, generator(4))
    # The ascent does not move, but clamps to the box what the division by the sum had moved out of it.
    box = random["act"].values.clamp(MIXTURES["act"].values - 0.1, MIXTURES["act"].values + 0.1)
    assert (found["act"].values - box).abs().max() < 0.05
    assert not torch.equal(found["act"].values, MIXTURES["act"].values)


def test_a_mixture_that_takes_no_part_in_the_loss_is_left_where_it_started():
    loss = linear({"act": tensor(1.0, 0.0, -1.0)})
    found = AdversarialSmoothing(random_start=False)(MIXTURES, loss, HALF, None)
    assert torch.equal(found["cell"].values, MIXTURES["cell"].values)


@pytest.mark.parametrize("steps", [0, -1])
def test_an_attack_without_steps_is_refused(steps):
    with pytest.raises(ValueError, match="takes 1 or more steps"):
        AdversarialSmoothing(steps=steps)


# Both


@pytest.mark.parametrize("smoothing", [RandomSmoothing(), AdversarialSmoothing()], ids=repr)
def test_weights_of_edges_are_left_alone(smoothing):
    mixtures = MIXTURES | {"cell.edges": Mixture(tensor(0.4, 0.6))}
    slopes = {"cell": tensor([3.0, 0.2, -1.0], [-1.0, 1.0, -0.1]), "cell.edges": tensor(1.0, -1.0)}
    found = smoothing(mixtures, linear(slopes), HALF, generator())
    assert torch.equal(found["cell.edges"].values, tensor(0.4, 0.6))
    assert not torch.equal(found["cell"].values, MIXTURES["cell"].values)


@pytest.mark.parametrize("smoothing", [RandomSmoothing(), AdversarialSmoothing()], ids=repr)
def test_hard_samples_stay(smoothing):
    hard = {"act": Mixture(tensor(0.0, 1.0, 0.0), ((1,),))}
    found = smoothing(hard, linear({"act": tensor(1.0, -1.0, 2.0)}), HALF, generator())
    assert torch.equal(found["act"].values, hard["act"].values)


@pytest.mark.parametrize("kind", [RandomSmoothing, AdversarialSmoothing])
def test_with_radius_0_nothing_changes(kind):
    found = kind(Constant(0.0))(MIXTURES, linear({"act": tensor(1.0, 0.0, -1.0)}), HALF, generator())
    for name, mixture in MIXTURES.items():
        assert_close(found[name].values, mixture.values, rtol=1e-15, atol=0)
