"""Tables of milliseconds: predictions from measured candidates, as files."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from dnas.core.choice import Choice
from dnas.cost.decomposition import Decomposition
from dnas.cost.delivered import DerivedNetwork
from dnas.cost.milliseconds import Fit, Host, Milliseconds, measure_milliseconds
from dnas.cost.needed import needs_all
from dnas.cost.stopwatch import Stopwatch, Work, measured
from dnas.space import MobileSpace, NasBench201Space
from dnas.space.delivered import NetworkSizes, SpaceNetwork
from dnas.system.errors import UserError

DELIVERED = SpaceNetwork(NasBench201Space(), NetworkSizes(4, 1, 3, 1, 8), "cpu")


def table(**changes) -> Milliseconds:
    host = Host.here("torch", torch.device("cpu"), 2)
    cost = Decomposition(1.5, {"cell": ((0.0, 0.1, 0.2, 0.3, 0.4),) * 6}, {("cell", "cell"): ((1.0,),)})
    sizes = json.loads(json.dumps(DELIVERED.sizes))
    return replace(Milliseconds(host, sizes, cost, Fit.of([1.0, 2.0], [1.1, 1.9])), **changes)


class Known(Work):
    """Takes so many milliseconds."""

    def __init__(self, milliseconds: float):
        self.known = float(milliseconds)

    def turn(self) -> None:
        pass

    @property
    def milliseconds(self) -> float:
        return self.known


class Counted(Stopwatch):
    """A clock that knows what everything takes: 1 for each parameter."""

    def part(self, module, inputs) -> Work:
        return Known(sum(weight.numel() for weight in module.parameters()))

    def network(self, network, inputs) -> Work:
        return Known(1000 + sum(weight.numel() for weight in network.parameters()))


@pytest.mark.parametrize(
    "delivered",
    [
        DELIVERED,
        SpaceNetwork(MobileSpace(layers=1, stages=2, width_multipliers=(0.5, 1.0)), NetworkSizes(4, 2, 3, 1, 8), "cpu"),
    ],
    ids=["nasbench201", "mobile"],
)
def test_what_is_a_sum_is_predicted_exactly(delivered):
    generator = torch.Generator().manual_seed(0)
    draws = [delivered.space.random(generator).decisions for _ in range(300)]
    found = measure_milliseconds(delivered, Counted(), lambda index: draws[index])
    assert found.fit.largest_error < 1e-12
    needed = [kept for kept in draws if needs_all(kept)]
    measured = [Counted().network(delivered.network(kept), ()).milliseconds for kept in needed]
    assert found.fit.measured == tuple(measured[10:30])


def test_a_user_s_own_model_is_measured_too():
    model = nn.Sequential(nn.Linear(4, 4), Choice("op", {"linear": nn.Linear(4, 4), "skip": nn.Identity()}))
    draws = [{"op": name} for name in ("linear", "skip") * 15]
    found = measure_milliseconds(DerivedNetwork(model, torch.zeros(1, 4)), Counted(), lambda index: draws[index])
    assert found.cost.single["op"] == (pytest.approx((20.0, 0.0)),)
    assert found.cost.constant == pytest.approx(1020.0)


def test_milliseconds_of_networks_have_a_scale_of_their_own_as_far_as_measurements_tell():
    model = nn.Sequential(*(Choice(f"op{i}", {"linear": nn.Linear(4, 4), "skip": nn.Identity()}) for i in range(3)))
    delivered = DerivedNetwork(model, torch.zeros(1, 4))
    draws = [{f"op{i}": ("linear", "skip")[index >> i & 1] for i in range(3)} for index in range(30)]

    class Slower(Counted):
        def network(self, network, inputs) -> Work:
            return Known(7 + 1.5 * sum(weight.numel() for weight in network.parameters()))

    found = measure_milliseconds(delivered, Slower(), lambda index: draws[index])
    assert found.cost.single["op0"] == (pytest.approx((30.0, 0.0)),)
    assert found.cost.constant == pytest.approx(7.0)
    same = measure_milliseconds(delivered, Slower(), lambda index: draws[0])  # nothing to learn a scale from
    assert same.cost.single["op0"] == ((20.0, 0.0),)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_milliseconds_of_a_module_are_above_nothing(runtime):
    module = nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(4))).eval()
    inputs = (torch.zeros(1, 8, 32, 32),)
    assert measured(Stopwatch(runtime).part(module, inputs)) > 0
    assert measured(Stopwatch(runtime).network(module, inputs)) > 0


def test_a_table_comes_back_from_its_file_as_it_was(tmp_path):
    table().save(tmp_path / "table.json")
    assert Milliseconds.load(tmp_path / "table.json") == table()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.clear(), "is no table of milliseconds"),
        (lambda data: data.update(format_version=9), "format_version 9; expected 1"),
        (lambda data: data.pop("cost"), r"is damaged \(KeyError"),
        (lambda data: data["cost"].update(constant="much"), "'much' is no number"),
        (lambda data: data["cost"]["single"].update(cell=[[1, None]]), "None is no number"),
        (lambda data: data["cost"].update(pairs=3), "is damaged"),
        (lambda data: data["host"].update(runtime="tvm"), "runtime 'tvm'"),
        (lambda data: data["host"].pop("threads"), "is damaged"),
        (lambda data: data["fit"].update(measured=7), "is damaged"),
    ],
)
def test_a_damaged_table_is_refused_with_what_to_do(tmp_path, change, message):
    path = tmp_path / "table.json"
    table().save(path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=message) as error:
        Milliseconds.load(path)
    assert "table.json" in str(error.value)


def test_a_table_of_other_sizes_is_refused_with_both():
    table().check_sizes(DELIVERED, "t.json")
    wider = replace(DELIVERED, network_sizes=NetworkSizes(8, 1, 3, 1, 8))
    with pytest.raises(UserError, match="networks with channels 4; the budget is about networks with channels 8"):
        table().check_sizes(wider, "t.json")


def test_a_table_whose_numbers_do_not_fit_the_space_is_refused():
    short = replace(table().cost, single={"cell": ((0.0, 0.1),) * 6})
    with pytest.raises(UserError, match="do not fit the space"):
        table(cost=short).check_sizes(DELIVERED, "t.json")


def test_a_table_of_this_machine_has_to_be_of_as_many_threads():
    cpu = torch.device("cpu")
    table().check_threads(cpu, 2, "t.json")
    with pytest.raises(UserError, match="made with 2 threads and the networks are to run with 1: give --threads 2"):
        table().check_threads(cpu, 1, "t.json")
    elsewhere = table(host=Host("torch", "another processor", "cpu", 2))
    elsewhere.check_threads(cpu, 1, "t.json")
    assert not elsewhere.is_of_here(cpu)
    assert table().is_of_here(cpu)
