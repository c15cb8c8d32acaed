"""Settings and states are compared place by place, and the first difference is told in words."""

import json
from dataclasses import dataclass

import pytest
import torch

from dnas import BetaDecay, Constant, GumbelSoftmax, NasBench201Space, SearchSettings
from dnas.jobs.job import Job
from dnas.system.difference import first_difference, fixed_settings, free
from dnas.system.plain_data import to_plain

SPACE = NasBench201Space()


def test_the_same_settings_do_not_differ():
    job = Job(search=SearchSettings(relaxation=GumbelSoftmax(), penalties=(BetaDecay(),)))
    assert first_difference(json.loads(json.dumps(to_plain(job))), job) == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (Job(channels=4), "channels is None there and 4 here"),
        (Job(search=SearchSettings(epochs=3)), "search.epochs is 50 there and 3 here"),
        (
            Job(search=SearchSettings(relaxation=GumbelSoftmax())),
            "search.relaxation is dnas.Softmax there and dnas.GumbelSoftmax here",
        ),
        (Job(space=SPACE), "space is dnas.DartsSpace there and dnas.NasBench201Space here"),
    ],
)
def test_the_first_other_setting_is_named(changed: Job, message: str):
    assert first_difference(to_plain(Job()), changed) == message


def test_arguments_of_parts_in_lists_are_compared():
    one, other = (Job(search=SearchSettings(penalties=(BetaDecay(Constant(value)),))) for value in (0.5, 0.25))
    difference = first_difference(to_plain(one), other)
    assert difference == "search.penalties[0].weight.value is 0.5 there and 0.25 here"
    assert "search.penalties is" in first_difference(to_plain(one), Job())


def test_what_does_not_matter_is_passed_over():
    there = to_plain(Job(threads=1, search=SearchSettings(epochs=1)))
    assert first_difference(there, Job(), ignored=("threads", "search.epochs")) == ""


@dataclass(frozen=True)
class Old:
    kept: int = 1


@dataclass(frozen=True)
class New:
    kept: int = 1
    added: int = 2


def test_a_setting_that_was_added_later_counts_as_its_default():
    assert first_difference(to_plain(Old()), New()) == ""
    assert first_difference(to_plain(Old()), New(added=3)) == "added is 2 there and 3 here"


def test_a_setting_that_is_gone_is_a_difference():
    assert first_difference(to_plain(New()), Old()) == "added is unknown here"


@dataclass(frozen=True)
class Noisy:
    seed: int = 0
    log_every: int = free(50)


def test_a_free_setting_may_differ_and_may_be_missing_on_either_side():
    assert first_difference({"seed": 0, "log_every": 1}, Noisy()) == ""
    assert first_difference(fixed_settings(Noisy(log_every=1)), Noisy(log_every=2)) == ""
    assert first_difference({"seed": 1, "log_every": 1}, Noisy()) == "seed is 1 there and 0 here"


def test_of_tensors_the_shapes_are_compared():
    there, here = {"weight": torch.zeros(2, 3)}, {"weight": torch.ones(2, 3)}
    assert first_difference(there, here) == ""
    here["weight"] = torch.ones(3)
    found = first_difference(there, here, place="model")
    assert found == "model.weight is a tensor of shape (2, 3) there and a tensor of shape (3,) here"
    assert first_difference({}, {"weight": torch.ones(3)}) == (
        "weight is missing there and a tensor of shape (3,) here"
    )


def test_of_tensors_it_matters_whether_they_hold_whole_numbers():
    whole, single, double = (torch.zeros(2, dtype=dtype) for dtype in (torch.int64, torch.float32, torch.float64))
    assert first_difference({"steps": single}, {"steps": double}) == ""
    assert first_difference({"steps": whole}, {"steps": single}) == (
        "steps is a tensor of shape (2,) of torch.int64 there and a tensor of shape (2,) here"
    )


@pytest.mark.parametrize("there", [None, 3, "x", [1, 2], {"a": 1}, torch.zeros(2)])
def test_data_of_another_kind_is_a_difference(there):
    assert first_difference(there, Noisy(), place="settings").startswith("settings")
    assert first_difference(there, [1], place="list").startswith("list is")


def test_the_two_can_have_names_of_their_own():
    assert first_difference({"a": 1}, {"a": 2}, words=("in one", "in two")) == "a is 1 in one and 2 in two"
