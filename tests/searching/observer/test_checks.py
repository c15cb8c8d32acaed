"""An observer that would see nothing in a search is refused, and says what to use instead."""

import pytest

from dnas import (
    AdaptiveDecay,
    EigenvalueStop,
    HessianEigenvalue,
    Observer,
    OperationFreeze,
    SearchSettings,
    Sharpening,
    SkipStop,
    search,
)
from dnas.jobs.job import Job
from dnas.searching.observer import check_length, check_observers
from tests.support.method import TRAIN, VAL, new_supernet

ALL = (HessianEigenvalue(), EigenvalueStop(), AdaptiveDecay(), OperationFreeze(), SkipStop())
AT_ONCE = Sharpening(delta=1, window=1, start=0)
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
        ({"one_level": True}, ALL[:3], "the batch of the alphas is that of the weights: .*two levels"),
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
        ({"one_level": True}, ALL[4:]),
        ({"needs_training": True}, ALL[:4]),
        ({"weight_decay": 0.0}, (*ALL[:2], *ALL[3:])),
        ({"in_stages": True}, (*ALL[:2], *ALL[3:])),
    ],
)
def test_the_others_are_not(setting, fine):
    check_observers(fine, **{**PLAIN, **setting})


# RobustDARTS as in the paper, measured after every second epoch: the first growth is told in epoch 23.
ES, ADA = EigenvalueStop(Sharpening(every=2)), AdaptiveDecay(Sharpening(every=2))


@pytest.mark.parametrize(
    ("observer", "first", "epochs"),
    [(ES, 1, 24), (ADA, 1, 24), (ES, 21, 34), (EigenvalueStop(), 1, 18), (EigenvalueStop(AT_ONCE), 3, 5)],
)
def test_one_that_waits_longer_than_the_search_lasts_is_refused(observer: Observer, first: int, epochs: int):
    check_length((SkipStop(), observer), first=first, last=epochs)
    what = (
        f"^{type(observer).__name__} can .* a search of {epochs} epochs or more .* this one has {epochs - 1}: .*longer"
    )
    with pytest.raises(ValueError, match=what):
        check_length((SkipStop(), observer), first=first, last=epochs - 1)


def test_a_search_and_a_job_ask_for_it_and_for_what_goes_together():
    settings = SearchSettings(observers=(ES,), epochs=24, warmup_epochs=24)  # in which alphas are never trained
    for begin in (lambda: search(new_supernet(), TRAIN, VAL, settings=settings), lambda: Job(search=settings)):
        with pytest.raises(ValueError, match=r"EigenvalueStop can end a search of .* epochs or more"):
            begin()
    with pytest.raises(ValueError, match=r"HessianEigenvalue looks at .* with one_level"):
        search(
            new_supernet(),
            TRAIN,
            VAL,
            settings=SearchSettings(one_level=True, epochs=1),
            observers=[HessianEigenvalue()],
        )
