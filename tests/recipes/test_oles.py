"""Three search steps of OLES against its formulas (read: PasaLab/oles, train_search.py; differences in the docstring of
`OperationFreeze`). With `count=1` a candidate may be frozen after every step."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dnas import BestEpoch, OperationFreeze
from tests.support.method import (
    SGD,
    TRAIN,
    VAL,
    Adam,
    assert_same,
    differs,
    final,
    grad,
    initial_alphas,
    initial_weights,
    leaf,
    loss,
    searched,
    settings_of,
)

OPERATIONS = ("a0", "b0", "a1", "b1")


def clipped(g: dict[str, Tensor], most: float = 5.0) -> dict[str, Tensor]:
    norm = torch.stack([(value**2).sum() for value in g.values()]).sum().sqrt()
    return {name: value * (most / (norm + 1e-6)).clamp(max=1.0) for name, value in g.items()}


def oles(threshold: float, count: int, against: str) -> tuple[dict[str, Tensor], set[str]]:
    """DARTS, first order; after each step the cosine of the training gradient at the old weights and the validation
    gradient at the new ones, or the sum of the two."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025), Adam()
    frozen: set[str] = set()
    cosines: dict[str, list[Tensor]] = {name: [] for name in OPERATIONS}
    for train, val in zip(TRAIN, VAL, strict=True):
        leaves = leaf(a)
        a = adam.step(a, grad(loss(w, leaves["cell"].softmax(-1), val), leaves))
        moving = {name: value for name, value in w.items() if name not in frozen}
        leaves = leaf(moving)
        g = grad(loss(w | leaves, a["cell"].softmax(-1), train), leaves)
        w = w | sgd.step(moving, g)
        leaves = leaf(moving | {name: w[name] for name in moving})
        g_val = grad(loss(w | leaves, a["cell"].softmax(-1), val), leaves)
        g = clipped(g)
        for name in set(OPERATIONS) - frozen:
            h = g[name] + g_val[name] if against == "sum" else g_val[name]
            cosines[name].append((g[name] @ h) / (g[name].norm() * h.norm()))
            if len(cosines[name]) == count:
                if torch.stack(cosines[name]).mean() < threshold:
                    frozen.add(name)
                cosines[name] = []
    return w | a, frozen


CASES = [
    (0.4, 1, "validation"),
    (0.9, 1, "validation"),
    (0.99, 2, "validation"),
    (0.4, 20, "validation"),
    (0.97, 1, "sum"),
    (0.99, 2, "sum"),
]


@pytest.mark.parametrize(("threshold", "count", "against"), CASES)
def test_three_steps_train_those_operations_alone_whose_gradients_agree(threshold: float, count: int, against):
    settings = settings_of("oles")
    assert settings.observers == (OperationFreeze(0.4, 20, against="sum"), BestEpoch(at_its_start=True))
    result = searched(replace(settings, observers=(OperationFreeze(threshold, count, against=against),)))
    expected, frozen = oles(threshold, count, against)
    assert_same(final(result), expected)
    assert result.metrics[0]["frozen_operations"] == len(frozen) / 4
    assert bool(frozen) == (threshold > 0.4)  # so that the test is of something


def test_it_matters_which_gradient_is_compared():
    one, other = (
        searched(replace(settings_of("oles"), observers=(OperationFreeze(0.9, 1, against=against),)))
        for against in ("validation", "sum")
    )
    assert one.metrics[0]["frozen_operations"] > other.metrics[0]["frozen_operations"]


def test_freezing_is_what_tells_it_from_darts():
    frozen = searched(replace(settings_of("oles"), observers=(OperationFreeze(0.97, 1),)))
    assert differs(final(frozen), final(searched(replace(settings_of("oles"), observers=()))), *OPERATIONS)


def test_every_second_step_alone_is_looked_at():
    # Of three steps the second: one cosine, so a mean of two is never complete.
    result = searched(replace(settings_of("oles"), observers=(OperationFreeze(1.0, 2, every=2),)))
    assert result.metrics[0]["frozen_operations"] == 0.0


def test_a_frozen_operation_stays_and_the_random_state_is_left_alone():
    settings = replace(settings_of("oles"), observers=(OperationFreeze(1.0, 1),))  # all after the first step
    before = torch.get_rng_state()
    result = searched(settings)
    assert torch.equal(torch.get_rng_state(), before)
    assert result.metrics[0]["frozen_operations"] == 1.0


@pytest.mark.parametrize("wrong", [{"threshold": 1.5}, {"count": 0}, {"every": 0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="must lie in"):
        OperationFreeze(**wrong)  # type: ignore[arg-type]


def test_another_gradient_than_the_two_is_refused():
    with pytest.raises(ValueError, match="against must be one of 'validation', 'sum'; got the text 'train'"):
        OperationFreeze(against="train")  # type: ignore[arg-type]
