"""Three search steps of RobustDARTS-DP against its formulas, with the drawn numbers given.

Read: automl/RobustDARTS, src/search/model_search.py, train_search.py and src/utils.py (`drop_path`). There the rate
changes once per epoch and reaches its end in the last one, here with the steps.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dnas import Constant, DartsSpace, Schedule, search
from tests.support.method import (
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

# Of each edge for each image, in (0, 1): an edge stays where it is below 1 - rate. At the rates of three steps, 0, 1/15
# and 2/15, no edge is left out, then one, then three.
U = torch.tensor([[0.5, 0.9, 0.1, 0.8, 0.99], [0.91, 0.2, 0.3, 0.6, 0.4]]).reshape(2, 5, 1, 1, 1)


@pytest.fixture(autouse=True)
def _given_noise(monkeypatch: pytest.MonkeyPatch):
    def given(*shape: int, device: torch.device | None = None) -> Tensor:
        assert shape == U.shape
        return U

    monkeypatch.setattr(torch, "rand", given)


def drop_path() -> dict[str, Tensor]:
    """Each edge of each image is left out where u >= 1 - r, and divided by 1 - r where it stays; r = 0.2 t."""
    w, a = image_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025), Adam()
    for step, (train, val) in enumerate(zip(IMAGE_TRAIN, IMAGE_VAL, strict=True)):
        keep = 1 - 0.2 * progress(step)
        paths = (keep.gt(U) / keep).double()
        leaves = leaf(a)
        a = adam.step(a, grad(image_loss(w, leaves["cell"].softmax(-1), val, paths=paths), leaves))
        leaves = leaf(w)
        w = sgd.step(w, grad(image_loss(leaves, a["cell"].softmax(-1), train, paths=paths), leaves))
    return w | a


def space() -> DartsSpace:
    found = job_of_recipe("robust_darts_dp").space
    assert isinstance(found, DartsSpace)
    return found


def searched(space: DartsSpace) -> dict[str, Tensor]:
    settings = settings_of("robust_darts_dp")
    return final(search(image_supernet(space), IMAGE_TRAIN, IMAGE_VAL, settings=settings))


def test_the_given_numbers_leave_out_more_and_more_edges():
    left_out = [int((1 - 0.2 * progress(step) <= U).sum()) for step in range(3)]
    assert left_out == [0, 1, 3]


def test_three_steps_with_growing_drop_path_are_its_formulas():
    assert_same(searched(space()), drop_path())


@pytest.mark.parametrize("rate", [None, Constant(0.2)])
def test_they_differ_without_drop_path_and_with_one_that_stays(rate: Schedule | None):
    found = searched(replace(space(), drop_path=rate))
    assert differs(found, drop_path(), "cell")
    assert differs(found, drop_path(), "u")
