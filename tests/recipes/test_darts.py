"""Three search steps of DARTS against its formulas (read: quark0/darts, cnn/architect.py and train_search.py)."""

from dataclasses import replace

import torch
from torch import Tensor

from dnas import FirstOrder
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
    job_of_recipe,
    leaf,
    loss,
    searched,
    settings_of,
)

LR = 0.025  # cosine, at the first of one epoch


def darts(second_order: bool) -> dict[str, Tensor]:
    """Algorithm 1 with eq. 7 and 8: alphas on the validation loss at w', then weights on the training loss."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(LR), Adam()
    for train, val in zip(TRAIN, VAL, strict=True):
        a = adam.step(a, unrolled(w, a["cell"], sgd, train, val) if second_order else first_order(w, a["cell"], val))
        leaves = leaf(w)
        w = sgd.step(w, grad(loss(leaves, a["cell"].softmax(-1), train), leaves))
    return w | a


def first_order(w: dict[str, Tensor], alpha: Tensor, val) -> dict[str, Tensor]:
    leaves = leaf({"cell": alpha})
    return grad(loss(w, leaves["cell"].softmax(-1), val), leaves)


def unrolled(w: dict[str, Tensor], alpha: Tensor, sgd: SGD, train, val) -> dict[str, Tensor]:
    """d_a L_val(w', a) - lr (d_a L_train(w+, a) - d_a L_train(w-, a)) / (2 eps), the virtual step without clipping."""
    leaves, a = leaf(w), leaf({"cell": alpha})
    g = grad(loss(leaves, alpha.softmax(-1), train), leaves)
    moment = {name: sgd.momentum * sgd.buffers.get(name, torch.zeros_like(weight)) for name, weight in w.items()}
    ahead = leaf({n: w[n] - LR * (moment[n] + g[n] + sgd.weight_decay * w[n]) for n in w})
    value = loss(ahead, a["cell"].softmax(-1), val)
    v = grad(loss(ahead, alpha.softmax(-1), val), ahead)
    direct = grad(value, a)["cell"]
    eps = 0.01 / torch.stack([(x**2).sum() for x in v.values()]).sum().sqrt()
    sides = []
    for sign in (1, -1):
        near = {n: w[n] + sign * eps * v[n] for n in w}
        a = leaf({"cell": alpha})
        sides.append(grad(loss(near, a["cell"].softmax(-1), train), a)["cell"])
    return {"cell": direct - LR * (sides[0] - sides[1]) / (2 * eps)}


def test_three_steps_of_darts_1st_are_algorithm_1_with_the_gradient_at_the_present_weights():
    assert_same(final(searched(settings_of("darts_1st"))), darts(second_order=False))


def test_three_steps_of_darts_2nd_are_algorithm_1_with_equations_7_and_8():
    assert_same(final(searched(settings_of("darts_2nd"))), darts(second_order=True))


def test_the_unrolled_gradient_is_what_tells_them_apart():
    settings = replace(settings_of("darts_2nd"), hypergradient=FirstOrder())
    assert differs(final(searched(settings)), darts(second_order=True), "cell")


def warmed_up(alpha_lr: float) -> dict[str, Tensor]:
    """An epoch in which only the weights move, and one of first order; the weights' rate falls along a cosine."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(LR), Adam(lr=alpha_lr)
    for epoch in range(2):
        sgd.lr = cosine(0.025, 0.001, epoch / 2)
        for train, val in zip(TRAIN, VAL, strict=True):
            if epoch == 1:
                a = adam.step(a, first_order(w, a["cell"], val))
            leaves = leaf(w)
            w = sgd.step(w, grad(loss(leaves, a["cell"].softmax(-1), train), leaves))
    return w | a


def test_three_steps_of_digits_are_darts_after_a_warm_up_with_faster_alphas():
    recipe = job_of_recipe("digits").search
    assert (recipe.warmup_epochs, recipe.epochs) == (5, 20)
    short = replace(recipe, epochs=2, warmup_epochs=1, validate_every=0)
    assert_same(final(searched(short)), warmed_up(1e-2))
    assert differs(final(searched(replace(short, warmup_epochs=0))), warmed_up(1e-2), "cell")
    assert differs(final(searched(short)), warmed_up(3e-4), "cell")
