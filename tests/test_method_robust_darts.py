"""Three search steps of RobustDARTS against its formulas (read: automl/RobustDARTS, src/search/train_search.py,
architect.py and utils.py): those of DARTS, with another weight decay, or a weight decay that grows, or an early end.

One batch per epoch, so that the eigenvalue is looked at after every step. Drop-path is a part of the cell:
tests/test_space_edge_cell.py.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from method_support import (
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
    job_of_recipe,
    leaf,
    loss,
    new_supernet,
    searched,
    settings_of,
)
from torch import Tensor

from dnas import AdaptiveDecay, Batch, EigenvalueStop, Linear, SearchSettings, Sharpening, search
from dnas.data import Batches

# Looked at after every epoch, against the last one.
AT_ONCE = Sharpening(factor=1.0, delta=1, window=1, start=0, iterations=300)


def eigenvalue(w: dict[str, Tensor], alpha: Tensor, batch) -> float:
    def value(flat: Tensor) -> Tensor:
        return loss(w, flat.view(2, 3).softmax(-1), batch)

    hessian = torch.autograd.functional.hessian(value, alpha.flatten())
    return float(torch.linalg.eigvalsh(hessian)[-1])


def robust(rates: list[float], decay: float, multiplier: float, stop: bool) -> tuple[dict[str, Tensor], list[float]]:
    """DARTS, first order; where the eigenvalue exceeds the last one, the decay grows or the last alphas are kept."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(rates[0], weight_decay=decay), Adam()
    values: list[float] = []
    history, decays = [], []
    for epoch, rate in enumerate(rates):
        train, val = TRAIN[epoch % 3], VAL[epoch % 3]
        sgd.lr = rate
        leaves = leaf(a)
        a = adam.step(a, grad(loss(w, leaves["cell"].softmax(-1), val), leaves))
        leaves = leaf(w)
        w = sgd.step(w, grad(loss(leaves, a["cell"].softmax(-1), train), leaves))
        history.append(a["cell"])
        values.append(eigenvalue(w, a["cell"], val))
        # The growth begins one epoch ago; epoch 0 does not count.
        if len(values) > 1 and epoch >= 1 and values[-1] / values[-2] > 1.0:
            if stop:
                return w | {"cell": history[epoch - 1]}, decays
            sgd.weight_decay, values = min(sgd.weight_decay * multiplier, 0.0243), []
        decays.append(sgd.weight_decay)
    return w | a, decays


def one_batch_per_epoch(settings: SearchSettings) -> SearchSettings:
    return replace(settings, epochs=6)


def run(settings: SearchSettings):
    """Six epochs of one batch: data of an epoch are a function of its number."""
    return search(new_supernet(), Turns(TRAIN), Turns(VAL), settings=settings)


class Turns(Batches):
    """One batch in each epoch, the next in the next."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        yield from [self.batches[epoch % 3]][start:]


def rates(settings: SearchSettings) -> list[float]:
    return [settings.weights.lr_at(epoch / 6) for epoch in range(6)]


def test_adaptive_decay_grows_the_weights_decay_when_the_eigenvalue_grows():
    recipe = settings_of("robust_darts_ada")
    assert recipe.observers == (AdaptiveDecay(Sharpening(every=2), multiplier=3.0, largest=0.0243),)
    settings = one_batch_per_epoch(replace(recipe, observers=(AdaptiveDecay(AT_ONCE),)))
    expected, decays = robust(rates(settings), 3e-4, 3.0, stop=False)
    assert len(set(decays)) > 1  # so that the test is of something
    result = run(settings)
    assert_same(final(result), expected)
    assert [row["weight_decay"] for row in result.metrics] == pytest.approx(decays, rel=1e-12)
    assert differs(final(run(replace(settings, observers=()))), expected, "a0", "b1")


def test_the_early_stop_keeps_the_alphas_from_before_the_eigenvalue_grew():
    recipe = settings_of("robust_darts_es")
    assert recipe.observers == (EigenvalueStop(Sharpening(every=2)),)
    settings = one_batch_per_epoch(replace(recipe, observers=(EigenvalueStop(AT_ONCE),)))
    expected, decays = robust(rates(settings), 3e-4, 1.0, stop=True)
    result = run(settings)
    assert len(result.metrics) == len(decays) + 1 < 6
    assert_same(final(result), expected)
    assert differs(final(run(replace(settings, observers=()))), expected, "cell")


def test_the_l2_form_is_darts_with_more_weight_decay():
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025, weight_decay=8.1e-3), Adam()
    for train, val in zip(TRAIN, VAL, strict=True):
        leaves = leaf(a)
        a = adam.step(a, grad(loss(w, leaves["cell"].softmax(-1), val), leaves))
        leaves = leaf(w)
        w = sgd.step(w, grad(loss(leaves, a["cell"].softmax(-1), train), leaves))
    assert_same(final(searched(settings_of("robust_darts_l2"))), w | a)
    assert differs(final(searched(settings_of("darts_1st"))), w | a, "a0")


def test_the_drop_path_form_drops_more_and_more_paths_of_the_supernet():
    assert job_of_recipe("robust_darts_dp").space.drop_path == Linear(0.0, 0.2)  # type: ignore[attr-defined]
