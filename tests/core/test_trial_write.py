"""What cannot be written is found before anything is trained."""

from pathlib import Path

import pytest
import torch
from torch import nn

import dnas
from dnas import Choice, RetrainSettings, SearchSettings
from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.core.trial_write import check_search_can_be_saved
from dnas.language import LanguageTraining, train_language
from dnas.system.errors import UserError
from tests.support.small_language import corpus, network

SMALL = LanguageTraining(epochs=1, batch_size=8, validation_batch_size=4, bptt=7)
DATA = [(torch.randn(8, 4), torch.arange(8) % 2) for _ in range(4)]
NOT_UTF8 = "caf\udce9"  # as Python reads an old file name


def searchable(name: str = "act") -> nn.Module:
    return nn.Sequential(Choice(name, {"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(4, 2))


def huge(module: nn.Module) -> nn.Module:
    """With a buffer of 4 PB that takes no memory."""
    module.register_buffer("huge", torch.empty(10**15, device="meta"))
    return module


class Noted(nn.Linear):
    """A layer whose state holds a text."""

    def get_extra_state(self) -> str:
        return "a note"

    def set_extra_state(self, state: str) -> None: ...


def untrained(path: Path) -> bool:
    """Whether a folder holds nothing of a training but, at most, the weights that a search began with."""
    return {file.name for file in path.rglob("*") if file.is_file()} <= {"start.pt"}


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (
            lambda run: check_search_can_be_saved(run, huge(searchable()).state_dict(), Architecture({"act": "relu"})),
            "weights of this search take about",
        ),
        (lambda run: dnas.retrain(huge(nn.Linear(4, 2)), DATA, run=run), "weights of this training take about"),
        (
            lambda run: train_language(huge(network()), corpus(), settings=SMALL, run=run),
            "weights of this training take about",
        ),
        (lambda run: dnas.retrain(Noted(4, 2), DATA, run=run), "is a str; only tensors can be written"),
        (
            lambda run: dnas.search(searchable(NOT_UTF8), DATA[:2], DATA[2:], run=run),
            "could not be written as architecture.json: .*surrogates not allowed",
        ),
        (
            lambda run: dnas.search(
                searchable(), DATA[:2], DATA[2:], run=run, stamp=lambda kept: Architecture(kept, arguments={"a": {1}})
            ),
            "could not be written as architecture.json: Object of type set",
        ),
    ],
)
def test_nothing_is_trained_where_it_could_not_be_saved(tmp_path: Path, work, said: str):
    with pytest.raises(UserError, match=said):
        work(Run(tmp_path / "run"))
    assert untrained(tmp_path / "run")


def test_a_folder_that_may_not_be_written_to_is_found_before_a_training(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for work in (
        lambda run: dnas.search(searchable(), DATA[:2], DATA[2:], run=run),
        lambda run: dnas.retrain(nn.Linear(4, 2), DATA, run=run),
    ):
        with pytest.raises(OSError, match="file"):
            work(Run(tmp_path / "file" / "run"))


def test_a_trial_leaves_nothing_in_the_folder(tmp_path: Path):
    run = Run(tmp_path / "run")
    dnas.search(searchable(), DATA[:2], DATA[2:], settings=SearchSettings(epochs=1), run=run)
    dnas.retrain(nn.Linear(4, 2), DATA, settings=RetrainSettings(epochs=1), run=run.child("retrain"))
    assert not list(run.path.rglob("trial"))
