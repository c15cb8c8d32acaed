"""Three search steps of RobustDARTS against its formulas (read: automl/RobustDARTS, src/search/train_search.py,
architect.py and utils.py): those of DARTS, with another weight decay, or an early end, or going back to train on with
more weight decay.

One batch per epoch, so that the eigenvalue is looked at after every step. Drop-path is a part of the cell:
tests/test_space_edge_cell.py.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from dnas import (
    AdaptiveDecay,
    Batch,
    EigenvalueStop,
    EpochReport,
    Linear,
    Observer,
    SearchSettings,
    Sharpening,
    search,
)
from dnas.data import Batches
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
    job_of_recipe,
    leaf,
    loss,
    new_supernet,
    searched,
    settings_of,
)

# Looked at after every epoch, against the last one.
AT_ONCE = Sharpening(factor=1.0, delta=1, window=1, start=0, iterations=300)


def eigenvalue(w: dict[str, Tensor], alpha: Tensor, batch) -> float:
    def value(flat: Tensor) -> Tensor:
        return loss(w, flat.view(2, 3).softmax(-1), batch)

    hessian = torch.autograd.functional.hessian(value, alpha.flatten())
    return float(torch.linalg.eigvalsh(hessian)[-1])


def darts_step(w, a, sgd: SGD, adam: Adam, epoch: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A search step of DARTS, first order, on the batches of an epoch."""
    leaves = leaf(a)
    a = adam.step(a, grad(loss(w, leaves["cell"].softmax(-1), VAL[epoch % 3]), leaves))
    leaves = leaf(w)
    return sgd.step(w, grad(loss(leaves, a["cell"].softmax(-1), TRAIN[epoch % 3]), leaves)), a


def stopped_early(rates: list[float], decay: float) -> tuple[dict[str, Tensor], int]:
    """DARTS; where the eigenvalue exceeds the last one, the last alphas are kept. Also the number of epochs."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(rates[0], weight_decay=decay), Adam()
    values: list[float] = []
    history = []
    for epoch, sgd.lr in enumerate(rates):
        w, a = darts_step(w, a, sgd, adam, epoch)
        history.append(a["cell"])
        values.append(eigenvalue(w, a["cell"], VAL[epoch % 3]))
        # The growth begins one epoch ago; epoch 0 does not count.
        if len(values) > 1 and epoch >= 1 and values[-1] / values[-2] > 1.0:
            return w | {"cell": history[epoch - 1]}, epoch + 1
    return w | a, len(rates)


def adapted(rates: list[float], decay: float, multiplier: float, largest: float, extra: int = 0):
    """DARTS; where the eigenvalue exceeds that of two epochs ago, all but the weight decay is as it was then, or
    `extra` epochs before, and the decay is larger. Also the epochs in the order of their training, and their decays."""
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(rates[0], weight_decay=decay), Adam()
    values: list[float] = []
    after, trained, decays = {}, [], []
    epoch = 0
    while epoch < len(rates):
        sgd.lr = rates[epoch]
        w, a = darts_step(w, a, sgd, adam, epoch)
        values = [*values, eigenvalue(w, a["cell"], VAL[epoch % 3])]
        epoch += 1
        trained.append(epoch)
        decays.append(sgd.weight_decay)
        began = epoch - 2
        grown = began > extra and values[-1] / values[-3] > 1.0
        if grown and epoch < len(rates) and sgd.weight_decay < largest:
            more = min(sgd.weight_decay * multiplier, largest)
            epoch = began - extra
            w, a, sgd, adam, values = deepcopy(after[epoch])
            sgd.weight_decay = more
        else:
            after[epoch] = deepcopy((w, a, sgd, adam, values))
    return w | a, trained, decays


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


@pytest.mark.parametrize(("extra", "largest"), [(0, 0.0243), (1, 0.0243), (0, 0.002)])
def test_where_the_eigenvalue_grows_adaptive_decay_goes_back_to_before_and_on_with_more(extra: int, largest: float):
    recipe = settings_of("robust_darts_ada")
    assert recipe.observers == (AdaptiveDecay(Sharpening(every=2), multiplier=3.0, largest=0.0243),)
    observer = AdaptiveDecay(replace(AT_ONCE, delta=2, start=extra), largest=largest, extra=extra)
    settings = one_batch_per_epoch(replace(recipe, observers=(observer,)))
    expected, trained, decays = adapted(rates(settings), 3e-4, 3.0, largest, extra)
    assert len(set(decays)) > 2  # so that the test is of something: it went back more than once
    result = run(settings)
    assert_same(final(result), expected)
    assert [row["epoch"] for row in result.metrics] == trained
    assert [row["weight_decay"] for row in result.metrics] == pytest.approx(decays, rel=1e-12)
    assert differs(final(run(replace(settings, observers=()))), expected, "a0", "b1")
    # With the same decays, but without going back, something else is found.
    assert differs(final(run(replace(settings, observers=(OnlyDecays(observer),)))), expected, "cell")


@dataclass(frozen=True)
class OnlyDecays(Observer):
    """More weight decay where another observer asks for it, and the search goes on from where it is."""

    inner: Observer

    def epoch_ended(self, report: EpochReport) -> None:
        self.inner.epoch_ended(report)


def test_the_early_stop_keeps_the_alphas_from_before_the_eigenvalue_grew():
    recipe = settings_of("robust_darts_es")
    assert recipe.observers == (EigenvalueStop(Sharpening(every=2)),)
    settings = one_batch_per_epoch(replace(recipe, observers=(EigenvalueStop(AT_ONCE),)))
    expected, epochs = stopped_early(rates(settings), 3e-4)
    result = run(settings)
    assert len(result.metrics) == epochs < 6
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
