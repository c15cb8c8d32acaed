"""Six search steps of PC-DARTS, three of them before the alphas move, against its formulas.

Read: yuhuixu1993/PC-DARTS, train_search.py and model_search.py. Of 50 epochs the alphas rest for 15 there; of two
epochs, which three batches each are, for the first.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dnas import (
    BetaDecay,
    DartsSpace,
    Dirichlet,
    Linear,
    SearchResult,
    SearchSettings,
    search,
)
from dnas.searching.stage import scaled_warmup
from tests.support.method import (
    SGD,
    Adam,
    assert_same,
    cosine,
    differs,
    grad,
    initial_alphas,
    job_of_recipe,
    leaf,
    settings_of,
)
from tests.support.method_images import IMAGE_TRAIN, IMAGE_VAL, image_loss, image_supernet, image_weights

IN_MODEL = {
    "u": "u",
    "a0": "cell.operations.0.1.a",
    "b0": "cell.operations.0.2.b",
    "a1": "cell.operations.1.1.a",
    "b1": "cell.operations.1.2.b",
}


def pc_darts(epochs: int = 2, warmup: int = 1) -> dict[str, Tensor]:
    """Alphas and betas by first order, m = softmax(alpha) of each edge and softmax(beta) over the edges of the node."""
    w, a = image_weights(parts=4), initial_alphas()
    sgd, adam = SGD(0.1), Adam(6e-4)
    for step in range(3 * epochs):
        train, val = IMAGE_TRAIN[step % 3], IMAGE_VAL[step % 3]
        sgd.lr = cosine(0.1, 0.0, (step // 3) / epochs)
        if step >= 3 * warmup:
            leaves = leaf(a)
            a = adam.step(a, grad(mixed_loss(w, leaves, val), leaves))
        leaves = leaf(w)
        w = sgd.step(w, grad(mixed_loss(leaves, a, train), leaves))
    return w | a


def mixed_loss(w: dict[str, Tensor], a: dict[str, Tensor], batch) -> Tensor:
    return image_loss(w, a["cell"].softmax(-1), batch, parts=4, edges=a["cell.edges"].softmax(-1))


def settings(epochs: int = 2) -> SearchSettings:
    """The recipe's settings; of its warm-up so much as it is of the search."""
    own = job_of_recipe("pc_darts").search
    return replace(
        own, epochs=epochs, warmup_epochs=scaled_warmup(own.warmup_epochs, own.epochs, epochs), validate_every=0
    )


def space() -> DartsSpace:
    found = job_of_recipe("pc_darts").space
    assert isinstance(found, DartsSpace)
    return found


def final(result: SearchResult) -> dict[str, Tensor]:
    weights = dict(result.supernet.model.named_parameters())
    found = {name: weights[place].detach() for name, place in IN_MODEL.items() if place in weights}
    return found | {name: alpha.detach() for name, alpha in result.supernet.alphas.items()}


def searched(settings: SearchSettings, space: DartsSpace) -> dict[str, Tensor]:
    return final(search(image_supernet(space), IMAGE_TRAIN, IMAGE_VAL, settings=settings))


def test_six_steps_of_pc_darts_are_its_formulas():
    assert_same(searched(settings(), space()), pc_darts())


def test_three_steps_without_a_warm_up_are_its_formulas():
    assert_same(searched(settings_of("pc_darts"), space()), pc_darts(epochs=1, warmup=0))


@pytest.mark.parametrize("change", [{"edge_weights": False}, {"partial_channels": 2}, {"partial_channels": 1}])
def test_they_differ_without_weights_of_edges_and_with_other_channels(change: dict[str, Any]):
    found = searched(settings(), replace(space(), **change))
    assert found["a0"].shape != pc_darts()["a0"].shape or differs(found, pc_darts(), "cell", "u", "a0")
    assert differs(found, pc_darts(), "u")


def test_they_differ_where_the_alphas_do_not_rest():
    assert differs(searched(replace(settings(), warmup_epochs=0), space()), pc_darts(), "cell")


def test_a_combination_that_no_paper_tried_is_its_formulas():
    """PC-DARTS with Dirichlet samples and a beta decay: the same loop with the parts of DrNAS and beta-DARTS in it."""
    changed = replace(
        settings_of("pc_darts"), relaxation=Dirichlet(), penalties=(BetaDecay(Linear(0.0, 25.0)),), weight_steps=1
    )
    w, a = image_weights(parts=4), initial_alphas()
    sgd, adam = SGD(0.1), Adam(6e-4)
    generator = torch.Generator().manual_seed(0)
    for step, (train, val) in enumerate(zip(IMAGE_TRAIN, IMAGE_VAL, strict=True)):
        leaves = leaf(a)
        c = concentration(leaves["cell"])
        m = leaf({"m": drawn(c.detach(), generator)})
        edges = leaves["cell.edges"].softmax(-1)
        by_m = grad(image_loss(w, m["m"], val, parts=4, edges=edges.detach()), m)["m"]
        values = m["m"].detach()
        implicit = torch._dirichlet_grad(values, c.detach(), c.detach().sum(-1, keepdim=True).expand(2, 3))  # type: ignore[attr-defined]
        by_c = implicit * (by_m - (values * by_m).sum(-1, keepdim=True))
        decay = 25 * torch.tensor(step / 3) * leaves["cell"].logsumexp(-1).mean()
        outer = (by_c * c).sum() + decay + image_loss(w, values, val, parts=4, edges=edges)
        a = adam.step(a, grad(outer, leaves))
        leaves = leaf(w)
        values = drawn(concentration(a["cell"]), generator)
        w = sgd.step(w, grad(image_loss(leaves, values, train, parts=4, edges=a["cell.edges"].softmax(-1)), leaves))
    assert_same(searched(changed, space()), w | a)


def concentration(alpha: Tensor) -> Tensor:
    return torch.where(alpha > 0, alpha + 1, alpha.exp())


def drawn(c: Tensor, generator: torch.Generator) -> Tensor:
    gamma = torch._standard_gamma(c, generator)  # type: ignore[attr-defined]
    return gamma / gamma.sum(-1, keepdim=True)
