"""Dropout after skip connections is torch's dropout, with a rate that follows the progress."""

import torch
from torch.testing import assert_close

from dnas.core.progress import Scheduled, set_progress
from dnas.core.schedule import Constant, Linear
from dnas.space.skip_dropout import SkipDropout

X = torch.linspace(1, 2, 12, dtype=torch.float64).reshape(3, 4)


def test_elements_are_dropped_at_the_rate_of_the_progress_and_the_others_grow():
    dropout = SkipDropout(Scheduled(Linear(0.8, 0.0))).double()
    set_progress(dropout, 0.5)
    torch.manual_seed(0)
    y = dropout(X)
    torch.manual_seed(0)
    keep = torch.rand_like(X) < 0.6
    assert_close(y, torch.where(keep, X / 0.6, 0.0), rtol=1e-14, atol=0)
    assert 0 < int(keep.sum()) < keep.numel()


def test_the_mean_stays_and_the_rate_is_met():
    torch.manual_seed(0)
    y = SkipDropout(Scheduled(Constant(0.3)))(torch.ones(100_000))
    # Standard deviations: 0.0014 of the share and 0.0021 of the mean.
    assert abs((y == 0).float().mean().item() - 0.3) < 0.007
    assert abs(y.mean().item() - 1) < 0.01


def test_nothing_is_dropped_at_rate_0_and_in_eval_mode():
    faded = SkipDropout(Scheduled(Linear(0.5, 0.0))).double()
    assert faded.eval()(X) is X
    set_progress(faded, 1.0)
    assert_close(faded.train()(X), X, rtol=0, atol=0)


def test_modules_that_share_a_rate_have_one_buffer_and_no_state():
    rate = Scheduled(Constant(0.3))
    both = torch.nn.ModuleList([SkipDropout(rate), SkipDropout(rate)])
    assert len(list(both.buffers())) == 1
    assert not both.state_dict()
