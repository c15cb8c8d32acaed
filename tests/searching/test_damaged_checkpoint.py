"""A checkpoint that no search or training would write is refused, also where its digest is right."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dnas
from dnas import Choice, RetrainSettings, SearchSettings
from dnas.core.run import Run
from dnas.system.errors import UserError

DATA = [(torch.randn(8, 4, generator=torch.Generator().manual_seed(i)), torch.arange(8) % 2) for i in range(4)]


def search(run: Run) -> None:
    model = nn.Sequential(Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(4, 2))
    dnas.search(model, DATA[:2], DATA[2:], settings=SearchSettings(epochs=1), run=run)


def retrain(run: Run) -> None:
    dnas.retrain(nn.Linear(4, 2), DATA, settings=RetrainSettings(epochs=1), run=run)


def nan(*place: str) -> Callable[[dict], None]:
    def change(state: Any) -> None:
        for name in place:
            state = state[name]
        state.fill_(torch.nan)

    return change


@pytest.mark.parametrize(
    ("work", "change", "said"),
    [
        (search, nan("supernet", "model", "1.weight"), r"supernet\.model\.1\.weight holds NaN"),
        (search, nan("supernet", "alphas", "act"), r"supernet\.alphas\.act holds NaN"),
        (search, lambda state: state.update(step=10**9), "of step 1000000000 of 2"),
        (search, lambda state: state.update(step=-1), "of step -1 of 2"),
        (search, lambda state: state.update(epoch_rows="many"), "must be a list, not a str"),
        (search, lambda state: state.update(epoch_rows=[{"epoch": "one"}]), "numbers by name"),
        (search, lambda state: state.update(epoch_rows=[3]), "numbers by name"),
        (retrain, nan("network", "weight"), r"network\.weight holds NaN"),
        (retrain, lambda state: state["network"]["weight"].fill_(torch.inf), "weight holds NaN or infinity"),
        (retrain, lambda state: state.update(step=10**9), "of step 1000000000 of 4"),
    ],
)
def test_a_finished_checkpoint_of_no_sense_does_not_count_as_done(tmp_path: Path, work, change, said: str):
    run = Run(tmp_path)
    work(run)
    state = run.load_checkpoint("last")
    change(state)
    run.save_checkpoint("last", state)
    with pytest.raises((UserError, dnas.NonFiniteLoss), match=said):
        work(run)


def first_momentum(state: Any) -> torch.Tensor:
    return next(iter(state["weight_optimizer"]["state"].values()))["momentum_buffer"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state["supernet"]["model"]["1.weight"].fill_(torch.inf), r"weights\.1\.weight"),
        (lambda state: state["supernet"]["alphas"]["act"].fill_(-torch.inf), r"alphas\.act"),
        (lambda state: state["alphas_by_epoch"][0]["act"].fill_(torch.inf), r"alphas_by_epoch\.0\.act"),
        (lambda state: first_momentum(state).fill_(torch.inf), r"weight_optimizer\.\d\.momentum_buffer"),
    ],
)
def test_infinity_in_a_finished_search_does_not_count_as_done(tmp_path: Path, change, said: str):
    run = Run(tmp_path)
    search(run)
    state = run.load_checkpoint("last")
    change(state)
    run.save_checkpoint("last", state)
    with pytest.raises(UserError, match=rf"last\.pt is damaged: {said} holds NaN or infinity"):
        search(run)


def test_infinity_in_a_search_is_not_loaded_as_a_network(tmp_path: Path):
    run = Run(tmp_path)
    search(run)
    state = run.load_checkpoint("last")
    state["supernet"]["model"]["1.weight"].fill_(torch.inf)
    run.save_checkpoint("last", state)
    model = nn.Sequential(Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(4, 2))
    with pytest.raises(UserError, match=r"last\.pt is damaged: 1\.weight holds NaN or infinity"):
        dnas.load(run.path, model=model)


def test_a_training_whose_checkpoint_is_from_before_tasks_is_still_finished(tmp_path: Path):
    run = Run(tmp_path)
    retrain(run)
    state = run.load_checkpoint("last")
    state.pop("task")
    run.save_checkpoint("last", state)
    retrain(run)
    assert "task" not in run.load_checkpoint("last")  # no step was taken, and nothing written


def test_a_search_goes_on_from_a_checkpoint_without_what_later_ones_have(tmp_path: Path):
    run = Run(tmp_path)
    search(run)
    state = run.load_checkpoint("last")
    del state["decisions"]
    run.save_checkpoint("last", state)
    search(run)
    assert run.architecture_path.exists()
