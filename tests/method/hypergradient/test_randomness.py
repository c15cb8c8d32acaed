"""Passes over one batch draw the same random numbers, and none are used up."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from dnas.method.hypergradient import Tensors
from dnas.method.hypergradient.randomness import repeatable


@dataclass
class Drawing:
    """Notes what it draws in each pass."""

    train_draws: list[tuple[int, float]] = field(default_factory=list)
    val_draws: list[float] = field(default_factory=list)

    def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
        self.train_draws.append((index, float(torch.rand(()))))
        return torch.zeros(())

    def val(self, weights: Tensors, outer: Tensors) -> Tensor:
        self.val_draws.append(float(torch.rand(())))
        return torch.zeros(())


class Broken(Drawing):
    def val(self, weights: Tensors, outer: Tensors) -> Tensor:
        super().val(weights, outer)
        raise RuntimeError("broken")


def passes() -> Drawing:
    drawing = Drawing()
    with repeatable(drawing, {"w": torch.zeros(1)}) as problem:
        for index in (0, 1, 0, 1):
            problem.train({}, {}, index)
            problem.val({}, {})
    return drawing


def test_one_batch_sees_the_same_draws_and_other_batches_see_others():
    drawing = passes()
    (_, first), (_, second), *rest = drawing.train_draws
    assert rest == [(0, first), (1, second)]
    assert set(drawing.val_draws) == {drawing.val_draws[0]}
    assert len({first, second, drawing.val_draws[0]}) == 3


def test_draws_depend_on_the_random_state_alone():
    torch.manual_seed(5)
    before = passes()
    assert passes() == before
    torch.rand(())
    assert passes() != before
    torch.manual_seed(5)
    assert passes() == before


def test_the_random_state_is_as_before_also_after_an_error():
    state = torch.get_rng_state()
    passes()
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(RuntimeError, match="broken"), repeatable(Broken(), {"w": torch.zeros(1)}) as problem:
        problem.val({}, {})
    assert torch.equal(torch.get_rng_state(), state)


def test_a_device_without_known_generator_is_refused():
    with pytest.raises(ValueError, match="meta"), repeatable(Drawing(), {"w": torch.zeros(1, device="meta")}):
        pass


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_generators_of_cuda_devices_are_as_before_and_nothing_waits_for_the_device():
    weights = {"w": torch.zeros(4, device="cuda")}
    state = torch.cuda.get_rng_state()

    class OnDevice:
        def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
            return torch.rand((), device="cuda")

        def val(self, weights: Tensors, outer: Tensors) -> Tensor:
            return torch.rand((), device="cuda")

    torch.cuda.set_sync_debug_mode("error")
    try:
        with repeatable(OnDevice(), weights) as problem:
            draws = [problem.train({}, {}, index) for index in (0, 1, 0)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert draws[0] == draws[2]
    assert draws[0] != draws[1]
