"""An observer that would see nothing in a search is refused, and says what to use instead."""

import pytest

from dnas import AdaptiveDecay, EigenvalueStop, HessianEigenvalue, OperationFreeze, SkipStop
from dnas.observer import check_observers

ALL = (HessianEigenvalue(), EigenvalueStop(), AdaptiveDecay(), OperationFreeze(), SkipStop())
PLAIN = {
    "trains_alphas": True,
    "one_level": False,
    "needs_training": False,
    "weight_decay": 3e-4,
    "in_stages": False,
}


def test_a_plain_search_shows_something_to_all():
    check_observers(ALL, **PLAIN)
    check_observers((), trains_alphas=False, one_level=True, needs_training=True, weight_decay=0.0, in_stages=True)


@pytest.mark.parametrize(
    ("setting", "refused", "why"),
    [
        ({"trains_alphas": False}, ALL[:3], "no alphas are trained: .*dnas.Softmax"),
        ({"trains_alphas": False}, ALL[3:4], "there is no second: .*dnas.Softmax"),
        ({"one_level": True}, ALL[3:4], "from one batch with one_level: .*two levels"),
        ({"needs_training": True}, ALL[4:], "only at the end: use dnas.Argmax"),
        ({"weight_decay": 0.0}, ALL[2:3], "which is 0: give them a larger one"),
        ({"in_stages": True}, ALL[2:3], "goes back .* search without stages"),
    ],
)
def test_those_that_would_see_nothing_are_refused_by_name(setting, refused, why):
    for observer in refused:
        with pytest.raises(ValueError, match=f"^{type(observer).__name__} .*{why}"):
            check_observers((observer,), **{**PLAIN, **setting})


@pytest.mark.parametrize(
    ("setting", "fine"),
    [
        ({"trains_alphas": False}, ALL[4:]),
        ({"one_level": True}, (*ALL[:3], ALL[4])),
        ({"needs_training": True}, ALL[:4]),
        ({"weight_decay": 0.0}, (*ALL[:2], *ALL[3:])),
        ({"in_stages": True}, (*ALL[:2], *ALL[3:])),
    ],
)
def test_the_others_are_not(setting, fine):
    check_observers(fine, **{**PLAIN, **setting})
