"""A user's own module beside random architectures of it, from the weights that it came with."""

import pytest
import torch
from torch import nn

import dnas
from dnas.core.run import Run
from dnas.system.errors import UserError
from dnas.training.own_baseline import random_architecture

SEARCH = dnas.SearchSettings(epochs=2, warmup_epochs=0)
RETRAIN = dnas.RetrainSettings(epochs=2, weights=dnas.WeightSGD(lr=dnas.Constant(0.05)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 5)
        self.act = dnas.Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh(), "wide": nn.Linear(5, 5)})
        self.head = nn.Linear(5, 1)

    def forward(self, x):
        return self.head(self.act(self.body(x)))


def batches(seed: int, count: int = 2) -> list:
    inputs = torch.randn(count, 10, 4, generator=torch.Generator().manual_seed(seed))
    return [(x, x.square().sum(1, keepdim=True)) for x in inputs]


TRAIN, VAL, TEST = batches(0), batches(1), batches(2)


def searched(run: Run, model: nn.Module) -> dnas.SearchResult:
    return dnas.search(model, TRAIN, VAL, task=dnas.Regression(), settings=SEARCH, run=run)


def compared(run: Run, model, **changes) -> dnas.Baseline:
    given = {"run": run, "task": dnas.Regression(), "num": 2, "settings": RETRAIN, **changes}
    return dnas.baseline(model, TRAIN, VAL, TEST, **given)


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path / "run")


def test_all_networks_start_from_the_weights_that_the_module_came_with(run):
    torch.manual_seed(0)
    net = Net()
    before = net.head.weight.detach().clone()
    found = searched(run, net)
    assert not torch.equal(net.head.weight, before)  # it has been searched
    still = dnas.RetrainSettings(epochs=1, weights=dnas.WeightSGD(lr=dnas.Constant(1e-30), weight_decay=0.0, clip=None))
    compared(run, net, settings=still)
    for folder in ("retrain", "baseline/000", "baseline/001"):
        assert torch.equal(run.child(folder).load_checkpoint("last")["network"]["head.weight"], before)
    assert torch.equal(found.network().head.weight, before)


def test_a_class_and_the_searched_module_give_the_same_comparison(run, tmp_path):
    net = Net()
    found = searched(run, net)
    one = compared(run, net)
    other = Run(tmp_path / "other")
    other.save_architecture(found.architecture)
    other.save_json("search", run.load_json("search"))
    other.save_checkpoint("start", run.load_checkpoint("start"))
    two = compared(other, Net)
    assert [row.test for row in one.comparison.random] == [row.test for row in two.comparison.random]
    assert one.comparison.found.test == two.comparison.found.test


def test_the_found_network_of_a_finished_retraining_is_only_measured(run):
    found = searched(run, Net())
    network = dnas.retrain(
        found.network(), TRAIN, task=dnas.Regression(), settings=RETRAIN, run=run.child("retrain"), validation=VAL
    )
    row = compared(run, Net).comparison.found
    assert row.test == dnas.evaluate(network, TEST, task=dnas.Regression()).value("mse")
    assert row.seconds == run.child("retrain").load_json("retrain")["seconds"]


def test_the_comparison_is_in_the_folder_as_table_and_numbers(run):
    searched(run, Net())
    result = compared(run, Net)
    assert (run.path / "baseline" / "comparison.txt").read_text() == f"{result}\n"
    data = run.child("baseline").load_json("comparison")
    assert (data["metric"], data["better"], data["num_test"]) == ("mse", "lower", 20)
    assert data["found"]["test"] == result.comparison.found.test


def test_a_module_that_may_have_been_searched_is_refused_where_no_weights_were_kept(run):
    found = searched(run, Net())
    run.checkpoint_path("start").unlink()
    with pytest.raises(UserError, match="may have been searched: give a function that makes a new one"):
        compared(run, found.supernet.model)
    assert compared(run, Net).comparison.random


def test_what_makes_no_module_is_refused(run):
    searched(run, Net())
    with pytest.raises(UserError, match="function that makes one, such as its class; got a int"):
        compared(run, lambda: 3)


def test_a_search_that_goes_on_keeps_the_weights_with_which_it_began(run):
    torch.manual_seed(0)
    first = Net()
    before = first.head.weight.detach().clone()
    searched(run, first)
    assert torch.equal(searched(run, Net()).network().head.weight, before)


def test_random_architectures_are_the_same_for_a_seed_and_leave_out_what_may_not_be_kept():
    choice = dnas.Choice("c", {"a": nn.ReLU(), "b": nn.Tanh(), "none": dnas.Zero()}, excluded=["none"])
    both = {**{d.name: d for d in choice.decisions()}, **{d.name: d for d in dnas.InputChoice("i", "xyz").decisions()}}
    drawn = [random_architecture(both, 3, index) for index in range(40)]
    assert drawn == [random_architecture(both, 3, index) for index in range(40)]
    assert {one.decisions["c"] for one in drawn} == {"a", "b"}
    assert {one.decisions["i"] for one in drawn} == {("x",), ("y",), ("z",)}
