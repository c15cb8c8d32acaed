"""Three search steps of DrNAS against its formulas.

Read: xiangning-chen/DrNAS, 201-space/train_search.py and search_model.py (`reg_type` l2: the decay of the alphas'
Adam).
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dnas import AlphaAdam, DirichletPrior, Softmax, WeightSGD
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


def drnas(*, kl: bool = False, clip: float = 5.0, over_alphas: bool = True) -> dict[str, Tensor]:
    """m ~ Dir(c), c = elu(alpha) + 1: dL/dc_k = G_k (g_k - sum_j m_j g_j) with g = dL/dm, then dc/dalpha.

    G is torch's implicit derivative -(dF/dc) / (dF/dm) / (1 - m) of the marginal distribution functions. With `kl` the
    loss of the alphas has 1e-3 sum over edges of KL(Dir(c) || Dir(1)), and their Adam no decay. The norm that is
    clipped is that of weights and alphas (`train`: model.parameters()).
    """
    w, a = initial_weights(), {"cell": initial_alphas()["cell"]}
    sgd, adam = SGD(0.025, clip=None), Adam(weight_decay=0.0 if kl else 1e-3)
    generator = torch.Generator().manual_seed(0)
    for train, val in zip(TRAIN, VAL, strict=True):
        m = leaf({"m": drawn(concentration(a["cell"]), generator)})
        found = by_alpha(a["cell"], m["m"].detach(), grad(loss(w, m["m"], val), m)["m"])
        if kl:
            leaves = leaf(a)
            found = found + grad(1e-3 * divergence(concentration(leaves["cell"])), leaves)["cell"]
        a = adam.step(a, {"cell": found})
        leaves, m = leaf(w), leaf({"m": drawn(concentration(a["cell"]), generator)})
        g = grad(loss(leaves, m["m"], train), leaves | m)
        by_m = g.pop("m")
        beside = [by_alpha(a["cell"], m["m"].detach(), by_m)] if over_alphas else []
        norm = torch.stack([(value**2).sum() for value in [*g.values(), *beside]]).sum().sqrt()
        w = sgd.step(w, {name: value * (clip / (norm + 1e-6)).clamp(max=1.0) for name, value in g.items()})
    return w | a


def by_alpha(alpha: Tensor, m: Tensor, g: Tensor) -> Tensor:
    """dL/dalpha of a draw m with g = dL/dm."""
    c = concentration(alpha)
    implicit = torch._dirichlet_grad(m, c, c.sum(-1, keepdim=True).expand(2, 3))  # type: ignore[attr-defined]
    by_c = implicit * (g - (m * g).sum(-1, keepdim=True))
    return by_c * torch.where(alpha > 0, torch.ones_like(alpha), alpha.exp())


def concentration(alpha: Tensor) -> Tensor:
    return torch.where(alpha > 0, alpha + 1, alpha.exp())


def drawn(c: Tensor, generator: torch.Generator) -> Tensor:
    """Gamma variables divided by their sum."""
    gamma = torch._standard_gamma(c, generator)  # type: ignore[attr-defined]
    return gamma / gamma.sum(-1, keepdim=True)


def divergence(c: Tensor) -> Tensor:
    posterior = torch.distributions.Dirichlet(c)
    return torch.distributions.kl_divergence(posterior, torch.distributions.Dirichlet(torch.ones_like(c))).sum()


@pytest.mark.parametrize("recipe", ["drnas", "default"])
def test_three_steps_of_drnas_and_of_the_default_recipe_are_its_formulas(recipe: str):
    assert_same(final(searched(settings_of(recipe))), drnas())


def test_three_steps_with_the_divergence_as_prior_are_its_formulas():
    settings = replace(settings_of("drnas"), penalties=(DirichletPrior(),), alphas=AlphaAdam(weight_decay=0.0))
    assert_same(final(searched(settings)), drnas(kl=True))


@pytest.mark.parametrize("recipe", ["drnas", "default"])
def test_they_differ_with_softmax(recipe: str):
    assert differs(final(searched(replace(settings_of(recipe), relaxation=Softmax()))), drnas(), "cell")


@pytest.mark.parametrize(("recipe", "over_alphas"), [("drnas", True), ("default", False)])
def test_the_clipped_norm_counts_the_alphas_in_drnas_alone(recipe: str, over_alphas: bool):
    settings = settings_of(recipe)
    found = final(searched(replace(settings, weights=WeightSGD(clip=0.5))))
    assert_same(found, drnas(clip=0.5, over_alphas=over_alphas))
    assert differs(found, drnas(clip=0.5, over_alphas=not over_alphas), "u")


def test_they_differ_without_the_prior():
    without = replace(settings_of("drnas"), alphas=AlphaAdam(weight_decay=0.0))
    assert differs(final(searched(without)), drnas(), "cell")
    assert differs(final(searched(without)), drnas(kl=True), "cell")
