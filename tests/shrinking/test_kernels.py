"""Kernels that become smaller: cut from their centre, masked, counted, and decided with widths and blocks."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.mixture import Mixture
from dnas.core.run import Run
from dnas.cost import count_flops, count_parameters
from dnas.cost.budget import Budget
from dnas.shrinking.budget import limits_of
from dnas.shrinking.expected import ExpectedCosts, own_values
from dnas.shrinking.kernels import Kernel, kernel_of
from dnas.shrinking.load import load
from dnas.shrinking.rules import Rule
from dnas.shrinking.searchable import Narrowable, make_searchable
from dnas.shrinking.shrink import shrink
from tests.shrinking.test_finalists import SETTINGS
from tests.support.masked_supernet import check_supernet

RULES = [Rule(nn.Conv2d, kernel=True)]


class Mixed(nn.Module):
    """Kernels of 3 and 5: padded by a word, in a residual block, depthwise with a stride, dilated, and not padded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding="same")
        self.inner, self.outer = nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(4, 6, 1)
        self.depthwise = nn.Conv2d(6, 6, 5, stride=2, padding=2, groups=6)
        self.dilated = nn.Conv2d(6, 5, 3, padding=2, dilation=2)
        self.last = nn.Conv2d(5, 4, 3)
        self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = x + self.outer(self.inner(x).relu())
        x = self.dilated(self.depthwise(x).relu()).relu()
        return self.head(self.last(x).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def searchable() -> Narrowable:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make_searchable(Mixed().double().eval(), EXAMPLE, rules=RULES)


EXAMPLE = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def drawn(searchable: Narrowable, seed: int) -> dict[str, int]:
    generator, program = torch.Generator().manual_seed(seed), searchable.program(3)
    options = {name: own_values(program, name) for name in program.values}
    return searchable.consistent(
        {name: some[int(torch.randint(len(some), (), generator=generator))] for name, some in options.items()}
    )


def rankings(searchable: Narrowable) -> dict[str, list[int]]:
    return {group.name: [*reversed(range(len(group)))] for group in searchable.structure.groups}


def test_kernels_that_may_become_smaller_are_found_and_others_named(searchable: Narrowable):
    structure = searchable.structure
    assert {kernel.name: kernel.sizes for kernel in structure.kernels} == {
        "stem.kernel": (1, 3),
        "inner.kernel": (1, 3),
        "depthwise.kernel": (1, 3, 5),
        "dilated.kernel": (1, 3),
    }
    assert [one.reason for one in structure.frozen if one.name == "last.kernel"] == [
        "it is padded by less than would be cut off its kernel"
    ]
    assert not make_searchable(searchable.model, EXAMPLE).structure.kernels  # only where a rule says so


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (nn.Conv1d(1, 1, 5, padding=1), Kernel("c", (3, 5), 1)),
        (nn.Conv3d(1, 1, 3, padding=1), Kernel("c", (1, 3), 3)),
        (nn.Conv2d(1, 1, (3, 1)), "its kernel of (3, 1) is not as wide as high, or has no centre"),
        (nn.Conv2d(1, 1, 4), "its kernel of (4, 4) is not as wide as high, or has no centre"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "it is padded with reflect"),
        (nn.Conv2d(1, 1, 1), ""),
        (nn.ConvTranspose2d(1, 1, 3, padding=1), ""),
    ],
)
def test_the_sizes_that_a_kernel_may_have(module: nn.Module, found: Kernel | str):
    assert kernel_of("c", module) == found


@pytest.mark.parametrize("seed", range(3))
def test_cut_kernels_equal_masked_ones_and_cost_what_is_counted(searchable: Narrowable, seed: int):
    values = drawn(searchable, seed)
    selection = searchable.selection(values, rankings(searchable))
    small = searchable.derive(selection)
    with torch.no_grad():
        assert_close(small(EXAMPLE), searchable.masked(selection)(EXAMPLE), rtol=0, atol=1e-12)
    assert searchable.flops.of(values) == count_flops(small, EXAMPLE)
    assert searchable.parameters.of(values) == count_parameters(small)
    mixtures = {}
    for name, some in searchable.program(3).values.items():
        own = [value for value in some if value or name not in searchable.program(3).inside]
        chosen = own.index(values[name]) if values[name] in own else 0  # inside of a block that is out
        mixtures[name] = Mixture(nn.functional.one_hot(torch.tensor(chosen), len(own)).double())
    costs = [searchable.flops, searchable.parameters]
    expected = torch.tensor([cost.of(values) for cost in costs], dtype=torch.float64)
    assert_close(ExpectedCosts(searchable.program(3), costs)(mixtures), expected, rtol=1e-12, atol=0)
    assert small.get_submodule("depthwise").kernel_size == (values["depthwise.kernel"],) * 2


def test_the_supernet_equals_the_original_at_its_largest_and_smaller_networks(searchable: Narrowable):
    check_supernet(searchable, EXAMPLE, drawn, rankings(searchable))


def test_the_program_finds_the_best_of_all_with_kernels_that_multiply_two_widths(searchable: Narrowable):
    program = searchable.program(2)
    limits = limits_of(Budget(("flops<=40%", "parameters<=50%")), searchable, program)
    generator = torch.Generator().manual_seed(0)
    scores = {
        (name, value): value * float(torch.rand((), generator=generator))
        for name, some in program.values.items()
        for value in some
    }

    def score(values: dict[str, int]) -> float:
        return sum(scores[name, value] for name, value in values.items())

    every = (dict(zip(program.values, one, strict=True)) for one in product(*program.values.values()))
    allowed = (one for one in every if all(one[name] == 0 or one[block] for name, block in program.inside.items()))
    consistent = (one for one in allowed if all(one[name] or not one[block] for name, block in program.inside.items()))
    best = max(
        (score(one) for one in consistent if all(bound.cost.of(one) <= bound.most for bound in limits.bounds)),
        default=-math.inf,
    )
    assert score(limits.best(scores)) == pytest.approx(best, rel=1e-9)


def test_a_model_is_shrunk_and_loaded_with_smaller_kernels(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Mixed()
    data = [(EXAMPLE.float(), torch.tensor([1, 3]))]
    settings = replace(SETTINGS, finalists=replace(SETTINGS.finalists, num=0), random=1, steps=2)
    rules = [Rule(nn.Conv2d, width=False, depth=False, kernel=True)]
    run = Run(tmp_path / "small")
    small: Any = shrink(
        model, data, data, budget="flops<=60%", rules=rules, search_epochs=1, settings=settings, run=run
    )
    row = small.shrink_report.row("found")
    assert row.flops <= 0.6 * count_flops(model, EXAMPLE.float()[:1])
    assert any(row.values[kernel] < size for kernel, size in (("stem.kernel", 3), ("depthwise.kernel", 5)))
    loaded = load(run.path, model=Mixed)
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), loaded.parameters(), strict=True))
