"""What is said of the spaces agrees with the spaces."""

import json

import pytest
import torch

import dnas
from dnas import NasBench201Space, Space
from dnas.cost import count_parameters
from dnas.jobs.list_spaces import EXAMPLES, Images, facts_of
from tests.support.cli import done, refused


def test_every_public_space_is_listed():
    public = {kind for kind in vars(dnas).values() if isinstance(kind, type) and issubclass(kind, Space)} - {Space}
    assert public <= {type(example.space) for example in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.space.name}")
def test_each_space_can_be_described(example):
    facts = facts_of(example, num=2)
    low, mean, high = facts.parameters
    assert 0 < low <= mean <= high
    assert facts.architectures == example.space.size()
    assert facts.summary
    assert not any(name.startswith("#") for name in facts.candidates)


def test_the_range_is_that_of_the_networks_drawn():
    space, generator = NasBench201Space(), torch.Generator().manual_seed(3)
    networks = [space.network(space.random(generator), channels=4, cells=1, num_classes=10) for _ in range(5)]
    counts = [count_parameters(network) for network in networks]
    facts = facts_of(Images(space, channels=4, cells=1), num=5, seed=3)
    assert facts.parameters == (min(counts), sum(counts) / 5, max(counts))


def test_nothing_is_drawn_from_the_global_generator():
    before = torch.get_rng_state()
    facts_of(EXAMPLES[0], num=1)
    assert torch.equal(before, torch.get_rng_state())


def test_the_command_prints_text_and_json():
    text = done("spaces", "--num", "1")
    assert "architectures: 15,625; decisions: 6" in text
    data = json.loads(done("spaces", "--num", "1", "--json"))
    assert {entry["name"] for entry in data} == {example.space.name for example in EXAMPLES}
    assert data[0]["parameters"]["min"] == data[0]["parameters"]["max"]


def test_no_random_architecture_at_all():
    assert "num must be at least 1" in refused("spaces", "--num", "0")
