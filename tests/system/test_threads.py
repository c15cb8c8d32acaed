"""Threads are used where they help, and given up where they do not."""

from collections.abc import Callable

import pytest
import torch

from dnas.system.threads import TOLERANCE, fewest_threads, num_threads, threads_that_help


def machine(seconds: dict[int, float]) -> Callable[[], float]:
    """A step that takes these seconds with so many threads."""
    return lambda: seconds[torch.get_num_threads()]


def test_the_number_of_threads_is_set_within_the_block_and_put_back_after_an_error_too():
    before = torch.get_num_threads()
    with num_threads(3):
        assert torch.get_num_threads() == 3
        with num_threads(None):
            assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError, match="mine"), num_threads(5):
        raise RuntimeError("mine")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("seconds", "most", "fewest"),
    [
        ({1: 1.0}, 1, 1),
        ({2: 0.55, 1: 1.0}, 2, 2),
        ({2: 1.0, 1: 1.04}, 2, 1),
        ({2: 1.0, 1: 1.0 * TOLERANCE + 0.01}, 2, 2),
        ({2: 200.0, 1: 1.0}, 2, 1),
        ({8: 1.0, 4: 1.0, 2: 1.9, 1: 3.7}, 8, 4),
        ({8: 1.0, 4: 0.9, 2: 0.93, 1: 0.97}, 8, 2),
        ({6: 1.0, 3: 1.0, 1: 1.0}, 6, 1),
    ],
)
def test_threads_are_halved_while_steps_get_hardly_longer(seconds: dict[int, float], most: int, fewest: int):
    before = torch.get_num_threads()
    assert fewest_threads(machine(seconds), most=most) == fewest
    assert torch.get_num_threads() == before


def test_small_tolerances_do_not_add_up():
    # Each halving alone is within the tolerance, four of them are not.
    seconds = {16: 1.0, 8: 1.04, 4: 1.08, 2: 1.12, 1: 1.16}
    assert fewest_threads(machine(seconds), most=16) == 8


@pytest.mark.parametrize("most", [1, 2])
def test_all_threads_or_one_help_on_this_machine(most):
    with num_threads(most):
        assert threads_that_help() in (1, most)
        assert torch.get_num_threads() == most
