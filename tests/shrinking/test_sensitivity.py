"""Scores of widths and blocks by the held-out loss."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dnas.core.batch import Batch
from dnas.shrinking.memory import Memory
from dnas.shrinking.searchable import make_searchable
from dnas.shrinking.sensitivity import rises_of, scores
from dnas.system.display import Silent
from dnas.task import Regression
from dnas.task.batch_check import BatchCheck


def test_the_score_of_a_width_is_minus_the_rise_of_the_loss_by_hand():
    """y = sum of w_i x_i: without the channels of the smallest weights the error is known."""
    weights = torch.tensor([4.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 1, bias=False)).double()
    model[0].weight.data = torch.eye(4, dtype=torch.float64)
    model[1].weight.data = weights[None]
    inputs = torch.eye(4, dtype=torch.float64)
    held_out = [Batch(inputs, inputs @ weights[:, None])]
    searchable = make_searchable(model, inputs)
    program = searchable.program(4)
    assert program.values == {"0": (1, 2, 3, 4)}
    measured = rises_of(
        searchable,
        program,
        {"0": [0, 1, 2, 3]},
        train=held_out,
        held_out=[(BatchCheck("validation", 1), 0, held_out[0])],
        task=Regression(),
        memory=Memory(None, {}),
        display=Silent(),
    )
    found = scores(program, measured, {"0": weights})
    # Mean squared errors over the four inputs: what is cut off is the output for its unit vector.
    rises = {1: (2.0**2 + 1.0**2) / 4, 2: 1.0**2 / 4, 3: 0.0, 4: 0.0}
    between_equals = 1e-4 * rises[1]
    shares = {1: 4 / 7, 2: 6 / 7, 3: 1.0, 4: 1.0}
    for width, rise in rises.items():
        assert found["0", width] == pytest.approx(-rise + between_equals * shares[width], rel=1e-12)
