"""Search steps of DARTS+ against its formulas (from the paper, criterion 1; no official code was found).

Both edges are taught to be skip connections, so that there are more and more of them in the argmax.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from dnas import Batch, SearchResult, SearchSettings, SkipStop, Supernet, search
from dnas.data.batches import Batches
from tests.support.method import (
    SGD,
    TRAIN,
    VAL,
    Adam,
    Net,
    assert_same,
    cosine,
    differs,
    final,
    grad,
    initial_weights,
    leaf,
    loss,
    settings_of,
)

EPOCHS = 6  # of one batch each, since skip connections are counted after an epoch
# Skip connections are the weakest by so much that after 2 epochs one edge has one and after 4 both, by steps of Adam of
# about 3e-4 up for them and down for the others.
ALPHAS = torch.tensor([[0.0, 0.9e-3, 0.9e-3], [0.0, 2.1e-3, 2.1e-3]], dtype=torch.float64)


def weights() -> dict[str, Tensor]:
    """Operations that do the opposite of what is taught."""
    return {name: weight if name == "u" else -weight for name, weight in initial_weights().items()}


def taught(batches: list[Batch]) -> list[Batch]:
    """The target is what two skip connections give."""
    return [Batch(batch.inputs, batch.inputs + batch.inputs * initial_weights()["u"]) for batch in batches]


class Turns(Batches):
    """One batch in each epoch, the next in the next."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = taught(batches)

    def __len__(self) -> int:
        return 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        yield from [self.batches[epoch % 3]][start:]


def darts_plus(most: int) -> tuple[dict[str, Tensor], int]:
    """DARTS, first order, until `most` edges have their largest alpha at the skip connection. Also the epochs."""
    w, a = weights(), {"cell": ALPHAS}
    sgd, adam = SGD(0.025), Adam()
    for epoch in range(EPOCHS):
        sgd.lr = cosine(0.025, 0.001, epoch / EPOCHS)
        train, val = (half[epoch % 3] for half in (taught(TRAIN), taught(VAL)))
        leaves = leaf(a)
        a = adam.step(a, grad(loss(w, leaves["cell"].softmax(-1), val), leaves))
        leaves = leaf(w)
        w = sgd.step(w, grad(loss(leaves, a["cell"].softmax(-1), train), leaves))
        if int((a["cell"].argmax(dim=-1) == 0).sum()) >= most:
            return w | a, epoch + 1
    return w | a, EPOCHS


def settings(observer: SkipStop | None = None) -> SearchSettings:
    """Those of the recipe, whose cell has the name of the problem's."""
    recipe = settings_of("darts_plus", epochs=EPOCHS)
    (of_recipe,) = recipe.observers
    assert isinstance(of_recipe, SkipStop)
    return replace(recipe, observers=(observer or replace(of_recipe, cell="cell"),))


def searched(settings: SearchSettings) -> SearchResult:
    supernet = Supernet(Net(weights()), nn.functional.mse_loss)
    with torch.no_grad():
        supernet.alphas["cell"].copy_(ALPHAS)
    return search(supernet, Turns(TRAIN), Turns(VAL), settings=settings)


def test_the_search_goes_as_darts_and_ends_with_the_second_skip_connection():
    expected, epochs = darts_plus(most=2)
    result = searched(settings())
    assert len(result.metrics) == epochs == 4
    assert_same(final(result), expected)
    assert [row["skip_share"] for row in result.metrics] == [0.0, 0.5, 0.5, 1.0]


def test_the_stop_and_its_number_are_what_tells_it_from_darts():
    expected, _ = darts_plus(most=2)
    alone, earlier = searched(replace(settings(), observers=())), searched(settings(SkipStop(most=1, cell="cell")))
    assert (len(alone.metrics), len(earlier.metrics)) == (EPOCHS, 2)
    assert differs(final(alone), expected, "cell")
    assert differs(final(earlier), expected, "cell")
    assert_same(final(earlier), darts_plus(most=1)[0])
