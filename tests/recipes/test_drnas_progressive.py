"""Three search steps in each of two stages of progressive DrNAS against its formulas.

Read: xiangning-chen/DrNAS, 201-space/train_search_progressive.py, net2wider.py and utils.py. With K parts the
operations see the first 4 / K of the four numbers, the others go past them; from K = 2 to 1 the weights of two numbers
become those of four. Given as noise are the draws of the Dirichlet distribution and which weights are copied.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from dnas import Batch, Cell, Dirichlet, SearchResult, SearchSettings, Stage, Supernet, search_in_stages
from dnas.data.keyed_random import stream_key
from dnas.searching.handover import Widening
from tests.support.method import (
    EDGES,
    SGD,
    SIZE,
    TRAIN,
    VAL,
    Adam,
    Scale,
    Tanh,
    assert_same,
    differs,
    final,
    grad,
    initial_alphas,
    initial_weights,
    leaf,
    settings_of,
)

LR = (0.025, 0.013)  # cosine from 0.025 to 0.001: at the beginning, and half-way, since the stages share one
PARTS, KEPT = (2, 1), 2


class Net(nn.Module):
    """y = (sum over edges of the mixed first numbers, sum over edges of the others)."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.width, weights = SIZE // parts, initial_weights()
        own = {name: weight[: self.width].clone() for name, weight in weights.items()}
        self.u = nn.Parameter(weights["u"])
        candidates = [
            {"skip_connect": nn.Identity(), "scale": Scale(own[f"a{e}"]), "tanh": Tanh(own[f"b{e}"])} for e in range(2)
        ]
        self.cell = Cell("cell", EDGES, candidates, num_inputs=2, output=(2,))

    def forward(self, x: Tensor) -> Tensor:
        n, other = self.width, x * self.u
        return torch.cat([self.cell(x[:, :n], other[:, :n]), x[:, n:] + other[:, n:]], dim=1)


def build(stage: Stage) -> Supernet:
    assert stage.partial_channels is not None
    supernet = Supernet(Net(stage.partial_channels), nn.functional.mse_loss)
    with torch.no_grad():
        supernet.alphas["cell"].copy_(initial_alphas()["cell"])
    return supernet


def settings() -> SearchSettings:
    """Those of the recipe with stages of an epoch, without warm-up, and numbers that suit the problem."""
    recipe = settings_of("drnas_progressive", epochs=2)
    first, second = (
        replace(stage, warmup_epochs=0, partial_channels=parts)
        for stage, parts in zip(recipe.stages, PARTS, strict=True)
    )
    return replace(recipe, stages=(first, replace(second, num_candidates=KEPT)))


def searched(settings: SearchSettings) -> SearchResult:
    return search_in_stages(build, TRAIN, VAL, settings=settings)


def loss(w: dict[str, Tensor], m: Tensor, batch: Batch) -> Tensor:
    n = len(w["a0"])
    x = [batch.inputs, batch.inputs * w["u"]]
    mixed = torch.zeros_like(batch.inputs[:, :n])
    for e in range(2):
        s = x[e][:, :n]
        mixed = mixed + m[e, 0] * s + m[e, 1] * w[f"a{e}"] * s + m[e, 2] * torch.tanh(w[f"b{e}"] * s)
    y = torch.cat([mixed, x[0][:, n:] + x[1][:, n:]], dim=1)
    return ((y - batch.targets) ** 2).mean()


def draw(alpha: Tensor, left: Tensor, generator: torch.Generator) -> Tensor:
    """The noise: m ~ Dir(elu(alpha) + 1) over the candidates that are left."""
    masked = alpha.masked_fill(~left, -torch.inf)
    return Dirichlet().sample(masked, torch.tensor(0.0), generator).values.detach()


def pathwise(alpha: Tensor, m: Tensor, left: Tensor, d_m: Tensor) -> Tensor:
    """dL / d alpha_k = c'_k sum over j of dL / dm_j dm_j / dc_k,  dm_j / dc_k = g_k (delta_jk - m_j),  c = elu + 1."""
    found = torch.zeros_like(alpha)
    for e in range(2):
        k = left[e].nonzero().flatten()
        c = torch.where(alpha[e, k] > 0, alpha[e, k] + 1, alpha[e, k].exp())
        slope = torch.where(alpha[e, k] > 0, torch.ones_like(c), alpha[e, k].exp())
        g = torch._dirichlet_grad(m[e, k], c, c.sum().expand_as(c))  # type: ignore[attr-defined]
        jacobian = g * (torch.eye(len(k), dtype=c.dtype) - m[e, k].unsqueeze(1))  # [j, k]
        found[e, k] = slope * (d_m[e, k] @ jacobian)
    return found


def drnas() -> tuple[dict[str, Tensor], Tensor]:
    """Weights, alphas and both optimizers go on: pruned by alpha, widened by copies, momentum like its weight."""
    w = {name: weight if name == "u" else weight[: SIZE // 2] for name, weight in initial_weights().items()}
    a, left = {"cell": initial_alphas()["cell"]}, torch.ones(2, 3, dtype=torch.bool)
    sgd, adam, generator = SGD(LR[0]), Adam(), torch.Generator().manual_seed(0)
    for stage, lr in enumerate(LR):
        sgd.lr = lr
        if stage == 1:
            left = a["cell"] > a["cell"].min(dim=-1, keepdim=True).values
            a = {"cell": a["cell"] * left}
            copied = torch.tensor([0, 1, *Widening(stream_key(0, 1)).index(2, 4).tolist()])
            w = {name: weight if name == "u" else weight[copied] for name, weight in w.items()}
            sgd.buffers = {name: value if name == "u" else value[copied] for name, value in sgd.buffers.items()}
        for train, val in zip(TRAIN, VAL, strict=True):
            leaves = leaf({"m": draw(a["cell"], left, generator)})
            d_m = grad(loss(w, leaves["m"], val), leaves)["m"]
            a = adam.step(a, {"cell": pathwise(a["cell"], leaves["m"].detach(), left, d_m)})
            m, leaves = draw(a["cell"], left, generator), leaf(w)
            w = sgd.step(w, grad(loss(leaves, m, train), leaves))
    return w | a, left


def test_three_steps_in_each_stage_are_those_of_progressive_drnas():
    expected, left = drnas()
    result = searched(settings())
    assert_same(final(result), expected)
    assert result.supernet.allowed["cell"] == tuple(tuple(row.nonzero().flatten().tolist()) for row in left)


def test_the_recipe_keeps_three_operations_on_half_of_the_channels_after_fifty_epochs():
    first, second = settings_of("drnas_progressive", epochs=100).stages
    assert (first.epochs, first.warmup_epochs, first.partial_channels, first.num_candidates) == (50, 10, 4, None)
    assert (second.epochs, second.warmup_epochs, second.partial_channels, second.num_candidates) == (50, 10, 2, 3)
    assert second.carry


def test_pruning_carrying_and_widening_are_what_tells_it_from_drnas():
    expected, _ = drnas()
    first, second = settings().stages
    for change in ({"num_candidates": None}, {"carry": False}):
        changed = replace(second, **change)
        assert differs(final(searched(replace(settings(), stages=(first, changed)))), expected, "cell"), change
    narrow = final(searched(replace(settings(), stages=(first, replace(second, partial_channels=2)))))
    assert narrow["a0"].shape != expected["a0"].shape
    assert differs(narrow, expected, "u")


def test_the_dirichlet_relaxation_is_what_tells_it_from_progressive_darts():
    from dnas import Softmax

    assert differs(final(searched(replace(settings(), relaxation=Softmax()))), drnas()[0], "cell")
