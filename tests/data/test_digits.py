"""The digits are scikit-learn's, as bytes."""

import torch
from sklearn import datasets

from dnas.data import load_digits, load_source


def test_digits_are_the_grey_levels_spread_over_a_byte():
    digits = load_digits()
    original = torch.from_numpy(datasets.load_digits().images)
    assert digits.images.shape == (1797, 1, 8, 8)
    assert torch.equal(digits.images[:, 0].double(), (original * 255 / 16).round())
    assert torch.equal(digits.labels, torch.from_numpy(datasets.load_digits().target))
    assert digits.class_names == tuple("0123456789")


def test_digits_can_be_asked_for_at_another_size():
    source = load_source("digits", size=16)
    assert source.train.images.shape == (1797, 1, 16, 16)
    assert source.rule.size == 16
    assert source.train.paths[3] == "digits[3]"
