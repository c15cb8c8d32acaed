"""Nine search steps of iDARTS, three of them with a step of the alphas, against its formulas.

Read: MiaoZhang0525/iDARTS, NAS_Bench201_codes/exps/algos/iDARTS_V2.ipynb. There the series has the learning rate of the
moment, its Hessian no weight decay, and the mixed product is a finite difference.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dnas import Batch, FirstOrder, Hypergradient, Neumann, OneStep
from tests.support.method import (
    SGD,
    TRAIN,
    VAL,
    Adam,
    assert_same,
    cosine,
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

EPOCHS, RATE, DECAY = 3, 0.01, 5e-4


def idarts() -> dict[str, Tensor]:
    """Four weight steps, of which the first comes after a step of the alphas."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(RATE, weight_decay=DECAY, nesterov=True), Adam()
    for step in range(3 * EPOCHS):
        train = TRAIN[step % 3]
        sgd.lr = cosine(RATE, 0.001, (step // 3) / EPOCHS)
        if step % 4 == 0:
            a = adam.step(a, {"cell": implicit(w, a["cell"], train, VAL[step // 4])})
        leaves = leaf(w)
        w = sgd.step(w, grad(loss(leaves, a["cell"].softmax(-1), train), leaves))
    return w | a


def implicit(w: dict[str, Tensor], alpha: Tensor, train: Batch, val: Batch) -> Tensor:
    """d_a L_val - rate (d_a d_w L_train)^T sum over k = 0, 1, 2 of (I - rate H)^k d_w L_val, all as whole matrices."""
    shapes = {name: weight.numel() for name, weight in w.items()}

    def of_flat(flat: Tensor) -> dict[str, Tensor]:
        return dict(zip(shapes, flat.split(list(shapes.values())), strict=True))

    def train_loss(flat: Tensor, alpha: Tensor) -> Tensor:
        return loss(of_flat(flat), alpha.softmax(-1).reshape(2, 3), train)

    flat = torch.cat(list(w.values()))
    leaves = leaf({"w": flat, "a": alpha})
    by = grad(loss(of_flat(leaves["w"]), leaves["a"].softmax(-1), val), leaves)
    (hessian, mixed), _ = torch.autograd.functional.hessian(train_loss, (flat, alpha))  # type: ignore[misc]
    contraction = torch.eye(len(flat), dtype=torch.float64) - RATE * (hessian + DECAY * torch.eye(len(flat)))
    series = by["w"] + contraction @ by["w"] + contraction @ contraction @ by["w"]
    return by["a"] - RATE * torch.einsum("wek,w->ek", mixed, series)


def test_nine_steps_of_idarts_are_its_formulas():
    assert_same(final(searched(settings_of("idarts", EPOCHS))), idarts())


@pytest.mark.parametrize("other", [FirstOrder(), OneStep(), Neumann(terms=1, rate=0.01), Neumann(terms=3, rate=0.02)])
def test_they_differ_with_another_hypergradient(other: Hypergradient):
    found = final(searched(replace(settings_of("idarts", EPOCHS), hypergradient=other)))
    assert differs(found, idarts(), "cell")


def test_they_differ_with_a_step_of_the_alphas_before_every_weight_step():
    assert differs(final(searched(replace(settings_of("idarts", EPOCHS), weight_steps=1))), idarts(), "cell")
