"""The sizes that are tried begin with the paper's, and given sizes stay."""

from itertools import pairwise

import pytest

from dnas.data import Catalog
from dnas.jobs.job import Job
from dnas.jobs.planning.fit import Sizes
from dnas.jobs.planning.ladder import LADDER, images_in_half, ladder, with_sizes_of_data
from dnas.searching.settings import SearchSettings
from tests.support.planning import catalog


def test_the_ladder_begins_with_the_paper_and_each_step_is_smaller_in_one_size():
    assert LADDER[0][1:] == (16, 8)
    for above, below in pairwise(LADDER):
        assert sum(a != b for a, b in zip(above, below, strict=True)) == 1
        assert all(a >= b for a, b in zip(above, below, strict=True))


@pytest.mark.parametrize(
    "given", [{"image_size": 96}, {"channels": 20}, {"cells": 11}, {"batch_size": 24}, {"image_size": 7, "cells": 2}]
)
def test_sizes_that_are_given_stay_all_along(given: dict[str, int]):
    found = ladder(Job(time="1h", **given), catalog())
    for name, value in given.items():
        assert {getattr(sizes, name) for sizes in found} == {value}
    assert len(set(found)) == len(found) > 1
    free = {"image_size", "channels", "cells"} - set(given)
    assert all(len({getattr(sizes, name) for sizes in found}) > 1 for name in free)


def test_no_image_is_made_larger_than_it_is():
    assert {sizes.image_size for sizes in ladder(Job(time="1h"), catalog(native=8))} == {8}
    assert {sizes.image_size for sizes in ladder(Job(time="1h"), catalog(native=28))} == {28, 24, 16}
    assert max(sizes.image_size for sizes in ladder(Job(time="1h"), catalog(native=500))) == 64


def test_nothing_is_weighed_where_no_time_is_given_and_the_network_is():
    assert ladder(Job(channels=16, cells=8), catalog(native=32)) == [Sizes(32, 53, 16, 8)]
    assert len(ladder(Job(channels=16), catalog())) > 1
    assert len(ladder(Job(channels=16, cells=8, time="1h"), catalog())) > 1


@pytest.mark.parametrize(("train", "batch"), [(100_000, 64), (1200, 63), (1000, 53), (300, 15), (100, 8), (14, 5)])
def test_the_batch_is_that_of_the_paper_and_smaller_for_few_images(train: int, batch: int):
    assert with_sizes_of_data(Job(), catalog(train=train)).batch_size == batch


def test_a_batch_larger_than_the_data_is_the_data():
    assert with_sizes_of_data(Job(batch_size=10**6), catalog(train=1000)).batch_size == 425


@pytest.mark.parametrize(("data", "half"), [(catalog(train=1000), 425), (catalog(train=1000, test=200), 500)])
def test_halves_are_of_what_is_left_beside_the_test_part(data: Catalog, half: int):
    assert images_in_half(Job(), data) == half


def test_an_epoch_of_one_level_passes_over_all_images_but_the_test_part():
    one_level = Job(search=SearchSettings(one_level=True))
    assert images_in_half(one_level, catalog(train=1000, test=10)) == 1000
    assert images_in_half(one_level, catalog(train=1000)) == 850
