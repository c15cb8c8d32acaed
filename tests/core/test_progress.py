"""Progress reaches every module that follows it, in place, and leaves no trace in a checkpoint."""

import doctest
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

import dnas.core.progress
from dnas.core.functional import call_with
from dnas.core.progress import FollowsProgress, Scheduled, set_progress
from dnas.core.schedule import Linear


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(dnas.core.progress).failed == 0


class Faded(FollowsProgress):
    """x (1 - progress)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 - self.progress)


def model() -> nn.Sequential:
    return nn.Sequential(Faded(), nn.Sequential(Faded()))


@pytest.mark.parametrize("progress", [0.5, torch.tensor(0.5), torch.tensor(0.5, dtype=torch.float64)])
def test_every_module_that_follows_sees_the_progress(progress: Tensor | float) -> None:
    faded = model()
    assert faded(torch.tensor(8.0)) == 8
    set_progress(faded, progress)
    assert faded(torch.tensor(8.0)) == 2


def test_the_buffer_is_written_in_place_so_that_a_captured_graph_sees_it() -> None:
    faded = Faded()
    before = faded.progress
    set_progress(faded, 0.25)
    assert faded.progress is before
    assert before == 0.25


def test_progress_is_no_part_of_the_state() -> None:
    assert not model().state_dict()


def test_a_copy_has_its_own_progress() -> None:
    faded = model()
    set_progress(faded, 0.5)
    copy = deepcopy(faded)
    set_progress(copy, 1.0)
    assert faded(torch.tensor(8.0)) == 2
    assert copy(torch.tensor(8.0)) == 0


def test_a_call_with_other_buffers_uses_them_and_leaves_the_own_ones() -> None:
    faded = model()
    assert call_with(faded, {"0.progress": torch.tensor(0.75)}, (torch.tensor(8.0),), {}) == 2
    assert faded(torch.tensor(8.0)) == 8


def test_a_model_that_follows_nothing_is_left_alone() -> None:
    set_progress(nn.Linear(1, 1), 0.5)


def test_progress_moves_with_its_module() -> None:
    assert Faded().to(torch.float64).progress.dtype == torch.float64


def test_a_scheduled_value_is_the_schedule_at_the_progress_and_may_be_shared() -> None:
    value = Scheduled(Linear(4.0, 2.0))
    first, second = nn.Sequential(nn.Identity()), nn.Sequential(nn.Identity())
    first.value = second.value = value
    model = nn.ModuleList([first, second])
    set_progress(model, 0.5)
    assert value() == 3
    assert len(list(model.buffers())) == 1
    copy = deepcopy(model)
    assert copy[0].value is copy[1].value
    assert "Linear" in repr(value)
