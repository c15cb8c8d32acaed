"""The fewest threads that are as fast as all are taken."""

import torch

from dnas.jobs.planning.fit import Measured, Sizes
from dnas.jobs.planning.threads import choose_threads
from dnas.system.threads import num_threads


def test_threads_are_not_tried_where_that_would_take_too_long():
    def never(sizes: Sizes) -> Measured:
        raise AssertionError

    most = torch.get_num_threads()
    assert choose_threads(never, Sizes(64, 64, 16, 8), 10.0, patience=4.0) == most


def test_the_fewest_threads_are_chosen_by_the_step_at_the_sizes_of_the_plan():
    measured = []

    def measure(sizes: Sizes) -> Measured:
        measured.append((sizes, torch.get_num_threads()))
        return Measured(1.0, 1.0, 1.0, 0)

    with num_threads(4):
        assert choose_threads(measure, Sizes(8, 8, 2, 3), 1.0, patience=20.0) == 1
    assert measured == [(Sizes(8, 8, 2, 3), count) for count in (4, 2, 1)]
