"""A mixture says which candidates a row has to compute, without asking the device."""

import dataclasses
import pickle

import pytest
import torch
from torch.testing import assert_close

from dnas.core.mixture import Mixture, uniform


def test_without_active_every_candidate_of_a_row_is_computed():
    assert Mixture(torch.ones(2, 3)).row(1) == (0, 1, 2)
    assert Mixture(torch.ones(4)).row(0) == (0, 1, 2, 3)


def test_with_active_only_those():
    mixture = Mixture(torch.ones(2, 3), ((1,), (0, 2)))
    assert [mixture.row(0), mixture.row(1)] == [(1,), (0, 2)]


def test_other_values_keep_what_is_active():
    mixture = Mixture(torch.ones(2), ((1,),)).with_values(torch.tensor([0.0, 5.0]))
    assert (mixture.values.tolist(), mixture.active) == ([0.0, 5.0], ((1,),))


def test_equal_weights_add_up_to_1_in_each_row_and_take_the_dtype_of_floating_inputs():
    mixture = uniform((2, 4), torch.zeros(1, dtype=torch.float64))
    assert_close(mixture.values, torch.full((2, 4), 0.25, dtype=torch.float64))
    assert mixture.active is None


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_equal_weights_for_inputs_that_are_no_floating_numbers_are_not_0(dtype):
    assert_close(uniform((2,), torch.zeros(1, dtype=dtype)).values, torch.tensor([0.5, 0.5]))


def test_it_is_frozen_and_can_be_pickled():
    mixture = Mixture(torch.tensor([1.0, 0.0]), ((0,),))
    with pytest.raises(dataclasses.FrozenInstanceError):
        mixture.active = None  # type: ignore[misc]
    copy = pickle.loads(pickle.dumps(mixture))
    assert_close(copy.values, mixture.values)
    assert copy.active == mixture.active
