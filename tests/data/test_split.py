"""Splits divide every class alike, and say so when they cannot."""

import pytest
import torch

from dnas.data import ImageSet, ResizeRule, Source, halves, set_aside_test, stratified_split


def image_set(counts: list[int], name: str = "pets") -> ImageSet:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8)
    return ImageSet(images, labels, tuple(f"class{i}" for i in range(len(counts))), name)


def source(counts: list[int], test: ImageSet | None = None) -> Source:
    return Source(image_set(counts), test, ResizeRule(2))


def test_parts_hold_every_index_once_and_every_class_in_proportion():
    labels = image_set([10, 33, 7, 101]).labels
    parts = stratified_split(labels, [0.2, 0.5, 0.3], seed=0)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(labels)))
    for fraction, part in zip([0.2, 0.5, 0.3], parts, strict=True):
        counts = torch.bincount(labels[part], minlength=4)
        assert ((counts - fraction * torch.tensor([10, 33, 7, 101])).abs() < 1).all()
        assert abs(len(part) - fraction * len(labels)) <= 2
        assert torch.equal(part, part.sort().values)


def test_rounding_of_many_small_classes_does_not_add_up():
    labels = image_set([3] * 40).labels
    one, other = stratified_split(labels, [0.5, 0.5], seed=0)
    assert len(one) == len(other) == 60


def test_the_seed_decides_which_images():
    labels = image_set([50, 50]).labels
    one, again, other = (stratified_split(labels, [0.5, 0.5], seed=s)[0] for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_every_part_gets_one_of_each_class_however_small_its_share():
    labels = image_set([3, 200]).labels
    for part in stratified_split(labels, [0.02, 0.49, 0.49], seed=0):
        assert (torch.bincount(labels[part], minlength=2) >= 1).all()


def test_a_class_with_too_few_images_is_named():
    with pytest.raises(ValueError, match=r"Class 'dog' has 1 image, too few for 2 parts"):
        stratified_split(torch.tensor([0, 0, 1]), [0.5, 0.5], seed=0, class_names=["cat", "dog"])


@pytest.mark.parametrize("fractions", [[], [0.5, 0.4], [1.0, 0.0], [1.5, -0.5]])
def test_fractions_that_are_no_shares_are_refused(fractions):
    with pytest.raises(ValueError, match="add up to 1"):
        stratified_split(torch.tensor([0, 1]), fractions, seed=0)


def test_minima_must_match_the_parts():
    with pytest.raises(ValueError, match="2 fractions but 1 minima"):
        stratified_split(torch.tensor([0, 1]), [0.5, 0.5], seed=0, minimum=[1])


def test_without_a_test_part_a_share_of_every_class_is_set_aside():
    train, test = set_aside_test(source([100, 40]), seed=0)
    assert torch.bincount(test.labels).tolist() == [15, 6]
    assert len(train) == 119
    assert not set(train.paths) & set(test.paths)


def test_the_sources_own_test_part_is_used_when_there_is_one():
    own = image_set([5, 5], "own")
    train, test = set_aside_test(source([8, 8], own), seed=0)
    assert test is own
    assert len(train) == 16


def test_three_images_of_a_class_are_enough_for_all_parts():
    train, test = set_aside_test(source([3, 50]), fraction=0.6, seed=0)
    parts = (test, *halves(train, seed=0))
    assert [torch.bincount(part.labels)[0].item() for part in parts] == [1, 1, 1]


def test_two_images_of_a_class_are_too_few_where_a_test_part_must_be_made():
    with pytest.raises(ValueError, match=r"pets: class 'class1' has 2 images; a search needs at least 3"):
        set_aside_test(source([9, 2]), seed=0)
    set_aside_test(source([9, 2], image_set([1, 1])), seed=0)
    with pytest.raises(ValueError, match="class 'class0' has 1 image; a search needs at least 2"):
        set_aside_test(source([1, 2], image_set([1, 1])), seed=0)


def test_a_test_part_of_everything_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        set_aside_test(source([9, 9]), fraction=1.0, seed=0)


def test_halves_are_disjoint_equal_and_differ_from_the_test_split_of_the_same_seed():
    images = image_set([40, 60])
    train, val = halves(images, seed=3)
    assert len(train) == len(val) == 50
    assert set(train.paths) | set(val.paths) == set(images.paths)
    rest, test = set_aside_test(source([40, 60]), fraction=0.5, seed=3)
    assert set(train.paths) not in (set(rest.paths), set(test.paths))
