"""Three search steps in each of three stages of P-DARTS against its formulas.

Read: chenxin061/pdarts, train_search.py and model_search.py. The skip connections have a dropout whose noise is given:
u is fixed, and an element stays where u < 1 - rate.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from dnas import (
    Batch,
    Cell,
    CellArchitecture,
    Exponential,
    LimitedSkips,
    SearchResult,
    SearchSettings,
    Stage,
    Supernet,
    search_in_stages,
)
from dnas.core.progress import Scheduled
from tests.support.method import (
    CANDIDATES,
    EDGES,
    IN_MODEL,
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

LR = 0.025  # the cosine begins anew in each stage, which is one epoch here
KEPT = (3, 2, 1)  # candidates on each edge
RATES = (None, (0.4, 0.0027), (0.7, 0.0047))  # of the dropout, at the beginning and the end of a stage
U = torch.rand(5, SIZE, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


class GivenDropout(nn.Module):
    def __init__(self, rate: Scheduled) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        keep = 1 - self.rate()
        return x * keep.gt(U) / keep if self.training else x


class Net(nn.Module):
    """The problem of `method_support` with dropout after the skip connections."""

    def __init__(self, rate: Scheduled | None) -> None:
        super().__init__()
        weights = initial_weights()
        skip = nn.Identity() if rate is None else GivenDropout(rate)
        self.u = nn.Parameter(weights["u"])
        candidates = [
            {"skip_connect": skip, "scale": Scale(weights[f"a{e}"]), "tanh": Tanh(weights[f"b{e}"])} for e in range(2)
        ]
        self.cell = Cell("cell", EDGES, candidates, num_inputs=2, output=(2,))

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x, x * self.u)


def build(stage: Stage, more_skips: float = 0.0) -> Supernet:
    rate = None if stage.skip_dropout is None else Scheduled(stage.skip_dropout)
    supernet = Supernet(Net(rate), nn.functional.mse_loss)
    with torch.no_grad():
        supernet.alphas["cell"].copy_(alphas(more_skips)["cell"])
    return supernet


def alphas(more_skips: float) -> dict[str, Tensor]:
    """Those at the start of each stage, with stronger skip connections."""
    return {"cell": initial_alphas()["cell"] + torch.tensor([more_skips, 0.0, 0.0])}


def settings(counts: tuple[int, ...] = KEPT) -> SearchSettings:
    """Those of the recipe with stages of an epoch and fewer candidates, since there are only three."""
    stages = replace_all(settings_of("p_darts", epochs=3).stages, warmup_epochs=0)
    return replace(
        settings_of("p_darts", epochs=3),
        discretization=LimitedSkips(decisions=("cell",)),
        stages=tuple(
            replace(stage, num_candidates=count if count < 3 else None)
            for stage, count in zip(stages, counts, strict=True)
        ),
    )


def replace_all(stages: tuple[Stage, ...], **changes: object) -> tuple[Stage, ...]:
    return tuple(replace(stage, **changes) for stage in stages)  # pyright: ignore[reportArgumentType]


def searched(settings: SearchSettings) -> SearchResult:
    return search_in_stages(build, TRAIN, VAL, settings=settings)


def loss(w: dict[str, Tensor], m: Tensor, batch: Batch, rate: Tensor | None) -> Tensor:
    x = [batch.inputs, batch.inputs * w["u"]]
    y = torch.zeros_like(batch.inputs)
    for e in range(2):
        skip = x[e] if rate is None else x[e] * (1 - rate).gt(U) / (1 - rate)
        y = y + m[e, 0] * skip + m[e, 1] * w[f"a{e}"] * x[e] + m[e, 2] * torch.tanh(w[f"b{e}"] * x[e])
    return ((y - batch.targets) ** 2).mean()


def softmax(alpha: Tensor, left: Tensor) -> Tensor:
    exp = alpha.exp() * left
    return exp / exp.sum(dim=-1, keepdim=True)


def p_darts(counts: tuple[int, ...] = KEPT, more_skips: float = 0.0) -> tuple[dict[str, Tensor], Tensor]:
    """In each stage all anew but the candidates: the weakest of each edge are gone. First order."""
    w, a, left = initial_weights(), alphas(more_skips), torch.ones(2, 3, dtype=torch.bool)
    for kept, rates in zip(counts, RATES, strict=True):
        order = softmax(a["cell"], left).argsort(dim=-1, descending=True)
        left = torch.stack([torch.isin(torch.arange(3), row[:kept]) for row in order])
        w, a, sgd, adam = initial_weights(), alphas(more_skips), SGD(LR), Adam(lr=6e-4)
        for step, (train, val) in enumerate(zip(TRAIN, VAL, strict=True)):
            rate = None if rates is None else rates[0] * (rates[1] / rates[0]) ** torch.tensor(step / 3)
            leaves = leaf(a)
            a = adam.step(a, grad(loss(w, softmax(leaves["cell"], left), val, rate), leaves))
            leaves = leaf(w)
            w = sgd.step(w, grad(loss(leaves, softmax(a["cell"], left), train, rate), leaves))
    return w | a, left


def test_three_steps_in_each_stage_are_those_of_p_darts():
    expected, left = p_darts()
    result = searched(settings())
    assert_same(final(result), expected)
    assert result.supernet.allowed["cell"] == tuple(tuple(row.nonzero().flatten().tolist()) for row in left)
    assert set(final(result)) == {*IN_MODEL, "cell"}


def test_the_recipe_goes_from_5_to_11_to_17_cells_with_8_5_and_3_operations():
    stages = settings_of("p_darts", epochs=75).stages
    assert [(s.cells, s.epochs, s.warmup_epochs, s.num_candidates, s.carry) for s in stages[1:]] == [
        (11, 25, 10, 5, False),
        (17, 25, 10, 3, False),
    ]
    assert (stages[0].cells, stages[0].epochs, stages[0].warmup_epochs, stages[0].skip_dropout) == (5, 25, 10, None)
    assert [s.skip_dropout for s in stages] == [None, *(Exponential(*rates) for rates in RATES if rates)]


def test_pruning_new_networks_and_the_dropout_are_what_tells_it_from_darts():
    expected, _ = p_darts()
    stages = settings().stages
    no_pruning = replace_all(stages, num_candidates=None)
    carried = replace_all(stages, carry=True)
    no_dropout = replace_all(stages[:2], skip_dropout=None)  # at the end one candidate is left, and may not be a skip
    assert differs(final(searched(replace(settings(), stages=no_pruning))), expected, "cell")
    assert differs(final(searched(replace(settings(), stages=carried))), expected, "u")
    with_dropout = final(searched(replace(settings(), epochs=2, stages=stages[:2])))
    assert differs(final(searched(replace(settings(), epochs=2, stages=no_dropout))), with_dropout, "u")


def limited(p: Tensor, most: int) -> list[int]:
    """The strongest of each edge; while more than `most` are skip connections, the weakest of these becomes 0."""
    p = p.clone()
    while True:
        best = p.argmax(dim=-1)
        skips = [e for e in range(2) if best[e] == 0]
        if len(skips) <= most:
            return best.tolist()
        p[min(skips, key=lambda e: p[e, 0].item()), 0] = 0.0


def test_the_last_stage_keeps_few_skip_connections():
    counts, more = (3, 2, 2), 4.0  # two candidates are left, and the skip connection is the stronger on both edges
    expected, left = p_darts(counts, more)
    p = softmax(expected["cell"], left)
    assert limited(p, most=2) == [0, 0]
    for most in (0, 1, 2):
        rule = LimitedSkips(most=most, decisions=("cell",))
        result = search_in_stages(
            partial(build, more_skips=more), TRAIN, VAL, settings=replace(settings(counts), discretization=rule)
        )
        assert_same(final(result), expected)
        cell = result.architecture.decisions["cell"]
        assert isinstance(cell, CellArchitecture)
        assert [CANDIDATES.index(edge.operation) for edge in cell.edges] == limited(p, most)
    assert limited(p, most=1).count(0) == 1
    assert limited(p, most=0).count(0) == 0
