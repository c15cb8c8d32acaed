"""Sets of labels that go together."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_array_equal

from dnas.shrinking.channels import FIXED, Channels, compress, overlap


def test_tied_labels_have_one_root_and_others_their_own():
    channels = Channels()
    a, b = channels.new(3), channels.new(3)
    channels.tie(a[:2], b[:2], "sum")
    roots_a, roots_b = channels.roots(a), channels.roots(b)
    assert_array_equal(roots_a[:2], roots_b[:2])
    assert roots_a[2] != roots_b[2]
    assert len({*roots_a.tolist(), *roots_b.tolist()}) == 4


def test_ties_broadcast():
    channels = Channels()
    rows, whole = channels.new(2).reshape(2, 1), channels.new(6).reshape(2, 3)
    channels.tie(rows, whole, "sum")
    assert_array_equal(channels.roots(whole), np.broadcast_to(channels.roots(rows), (2, 3)))


def test_tying_along_a_dimension_joins_what_differs_only_there():
    channels = Channels()
    labels = channels.new(6).reshape(2, 3)
    channels.tie_along(labels, (0,), "blocks")
    roots = channels.roots(labels)
    assert_array_equal(roots[0], roots[1])
    assert len(set(roots[0].tolist())) == 3


def test_a_frozen_label_freezes_all_that_it_is_tied_to_before_and_after():
    channels = Channels()
    a, b, c = channels.new(1), channels.new(1), channels.new(1)
    channels.tie(a, b, "before")
    channels.freeze(a, "the reason")
    channels.tie(b, c, "after")
    assert_array_equal(channels.roots(np.concatenate([a, b, c])), [FIXED] * 3)
    assert [*channels.reasons(c)] == ["the reason"]


def test_a_label_beside_a_fixed_one_is_frozen_for_that_reason():
    channels = Channels()
    a = channels.new(2)
    channels.tie(a, np.array([FIXED, a[1]]), "met a constant")
    assert_array_equal(channels.roots(a), [FIXED, a[1]])
    assert [*channels.reasons(a)] == ["met a constant"]


def test_compressing_keeps_a_dimension_where_labels_differ_and_no_other():
    labels = np.broadcast_to(np.array([[1], [2]]), (4, 2, 3))
    assert_array_equal(compress(labels), np.array([[[1], [2]]]))


def test_rows_and_columns_of_a_weight_do_not_overlap():
    assert not overlap(np.ones((3, 1)), np.ones((1, 4)))
    assert overlap(np.ones((3, 1)), np.ones((3, 4)))
