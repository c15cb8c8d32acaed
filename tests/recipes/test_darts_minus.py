"""Three search steps of DARTS- against its formulas.

Read: Meituan-AutoML/DARTS-, src/search/model_search.py, args.py and scripts/run_darts_minus.sh. There the weight of the
auxiliary skip changes once per epoch, here with the steps.
"""

from dataclasses import replace

import pytest
from torch import Tensor

from dnas import Constant, DartsSpace, Schedule, search
from tests.support.method import (
    IN_MODEL,
    SGD,
    Adam,
    assert_same,
    differs,
    final,
    grad,
    initial_alphas,
    job_of_recipe,
    leaf,
    progress,
    settings_of,
)
from tests.support.method_images import IMAGE_TRAIN, IMAGE_VAL, image_loss, image_supernet, image_weights


def darts_minus() -> dict[str, Tensor]:
    """Each edge gives sum_k p_k o_k(x) + beta x with beta = 1 - t, in both steps."""
    w, a = image_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025), Adam()
    for step, (train, val) in enumerate(zip(IMAGE_TRAIN, IMAGE_VAL, strict=True)):
        beta = 1 - progress(step)
        alpha = leaf(a)
        a = adam.step(a, grad(image_loss(w, alpha["cell"].softmax(-1), val, beta=beta), alpha))
        leaves = leaf(w)
        w = sgd.step(w, grad(image_loss(leaves, a["cell"].softmax(-1), train, beta=beta), leaves))
    return w | a


def space() -> DartsSpace:
    found = job_of_recipe("darts_minus").space
    assert isinstance(found, DartsSpace)
    return found


def searched(space: DartsSpace) -> dict[str, Tensor]:
    settings = settings_of("darts_minus")
    return final(search(image_supernet(space), IMAGE_TRAIN, IMAGE_VAL, settings=settings))


def test_three_steps_of_darts_minus_are_its_formulas():
    assert set(darts_minus()) == {*IN_MODEL, "cell"}
    assert_same(searched(space()), darts_minus())


@pytest.mark.parametrize("beta", [None, Constant(1.0)])
def test_they_differ_without_the_auxiliary_skip_and_with_one_that_stays(beta: Schedule | None):
    assert differs(searched(replace(space(), auxiliary_skip=beta)), darts_minus(), "cell")
