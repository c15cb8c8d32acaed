"""Drop-path leaves out whole samples and keeps the mean."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dnas.space.drop_path import DropPath, path_masks, set_drop_path


def test_each_sample_is_zero_or_divided_by_the_probability_of_being_kept():
    torch.manual_seed(0)
    path = DropPath()
    path.probability = 0.25
    y = path(torch.ones(1000, 2, 3, 3, dtype=torch.float64)).flatten(1)
    assert_close(y, y[:, :1].expand_as(y))  # a whole sample at once
    assert_close(y.unique(), torch.tensor([0.0, 1 / 0.75], dtype=torch.float64))


def test_the_mean_over_many_draws_is_the_input():
    torch.manual_seed(0)
    path = DropPath()
    path.probability = 0.3
    # Standard deviation of one draw: sqrt(p / (1 - p)) = 0.65; of the mean of 40,000: 0.0033.
    assert path(torch.ones(40_000, 1, 1, 1)).mean().item() == pytest.approx(1.0, abs=0.015)


def test_it_hands_back_its_input_in_eval_mode_and_at_probability_zero():
    path, x = DropPath(), torch.randn(2, 1, 1, 1)
    assert path(x) is x
    path.probability = 0.5
    assert path.eval()(x) is x


def test_no_random_number_is_drawn_where_it_is_off():
    path = DropPath()
    state = torch.get_rng_state()
    path(torch.randn(2, 1, 1, 1, generator=torch.Generator()))
    assert torch.equal(torch.get_rng_state(), state)


def test_set_drop_path_reaches_all_paths_of_a_network():
    network = nn.Sequential(DropPath(), nn.Sequential(DropPath()))
    set_drop_path(network, 0.2)
    assert [module.probability for module in network.modules() if isinstance(module, DropPath)] == [0.2, 0.2]


def test_it_warns_where_there_is_nothing_to_drop():
    with pytest.warns(UserWarning, match="no edge to drop"):
        set_drop_path(nn.Linear(1, 1), 0.2)
    set_drop_path(nn.Linear(1, 1), 0.0)


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_a_probability_out_of_range_is_refused(probability: float):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        set_drop_path(nn.Sequential(DropPath()), probability)


def test_masks_drop_samples_at_the_rate_and_keep_the_mean():
    torch.manual_seed(0)
    x = torch.ones(500, 2, 3, 3, dtype=torch.float64)
    masks = path_masks(torch.tensor(0.2), 40, x)
    assert masks.shape == (40, 500, 1, 1, 1)
    assert masks.dtype == x.dtype
    assert_close(masks.unique(), torch.tensor([0.0, 1.25], dtype=torch.float64), rtol=1e-7, atol=0)
    # 20000 draws: a standard deviation of 0.0035.
    assert abs(masks.mean().item() - 1) < 0.018
    assert not torch.equal(masks[0], masks[1])


def test_masks_of_rate_0_are_1():
    assert_close(path_masks(torch.tensor(0.0), 3, torch.ones(4, 1)), torch.ones(3, 4, 1, 1, 1), rtol=0, atol=0)
