"""A rank that dies or hangs ends the others in time, with its name, and the search goes on from its last checkpoint."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from dnas import Observer, SearchSettings, Silent, search
from dnas.core.run import Run
from dnas.searching.observer import EpochReport, StepReport
from tests.support.data_parallel import SHARED, data, model
from tests.support.ranks import on_ranks, own_rank

HANGING = 20  # seconds; on a busy machine two ranks that live may be several seconds apart


class Fails(Observer):
    """Ends or stops the process of the last rank in the middle of the second epoch."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    @property
    def watches_steps(self) -> bool:
        return True

    def step_ended(self, report: StepReport) -> None:
        if report.step == 3 and own_rank() == 1:
            os.kill(os.getpid(), self.number)

    def epoch_ended(self, report: EpochReport) -> None:
        return None


def searched(run: Path, number: signal.Signals) -> None:
    settings = SearchSettings(**SHARED)
    search(model(), data(1), data(2), settings=settings, observers=Fails(number), run=run, display=Silent())


@pytest.mark.parametrize(
    ("number", "environment"),
    [(signal.SIGKILL, {}), (signal.SIGSTOP, {"DNAS_RANK_SECONDS": str(HANGING)})],
    ids=["killed", "stopped"],
)
def test_a_lost_rank_is_named_in_time_and_its_search_goes_on(tmp_path: Path, number: signal.Signals, environment: dict):
    began = time.monotonic()
    answer = on_ranks(2, searched, tmp_path / "run", number, environment=environment, patience={1: 0.0})[0]
    assert str(answer).startswith("LostRank: Lost rank 1 of 2 (process ")
    assert "The run goes on from its last checkpoint" in str(answer)
    assert time.monotonic() - began < 300  # half of what a rank is given if nothing is said
    assert Run(tmp_path / "run").load_checkpoint("last")["step"] == 2  # the end of the first epoch

    if number is signal.SIGKILL:
        settings = SearchSettings(**SHARED)
        resumed = search(model(), data(1), data(2), settings=settings, run=tmp_path / "run", display=(said := Said()))
        assert any("began with 2 ranks and goes on with 1" in line for line in said.lines)
        whole = search(model(), data(1), data(2), settings=settings, display=Silent())
        torch.testing.assert_close(resumed.supernet.alphas, whole.supernet.alphas, rtol=0, atol=1e-10)


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)
