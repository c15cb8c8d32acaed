"""The largest eigenvalue against the whole Hessian, and what follows from how it grows."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from dnas import (
    AdaptiveDecay,
    Batch,
    Choice,
    EigenvalueStop,
    EpochReport,
    HessianEigenvalue,
    Observer,
    SearchSettings,
    Sharpening,
    Sigmoid,
    Softmax,
    Stop,
    Supernet,
    WeightSGD,
    search,
)
from dnas.searching.observer import largest_eigenvalue
from dnas.searching.observer.eigenvalue import largest_of
from dnas.searching.observer.eigenvalue_stop import local_averages
from tests.support.method import TRAIN, VAL, final, loss, new_supernet, settings_of

START = torch.tensor(0.0)


def dense(supernet: Supernet, relaxed, batch: Batch) -> Tensor:
    """The eigenvalues of the Hessian in the alphas, by the formula of the problem."""
    weights = {name: value.detach() for name, value in final_weights(supernet).items()}

    def value(alpha: Tensor) -> Tensor:
        return loss(weights, relaxed(alpha.view(2, 3)), batch)

    alpha = supernet.alphas["cell"].detach().flatten()
    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(value, alpha))


def final_weights(supernet: Supernet) -> dict[str, Tensor]:
    return {n: t for n, t in final(type("Result", (), {"supernet": supernet})).items() if n != "cell"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("relaxation", "relaxed"),
    [(Softmax(), lambda alpha: alpha.softmax(-1)), (Sigmoid(), lambda alpha: alpha.sigmoid())],
)
def test_it_is_the_largest_of_the_whole_hessian(relaxation, relaxed):
    supernet = new_supernet()
    for batch in VAL:
        expected = dense(supernet, relaxed, batch)[-1]
        found = largest_eigenvalue(supernet, relaxation, batch, START, iterations=6)
        assert found == pytest.approx(float(expected), rel=1e-10)


def test_where_the_one_of_largest_size_is_negative_the_largest_is_found_all_the_same():
    supernet = Supernet(nn.Sequential(Choice("op", {"a": nn.Identity(), "b": nn.Tanh()})), lambda y, t: -(y**2).mean())
    supernet.alphas["op"] = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    batch = Batch(torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), None)

    def value(alpha: Tensor) -> Tensor:
        m = alpha.sigmoid()
        return -((m[0] * batch.inputs + m[1] * torch.tanh(batch.inputs)) ** 2).mean()

    values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(value, supernet.alphas["op"].detach()))
    assert values.abs().argmax() == 0
    found = largest_eigenvalue(supernet, Sigmoid(), batch, START, iterations=2)
    assert found == pytest.approx(float(values[-1]), rel=1e-10)


def matrix(*eigenvalues: float) -> Tensor:
    """A symmetric matrix with these eigenvalues."""
    generator = torch.Generator().manual_seed(5)
    n = len(eigenvalues)
    q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    return q @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ q.T


@pytest.mark.parametrize(
    "eigenvalues",
    [
        (3.0, 2.999, 1.0, 0.0, -2.0),  # two close ones
        (1.0, -1.0, 0.5, -0.5),  # two of one size, between which a power iteration goes to and fro
        (-3.0, -2.0, -1.0),  # all negative
        (2.0, 2.0, 2.0, 2.0),  # every direction is an eigenvector
        (0.0, 0.0, 0.0),  # flat
        (-1.0,),
    ],
)
def test_with_as_many_products_as_dimensions_it_is_exact(eigenvalues):
    h = matrix(*eigenvalues)
    found = largest_of(lambda v: h @ v, h[0], iterations=100)
    assert found == pytest.approx(max(eigenvalues), rel=1e-10, abs=1e-10)


def test_a_start_without_any_part_in_the_direction_that_is_sought_finds_it_all_the_same():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, generator=generator, dtype=torch.float64)  # the start of `largest_of`
    start = start / start.norm()
    # The start is an eigenvector of 1; all other directions have 7.
    h = 7 * torch.eye(4, dtype=torch.float64) - 6 * torch.outer(start, start)
    assert largest_of(lambda v: h @ v, start, iterations=1) == pytest.approx(1.0, rel=1e-10)
    assert largest_of(lambda v: h @ v, start, iterations=4) == pytest.approx(7.0, rel=1e-10)


def test_fewer_products_give_no_more_than_the_largest_and_come_nearer_with_each():
    h = matrix(*(1 / (k + 1) for k in range(40)))
    found = [largest_of(lambda v: h @ v, h[0], iterations=k) for k in range(1, 13)]
    assert all(after >= before - 1e-14 for before, after in pairwise(found))
    assert found[-1] <= 1.0 + 1e-12
    assert found[-1] == pytest.approx(1.0, rel=1e-3)
    calls: list[Tensor] = []
    largest_of(lambda v: calls.append(v) or h @ v, h[0], iterations=3)
    assert len(calls) == 3


class Unheard(nn.Module):
    """A choice whose output is thrown away."""

    def __init__(self):
        super().__init__()
        self.op = Choice("op", {"skip": nn.Identity(), "tanh": nn.Tanh()})

    def forward(self, x: Tensor) -> Tensor:
        self.op(x)
        return x


def test_a_loss_in_which_alphas_take_no_part_is_flat():
    batch = Batch(torch.ones(2, 4, dtype=torch.float64), None)
    supernet = Supernet(Unheard(), lambda outputs, targets: outputs.sum())
    assert largest_eigenvalue(supernet, Softmax(), batch, START) == 0.0


def test_without_a_product_there_is_no_eigenvalue():
    with pytest.raises(ValueError, match="iterations must be at least 1; got 0"):
        largest_eigenvalue(new_supernet(), Softmax(), VAL[0], START, iterations=0)


def test_random_states_and_weights_are_left_as_they_were():
    supernet = new_supernet()
    before = torch.get_rng_state()
    weights = [weight.detach().clone() for weight in supernet.model.parameters()]
    largest_eigenvalue(supernet, Softmax(), VAL[0], START)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(supernet.model.parameters(), weights, strict=True))
    assert all(weight.grad is None for weight in supernet.model.parameters())


# --- Growth -----------------------------------------------------------------------------------------------------------


def test_local_averages_are_over_the_last_values_once_there_are_half_a_window():
    assert local_averages([1.0, 2.0], 5) == []
    assert local_averages([1.0, 2.0, 6.0, 3.0, 3.0, 7.0], 5) == [3.0, 3.0, 3.0, 4.2]


def test_growth_is_told_by_the_epoch_at_which_it_began():
    rule = Sharpening(factor=1.3, delta=2, window=3, start=1)
    values = [1.0, 1.0, 1.0, 1.0, 1.0, 2.0]
    # Averages: 1, 1, 1, 1, 4/3 (of 1, 1, 2); the last over that two before it is 1.33.
    assert [rule.epoch_of(epoch, values[:epoch]) for epoch in range(1, 7)] == [None] * 5 + [6 - (1 + 2)]


def test_nothing_is_cut_to_the_first_epochs():
    values = [1.0, 1.0, 1.0, 1.0, 1.0, 2.0]
    assert Sharpening(factor=1.3, delta=2, window=3, start=3).epoch_of(6, values) is None


def test_measurements_of_every_second_epoch_count_as_two_epochs():
    assert Sharpening(factor=1.3, delta=1, window=1, start=1, every=2).epoch_of(8, [1.0, 1.0, 1.0, 2.0]) == 8 - 2


def test_averages_of_zero_tell_of_no_growth():
    rule = Sharpening(factor=1.3, delta=1, window=1, start=0)
    assert rule.epoch_of(4, [0.0, 0.0, 0.0, 5.0]) is None
    assert rule.epoch_of(5, [0.0, 0.0, 0.0, 5.0, 7.0]) == 4


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("first", [1, 2, 3, 4, 9])
@pytest.mark.parametrize(("delta", "window", "start"), [(1, 1, 0), (4, 5, 10), (2, 4, 1), (3, 2, 7)])
def test_the_earliest_epoch_that_tells_of_growth_is_the_first_that_does(every, first, delta, window, start):
    rule = Sharpening(factor=1.3, delta=delta, window=window, start=start, every=every)
    measured = [epoch for epoch in range(first, 60) if (epoch - 1) % every == 0]
    values = [2.0**number for number in range(len(measured))]
    told = [epoch for count, epoch in enumerate(measured, start=1) if rule.epoch_of(epoch, values[:count])]
    assert rule.earliest(first) == told[0]


def grown(observer, epochs: int = 6):
    """A search of one batch per epoch, whose observer measures after every step."""
    settings = SearchSettings(observers=(observer,), epochs=epochs, weights=WeightSGD(weight_decay=1e-3))
    return search(new_supernet(), TRAIN[:1], VAL[:1], settings=settings)


ALWAYS = Sharpening(factor=1e-9, delta=1, window=1, start=1, iterations=100)


def test_the_eigenvalue_of_every_epoch_is_logged_by_each_of_them():
    plain = grown(HessianEigenvalue(iterations=100), epochs=3)
    adaptive = grown(AdaptiveDecay(Sharpening(factor=1e9, delta=1, window=1, start=0, iterations=100)), epochs=3)
    values = [[row["dominant_eigenvalue"] for row in result.metrics] for result in (plain, adaptive)]
    assert values[0] == values[1]
    assert len(values[0]) == 3


def test_every_second_epoch_begins_with_the_first():
    result = grown(HessianEigenvalue(every=2), epochs=5)
    assert ["dominant_eigenvalue" in row for row in result.metrics] == [True, False, True, False, True]


def test_nothing_is_noticed_at_the_end_of_the_search():
    settings = SearchSettings(epochs=3, weights=WeightSGD(weight_decay=1e-3))
    whole, stopped = (
        search(new_supernet(), TRAIN[:1], VAL[:1], settings=settings, observers=[observer])
        for observer in (HessianEigenvalue(), EigenvalueStop(ALWAYS))
    )
    assert torch.equal(whole.supernet.alphas["cell"], stopped.supernet.alphas["cell"])


def test_a_stop_takes_the_alphas_of_the_epoch_at_which_the_growth_began():
    stopped, whole = grown(EigenvalueStop(ALWAYS)), grown(HessianEigenvalue(), epochs=6)
    # Noticed for the first time when the growth began after epoch 1: in epoch 3, and it began in epoch 2.
    assert len(stopped.metrics) == 3
    two = search(
        new_supernet(),
        TRAIN[:1],
        VAL[:1],
        settings=SearchSettings(epochs=6, weights=WeightSGD(weight_decay=1e-3), observers=(StopAt(2),)),
    )
    assert torch.equal(stopped.supernet.alphas["cell"], two.supernet.alphas["cell"])
    assert not torch.equal(stopped.supernet.alphas["cell"], whole.supernet.alphas["cell"])


@dataclass(frozen=True)
class StopAt(Observer):
    """Ends a search after an epoch."""

    epoch: int

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        return Stop() if report.epoch == self.epoch else None


def test_weight_decay_grows_each_time_up_to_the_largest_and_the_search_goes_back_as_often():
    result = grown(AdaptiveDecay(ALWAYS, multiplier=3.0, largest=0.005), epochs=5)
    # In epoch 3 the growth is noticed that began in epoch 2, and so again with three times the decay. With the largest
    # one the search goes on to its end.
    assert [row["epoch"] for row in result.metrics] == [1, 2, 3, 3, 3, 4, 5]
    assert [row["weight_decay"] for row in result.metrics] == pytest.approx([1e-3] * 3 + [3e-3] + [5e-3] * 3)


def test_it_may_go_back_to_measured_epochs_after_the_start_and_further_by_the_extra():
    observer = AdaptiveDecay(Sharpening(start=4, every=2))
    assert list(filter(observer.may_go_back_to, range(1, 12))) == [5, 7, 9, 11]
    observer = AdaptiveDecay(Sharpening(start=4, every=2), extra=3)
    assert list(filter(observer.may_go_back_to, range(1, 10))) == [2, 4, 6, 8]
    values = [1.0, 1.0, 1.0, 1.0, 2.0]
    began = Sharpening(start=4, every=2, delta=1, window=1).epoch_of(9, values)
    assert began == 7


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sharpening(factor=0.0),
        lambda: Sharpening(window=0),
        lambda: Sharpening(delta=0),
        lambda: HessianEigenvalue(every=0),
        lambda: AdaptiveDecay(multiplier=1.0),
        lambda: AdaptiveDecay(extra=-1),
        lambda: AdaptiveDecay(Sharpening(start=3), extra=4),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()


def test_the_recipes_are_these_observers():
    assert settings_of("robust_darts_es").observers == (EigenvalueStop(Sharpening(every=2)),)
    assert settings_of("robust_darts_ada").observers == (AdaptiveDecay(Sharpening(every=2)),)
