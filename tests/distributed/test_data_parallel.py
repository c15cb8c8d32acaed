"""Several processes search as one: the same steps in float64, and the same bits on all of them."""

from typing import Any

import pytest
import torch

from tests.support.data_parallel import CASES, OWN_BATCH_NORM, BatchNormOfParts, all_searched, all_trained
from tests.support.ranks import on_ranks

ON_FOUR = ["first order", "one step by finite difference", "one step, exact", "Neumann"]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    found = all_searched([case for case in CASES if case != OWN_BATCH_NORM])
    with BatchNormOfParts(2):
        return {**found, **all_searched([OWN_BATCH_NORM])}


@pytest.fixture(scope="module", params=[2, 4])
def found(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return on_ranks(request.param, all_searched, list(CASES) if request.param == 2 else ON_FOUR)


def test_ranks_follow_one_process_with_the_whole_batch(alone: dict[str, Any], found: list[dict[str, Any]]):
    for case, (steps, rows, decisions) in found[0].items():
        expected_steps, expected_rows, expected_decisions = alone[case]
        assert len(steps) == 10
        for step, expected in zip(steps, expected_steps, strict=True):
            torch.testing.assert_close(
                step, expected, rtol=0, atol=1e-10, msg=lambda text, case=case: f"{case}: {text}"
            )
        for row, expected in zip(rows, expected_rows, strict=True):
            assert row == pytest.approx(expected, abs=1e-10), case
        assert decisions == expected_decisions


def test_every_rank_has_the_same_bits_after_every_step(found: list[dict[str, Any]]):
    for other in found[1:]:
        for case, (steps, rows, decisions) in other.items():
            first = found[0][case]
            assert (rows, decisions) == first[1:]
            names = [name for name in steps[0] if case != OWN_BATCH_NORM or "running" not in name]
            assert all(torch.equal(a[name], b[name]) for a, b in zip(steps, first[0], strict=True) for name in names), (
                case
            )


def test_ranks_train_and_shrink_as_one_process():
    expected = all_trained()
    first, second = on_ranks(2, all_trained)
    torch.testing.assert_close(first, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(second, first, rtol=0, atol=0)
