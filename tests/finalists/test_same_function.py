"""Networks of the same function are recognised in spaces and in modules, and others are told apart."""

import pytest
import torch
from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.batch import Batch
from dnas.finalists.same_function import SeenFunctions, fingerprint
from dnas.formats import read_nasbench201
from dnas.space import DartsSpace, NasBench201Space

BATCH = Batch(torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(3, dtype=torch.long))


def cell(edges: str) -> Architecture:
    """The cell whose edges 0->1, 0->2, 1->2, 0->3, 1->3, 2->3 have these operations."""
    names = {"0": "none", "s": "skip_connect", "1": "nor_conv_1x1", "3": "nor_conv_3x3", "p": "avg_pool_3x3"}
    a, b, c, d, e, f = (names[letter] for letter in edges)
    return read_nasbench201(f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|")


def seen_in(space: NasBench201Space | DartsSpace) -> SeenFunctions:
    return SeenFunctions(lambda a: space.network(a, channels=4, cells=1, num_classes=3), BATCH)


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("000300", "s00030", "a skip connection before a convolution"),
        ("000300", "s0s003", "two skip connections before a convolution"),
        ("000300", "300300", "an edge into a state that nothing reads"),
        ("000300", "0003s0", "an edge from a state that is 0"),
        ("000000", "111000", "no path to the output"),
        ("300030", "030003", "the two inner states change their names"),
        ("3p0031", "p30013", "the two inner states change their names"),
    ],
)
def test_cells_of_the_same_function_count_once(one: str, other: str, why: str):
    seen = seen_in(NasBench201Space())
    assert seen.is_new(cell(one))
    assert not seen.is_new(cell(other)), why


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("000300", "000100"),
        ("300s30", "300330"),
        ("3300ss", "300030"),  # two convolutions or one
        ("3300s3", "330333"),
        ("33ssss", "330sss"),
        ("p00030", "300030"),
    ],
)
def test_cells_of_other_functions_are_told_apart(one: str, other: str):
    seen = seen_in(NasBench201Space())
    assert seen.is_new(cell(one))
    assert seen.is_new(cell(other))


class Twice(nn.Module):
    """2 a(x) + c(b(x)), or a(x) + b(x) + c(a(x))."""

    def __init__(self, form: str):
        super().__init__()
        self.form = form
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.a(x).tanh(), self.b(x).tanh()
        return 2 * a + self.c(b) if self.form == "2a + cb" else a + b + self.c(a)


def test_gradients_tell_apart_what_equal_weights_hide():
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    one, other = (fingerprint(Twice(form), x) for form in ("2a + cb", "a + b + ca"))
    assert torch.allclose(one.numbers[:2], other.numbers[:2])  # of the outputs
    assert one.shapes == other.shapes
    assert not one.is_same(other)
    assert one.is_same(fingerprint(Twice("2a + cb"), x))


def test_random_cells_of_darts_are_all_different():
    space = DartsSpace()
    seen = SeenFunctions(lambda a: space.network(a, channels=4, cells=2, num_classes=3), BATCH)
    assert all(seen.is_new(space.random(torch.Generator().manual_seed(seed))) for seed in range(4))
