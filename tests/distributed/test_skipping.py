"""A batch that is not finite on one rank is left out on all of them."""

from typing import Any

import torch

from dnas import SearchSettings, Silent, search
from tests.support.data_parallel import SHARED, Record, data, model
from tests.support.ranks import on_ranks


def searched_with_a_bad_row() -> dict[str, Any]:
    """The alphas after a search whose second training batch has a NaN in its last row, which the last rank takes."""
    train, said = data(1), Said()
    train[1][0][-1, 0, 0, 0] = torch.nan
    settings = SearchSettings(**{**SHARED, "epochs": 2}, skip_non_finite=2)
    record = Record()
    result = search(model(), train, data(2), settings=settings, observers=record, display=said)
    return {"alphas": result.supernet.alphas, "rows": [row["skipped_steps"] for row in record.rows], "said": said.lines}


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_all_ranks_leave_out_the_step_of_one_of_them_and_go_on_as_one_process_does():
    alone, first, second = searched_with_a_bad_row(), *on_ranks(2, searched_with_a_bad_row)
    assert alone["rows"] == first["rows"] == second["rows"] == [1, 2]
    assert "in 1 of 6 samples, the first is sample 5 of those of rank 1." in first["said"][0]
    for found in (first, second):
        torch.testing.assert_close(found["alphas"], alone["alphas"], rtol=0, atol=1e-10)
    torch.testing.assert_close(first["alphas"], second["alphas"], rtol=0, atol=0)
