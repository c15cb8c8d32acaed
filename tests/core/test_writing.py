"""One process writes into a run, and a run that is removed under way is told."""

import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn

import dnas
from dnas.core.run import Run
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.training.retrain import retrain
from dnas.training.settings import RetrainSettings
from tests.support.cli import SMALL, make_photos, refused

DATA = [(torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]))] * 2


def choice() -> nn.Module:
    return nn.Sequential(dnas.Choice("c", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(3, 2))


class Removing(Display):
    """Removes a folder after the first step, as a person may who tidies up."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def update(self, phase, done, total, scalars) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def say(self, text: str) -> None: ...


def test_a_search_and_a_training_whose_folder_is_removed_end_with_that_and_do_not_make_it_again(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UserError, match=f"{run} was removed, moved or replaced"):
        dnas.search(choice(), DATA, DATA, settings=dnas.SearchSettings(epochs=2), run=run, display=Removing(run))
    assert not run.exists()
    with pytest.raises(UserError, match=f"{run} was removed, moved or replaced"):
        retrain(nn.Linear(3, 2), DATA, settings=RetrainSettings(epochs=2), run=Run(run), display=Removing(run))
    assert not run.exists()


def test_no_command_and_no_function_writes_into_a_run_that_another_process_has_locked(tmp_path):
    photos, run = make_photos(tmp_path / "photos", count=4), tmp_path / "run"
    code = f"""
import sys
from pathlib import Path
from dnas.system.lock import locked
with locked(Path({str(run)!r})):
    print("locked", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        words = f"{run} is in use by process {other.pid} on "
        assert words in refused("search", "--data", photos, "--run", run, *SMALL)
        with pytest.raises(UserError, match=words):
            dnas.search(choice(), DATA, DATA, settings=dnas.SearchSettings(epochs=1), run=run)
        with pytest.raises(UserError, match=words):
            retrain(nn.Linear(3, 2), DATA, settings=RetrainSettings(epochs=1), run=Run(run))
        other.communicate()
    assert not run.exists()
