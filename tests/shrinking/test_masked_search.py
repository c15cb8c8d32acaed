"""A model whose widths and blocks are mixtures, what it is expected to cost, and the search of them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.architecture import Architecture
from dnas.core.batch import Batch, tensors_in
from dnas.core.mixture import Mixture
from dnas.core.schedule import Cosine
from dnas.cost.budget import Budget
from dnas.searching.settings import AlphaAdam, SearchSettings, WeightSGD
from dnas.searching.supernet import Supernet
from dnas.shrinking.budget import limits_of
from dnas.shrinking.expected import ExpectedCosts, own_values
from dnas.shrinking.masked_search import masked_search
from dnas.shrinking.searchable import Narrowable, make_searchable
from dnas.shrinking.supernet import MaskedModel, weighted_layer_norm
from dnas.system.display import Silent
from dnas.task import Classification
from dnas.training.evaluate import as_batches, call
from tests.support.shrinking import MODELS, TRANSFORMERS, ResNet, made, transformers_model


def rankings(searchable: Narrowable, seed: int = 0) -> dict[str, list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return {
        group.name: torch.randperm(len(group), generator=generator).tolist() for group in searchable.structure.groups
    }


def supernet_of(searchable: Narrowable, ranking: dict[str, list[int]], steps: int = 4) -> Supernet:
    program = searchable.program(steps)
    widths = {group.name: own_values(program, group.name) for group in searchable.structure.groups}
    masked = MaskedModel(searchable.model, searchable.structure, widths, ranking)
    return Supernet(masked, task=Classification())


def outputs(supernet: Supernet, choices: dict[str, str], example: Any) -> list[Tensor]:
    mixtures = supernet.one_hot(Architecture(choices))
    with torch.no_grad():
        return [*tensors_in(supernet.forward(supernet.weights(), mixtures, Batch(example, None)))]


@pytest.mark.parametrize("name", [*MODELS, *(f"transformers {name}" for name in TRANSFORMERS)])
def test_with_one_value_for_each_decision_the_supernet_equals_the_smaller_network(name: str):
    if name in MODELS:
        model, example = made(name)
    else:
        pytest.importorskip("transformers")
        model, example = transformers_model(name.removeprefix("transformers "))
    searchable = make_searchable(model, example)
    ranking = rankings(searchable)
    supernet = supernet_of(searchable, ranking)
    largest = {name: one.candidates[-1] for name, one in supernet.decisions.items()}
    with torch.no_grad():
        original = [*tensors_in(call(model, example))]
    for found, expected in zip(outputs(supernet, largest, example), original, strict=True):
        assert torch.equal(found, expected)  # bit for bit
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        choices = {
            name: one.candidates[int(torch.randint(len(one.candidates), (), generator=generator))]
            for name, one in supernet.decisions.items()
        }
        values = {name: int(kept == "in") if kept in ("in", "out") else int(kept) for name, kept in choices.items()}
        small = searchable.derive(searchable.selection(values, ranking))
        with torch.no_grad():
            expected = [*tensors_in(call(small, example))]
        for found, reference in zip(outputs(supernet, choices, example), expected, strict=True):
            assert_close(found, reference, rtol=0, atol=1e-12)


def test_the_statistics_of_a_layer_norm_are_weighted():
    norm = nn.LayerNorm(3).double()
    x, mask = torch.tensor([[1.0, 4.0, 9.0]]).double(), torch.tensor([1.0, 0.5, 0.0]).double()
    mean = (1 * 1 + 0.5 * 4) / 1.5
    variance = (1 * (1 - mean) ** 2 + 0.5 * (4 - mean) ** 2) / 1.5
    assert_close(weighted_layer_norm(norm, x, mask), (x - mean) / (variance + norm.eps) ** 0.5, rtol=1e-12, atol=0)


def test_the_expected_cost_is_the_mean_over_all_networks():
    """A ResNet with four widths and two blocks, one of which holds a width: every network, by its probability."""
    searchable = make_searchable(ResNet(), torch.zeros(1, 3, 8, 8))
    program = searchable.program(2)
    generator = torch.Generator().manual_seed(0)
    mixtures = {
        name: Mixture(torch.rand(len(own_values(program, name)), generator=generator).double().softmax(0))
        for name in program.values
    }
    costs = [searchable.flops, searchable.parameters]
    mean = torch.zeros(2, dtype=torch.float64)
    for chosen in product(*(range(len(mixtures[name].values)) for name in program.values)):
        chance, values = 1.0, {}
        for name, index in zip(program.values, chosen, strict=True):
            chance *= mixtures[name].values[index].item()
            values[name] = own_values(program, name)[index]
        values = searchable.consistent(values)
        mean += chance * torch.tensor([cost.of(values) for cost in costs], dtype=torch.float64)
    assert_close(ExpectedCosts(program, costs)(mixtures), mean, rtol=1e-12, atol=0)


def search_settings(**changed: float) -> SearchSettings:
    return SearchSettings(
        epochs=2,
        weights=WeightSGD(lr=Cosine(0.01, 0.0)),
        alphas=AlphaAdam(weight_decay=0.0, **changed),
        validate_every=0,
    )


def found(model: nn.Module, data: list[Batch], scores: dict, settings: SearchSettings, limit: str = "flops<=50%"):
    searchable = make_searchable(model, data[0].inputs)
    limits = limits_of(Budget((limit,)), searchable, searchable.program(4))
    everything = {(name, value): 0.0 for name, some in limits.program.values.items() for value in some}
    batches = as_batches([(batch.inputs, batch.targets) for batch in data])
    return limits, masked_search(
        searchable,
        limits,
        {**everything, **scores},
        {group.name: list(range(len(group))) for group in searchable.structure.groups},
        train=batches,
        held_out=batches,
        task=Classification(),
        settings=settings,
        run=None,
        display=Silent(),
    )


def two_layers() -> tuple[nn.Module, list[Batch]]:
    """Of two hidden widths the second matters more: its layer has useful columns beyond the first ones."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    inputs = torch.randn(4, 16, 4, generator=generator)
    return model, [Batch(x, x[:, :3].argmax(1)) for x in inputs]


def test_alphas_that_do_not_move_give_what_the_scores_say():
    model, data = two_layers()
    scores = {("0", 2): -3.0, ("0", 4): -1.0, ("2", 2): -0.5, ("2", 4): -0.25}
    limits, worth = found(model, data, scores, search_settings(lr=0.0))
    program = limits.program
    assert program.best(worth, limits.bounds) == program.best(
        {(name, value): 0.0 for name, some in program.values.items() for value in some} | scores, limits.bounds
    )
    # In proportion to the scores: the median of the decisions' worst values is 4.
    assert worth["0", 2] / worth["0", 4] == pytest.approx(3.0, rel=1e-6)
    assert (worth["0", 2] + worth["2", 2]) / 2 == pytest.approx(-4.0, rel=1e-5)


def test_a_tight_budget_makes_small_widths_worth_more():
    model, data = two_layers()
    limits = ("flops<=30%", "flops<=100%")
    worth = {limit: found(model, data, {}, search_settings(lr=0.1), limit)[1] for limit in limits}
    for name in ("0", "2"):
        tight, loose = (worth[limit][name, 2] - worth[limit][name, 8] for limit in ("flops<=30%", "flops<=100%"))
        assert tight > loose
