"""Three search steps of single-path one-shot and of random search with weight sharing, and their selection.

Read: megvii-model/SinglePathOneShot, src/Supernet/train.py and src/Search/search.py; liamcli/randomNAS_release,
searchers/random_weight_share.py; D-X-Y/AutoDL-Projects, exps/NAS-Bench-201-algos/RANDOM-NAS.py. The space of this
problem has nine architectures, fewer than either recipe evaluates, so both must find the best of all.
"""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from dnas import Argmax, Batch, GumbelSoftmax, RandomSampling, Relaxation, Softmax
from dnas.data.iterable_batches import IterableBatches
from dnas.searching.judging import in_turns
from tests.support.method import (
    CANDIDATES,
    SGD,
    assert_same,
    differs,
    final,
    grad,
    gumbel,
    initial_alphas,
    initial_weights,
    leaf,
    one_hot_of,
    settings_of,
)
from tests.support.method_classes import CLASS_TRAIN, CLASS_VAL, accuracy, class_loss, class_search, kept

RECIPES = ("one_shot", "random_sharing")


def single_paths() -> dict[str, Tensor]:
    """One operation of each edge, uniformly; the weights of the others get no gradient, but decay and momentum."""
    w = initial_weights()
    sgd = SGD(0.025, weight_decay=5e-4, nesterov=True)
    generator = torch.Generator().manual_seed(0)
    for batch in CLASS_TRAIN:
        path = one_hot_of(gumbel(generator))
        leaves = leaf(w)
        w = sgd.step(w, grad(class_loss(leaves, path, batch), leaves))
    return w | {"cell": initial_alphas()["cell"]}


def most_accurate(w: dict[str, Tensor]) -> tuple[str, ...]:
    """The best of all nine pairs of operations, the first of several."""
    accuracies = {}
    for pair in product(range(3), range(3)):
        path = torch.zeros(2, 3, dtype=torch.float64)
        path[0, pair[0]] = path[1, pair[1]] = 1.0
        accuracies[pair] = accuracy(w, path)
    best = max(accuracies, key=lambda pair: accuracies[pair])
    assert best != (0, 0)  # what a selection finds that does not look
    return tuple(CANDIDATES[k] for k in best)


@pytest.mark.parametrize("name", RECIPES)
def test_three_steps_and_the_selection_are_its_formulas(name: str):
    result = class_search(settings_of(name))
    assert_same(final(result), single_paths())
    assert kept(result) == most_accurate(single_paths())


def test_architectures_take_turns_on_parts_of_the_validation_half():
    # RANDOM-NAS.py, `search_find_best`: the next batch for each; a pass that is over begins again.
    five = [Batch(torch.full((2, 1), float(index)), torch.zeros(2)) for index in range(5)]
    turns = in_turns(IterableBatches(five), 4)
    seen = [[int(batch.inputs[0, 0]) for batch in next(turns)] for _ in range(4)]
    assert seen == [[0, 1], [2, 3], [4], [0, 1]]


def test_each_architecture_is_judged_on_its_own_batch():
    settings = settings_of("random_sharing")
    assert isinstance(settings.discretization, RandomSampling)
    discretization = replace(settings.discretization, images_each=1)
    judged = {}
    w = single_paths()
    for index, pair in enumerate(product(range(3), range(3))):
        path = torch.zeros(2, 3, dtype=torch.float64)
        path[0, pair[0]] = path[1, pair[1]] = 1.0
        judged[pair] = accuracy(w, path, [CLASS_VAL[index % 3]])
    best = max(judged, key=lambda pair: judged[pair])
    result = class_search(replace(settings, discretization=discretization))
    assert kept(result) == tuple(CANDIDATES[k] for k in best)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("other", [Softmax(), GumbelSoftmax()])
def test_they_differ_with_relaxations_that_learn(name: str, other: Relaxation):
    found = final(class_search(replace(settings_of(name), relaxation=other)))
    assert differs(found, single_paths(), "cell")
    assert differs(found, single_paths(), "u")


@pytest.mark.parametrize("name", RECIPES)
def test_the_mixture_says_nothing_of_what_to_keep(name: str):
    with pytest.raises(ValueError, match="Argmax reads the mixture, but UniformPath trains no alphas"):
        replace(settings_of(name), discretization=Argmax())
