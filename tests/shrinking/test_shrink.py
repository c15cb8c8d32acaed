"""A trained model becomes smaller: from data and a budget to a plain module with its report."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.batch import Batch
from dnas.core.choice import Choice
from dnas.core.run import Run
from dnas.core.schedule import Cosine
from dnas.cost import count_flops, count_parameters
from dnas.cost.budget import Budget
from dnas.searching.settings import SearchSettings, WeightSGD
from dnas.shrinking.importance import importance, ranking
from dnas.shrinking.load import described_example, example_of, load
from dnas.shrinking.program import Bound
from dnas.shrinking.report import mean_interval
from dnas.shrinking.rivals import random_widths, uniform_widths
from dnas.shrinking.rules import Rule
from dnas.shrinking.scratch import with_new_weights
from dnas.shrinking.searchable import make_searchable, widths
from dnas.shrinking.settings import ShrinkSettings
from dnas.shrinking.shrink import shrink
from dnas.shrinking.statistics import reestimate
from dnas.system.errors import UserError
from dnas.task import Classification, Regression
from dnas.task.batch_check import BatchCheck
from dnas.training.retrain import RetrainSettings
from tests.support.shrinking import ResNet, made

Data = list[tuple[Tensor, Tensor]]
SHORT = RetrainSettings(epochs=1, weights=WeightSGD(lr=Cosine(0.01, 0.0)))
QUICK = ShrinkSettings(steps=4, batches=1, statistics_batches=1, fine_tuning=SHORT, random=2, onnx=False)


def images(count: int, classes: int = 10) -> Data:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 3, 8, 8, generator=generator)
    return [(part, part.flatten(1).sum(1).long() % classes) for part in inputs.split(16)]


def infinite(layer: nn.Linear) -> nn.Module:
    nn.init.constant_(layer.weight, math.inf)
    return layer


@pytest.fixture
def resnet() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResNet()


def test_the_result_is_a_plain_smaller_module_within_the_budget(resnet: nn.Module):
    before = copy.deepcopy(resnet.state_dict())
    small = shrink(resnet, images(32), images(32), budget="flops<=40%", settings=QUICK)
    assert type(small) is ResNet and not small.training
    example = torch.zeros(1, 3, 8, 8)
    assert count_flops(small, example) <= 0.4 * count_flops(resnet, example)
    assert all(torch.equal(before[name], tensor) for name, tensor in resnet.state_dict().items())
    assert small(torch.zeros(5, 3, 8, 8)).shape == (5, 10)


def test_every_row_of_the_report_is_within_the_budget_and_measured(resnet: nn.Module):
    settings = replace(QUICK, from_scratch=1, scratch=SHORT)
    small = shrink(resnet, images(32), images(32), budget=("flops<=40%", "parameters<=60%"), settings=settings)
    report = small.shrink_report
    names = ["original", "found", "uniform", "uniform from scratch", "random 1", "random 2"]
    assert [row.name for row in report.rows] == names
    original = report.row("original")
    for row in report.rows[1:]:
        assert row.flops <= 0.4 * original.flops
        assert row.parameters <= 0.6 * original.parameters
        assert row.milliseconds > 0
    assert report.row("found").parameters == count_parameters(small)
    assert report.metric == "top1" and report.measured_on.startswith("the validation data, which decided")
    assert str(report).splitlines()[0].split()[:5] == ["top1", "95", "%", "loss", "parameters"]


def test_the_interval_of_a_mean_is_students():
    # t(0.975, 1) = tan(0.475 pi) = 12.706; the mean of 1 and 2 has the standard error 1 / 2.
    half = math.tan(0.475 * math.pi) / 2
    assert mean_interval([1.0, 2.0]) == pytest.approx((1.5 - half, 1.5 + half), rel=1e-9)


def test_a_model_that_decides_by_its_data_as_a_whole_is_refused_with_the_reason():
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            return self.second(y if y.mean() > 0 else -y)

    data = [(torch.ones(4, 3), torch.zeros(4, dtype=torch.int64))]
    with pytest.raises(UserError, match="the model decides in Python by values of the data"):
        shrink(Deciding(), data, data, budget="flops<=50%", settings=QUICK)


def test_a_training_function_of_the_users_serves_any_task():
    model, example = made("signal")
    data = [(example, torch.zeros(len(example), 1, dtype=torch.float64))]
    trained: list[nn.Module] = []

    def fine_tune(network: nn.Module) -> nn.Module:
        trained.append(network)
        return network

    small = shrink(model, data, data, budget="parameters<=50%", task=Regression(), settings=QUICK, fine_tune=fine_tune)
    assert small is trained[0]
    assert len(trained) == 4  # found, uniform and two random ones


def test_a_regression_is_fine_tuned_by_its_own_criterion():
    model, example = made("signal")
    data = [(example, torch.full((len(example), 1), 5.0, dtype=torch.float64))]
    small = shrink(model, data, data, budget="parameters<=50%", criterion="mse", settings=QUICK)
    assert small.shrink_report.metric == "loss"
    untrained = make_searchable(model, example).derive(small.shrink_report.selection)
    assert nn.functional.mse_loss(small(example), data[0][1]) < nn.functional.mse_loss(untrained(example), data[0][1])


@pytest.mark.parametrize("budget", ["flops<50%", "flops<=0", "flops<=120%", "watts<=3", ""])
def test_a_budget_that_is_none_is_refused(resnet: nn.Module, budget: str):
    with pytest.raises(UserError, match="budget"):
        shrink(resnet, images(16), images(16), budget=budget, settings=QUICK)


def test_a_budget_in_milliseconds_is_measured_and_the_decision_is_kept(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)  # both channels do something; of a dead one nothing says that it should stay
        model = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3))
        data = [(torch.randn(8, 4), torch.arange(8) % 3)]
    settings = replace(QUICK, random=0)
    run = Run(tmp_path / "small")
    budget = "milliseconds<=1000"
    small = shrink(model, data, data, budget=budget, settings=settings, run=run)
    decision = run.load_json("decision")["found"]
    assert decision["values"] == {"0": 2} and decision["factor"] == 1
    assert small.shrink_report.row("found").milliseconds == decision["milliseconds"]
    again = shrink(model, data, data, budget=budget, settings=settings, run=run)
    assert again.shrink_report.row("found").milliseconds == decision["milliseconds"]
    with pytest.raises(UserError, match="out of reach: milliseconds of this model can be from"):
        shrink(model, data, data, budget="milliseconds<=1e-9", settings=settings)


def test_a_run_folder_keeps_the_network_and_goes_on_with_what_is_done(resnet: nn.Module, tmp_path):
    run = Run(tmp_path / "small")

    def again(budget: str = "flops<=40%", **changed: Any) -> nn.Module:
        data, settings = images(32), replace(QUICK, random=0, **changed)
        return shrink(resnet, data, data, budget=budget, search_epochs=1, settings=settings, run=run)

    first = again()
    trained, searched = run.child("found").metrics(), run.child("search").metrics()
    assert searched[-1]["flops_use"] > 0
    (run.path / "importance.json").unlink()  # what is missing is worked out again, to the same bits
    second = again()
    assert run.child("found").metrics() == trained and run.child("search").metrics() == searched
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert run.load_json("shrink")["budget"] == ["flops<=40%"]
    loaded = load(run.path, model=ResNet)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), loaded.parameters(), strict=True))
    with pytest.raises(UserError, match="give the original"):
        load(run.path)
    with pytest.raises(UserError, match=r"is of another model: the one given has no stem\.0"):
        load(run.path, model=made("plain")[0].float())
    with pytest.raises(UserError, match="has begun with other budget"):
        again("flops<=50%")
    with pytest.raises(UserError, match="has begun with other settings"):
        again(steps=2)


def test_a_sensitivity_that_was_stopped_goes_on_to_the_same_bits(resnet: nn.Module, tmp_path):
    data, run = images(32), Run(tmp_path / "small")
    settings = replace(QUICK, random=0)
    first = shrink(resnet, data, data, budget="flops<=40%", settings=settings, run=run)
    kept = run.load_json("sensitivity")
    for name in ("found", "uniform"):
        shutil.rmtree(run.path / name)
    run.save_json("sensitivity", {**kept, "found": kept["found"][:3]})
    second = shrink(resnet, data, data, budget="flops<=40%", settings=settings, run=run)
    assert run.load_json("sensitivity") == kept
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_budget_out_of_reach_names_the_range(resnet: nn.Module):
    with pytest.raises(UserError, match=r"out of reach: parameters of this model can be from [\d,]+ .* to 9,938"):
        shrink(resnet, images(16), images(16), budget="parameters<=10", settings=QUICK)


def test_a_model_in_which_nothing_may_vary_is_refused(resnet: nn.Module):
    with pytest.raises(UserError, match="Nothing in this model may become smaller"):
        shrink(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), images(16), images(16), budget="flops<=50%")
    rules = [Rule("*", width=False, depth=False)]
    with pytest.raises(UserError, match="a rule keeps"):
        shrink(resnet, images(16), images(16), budget="flops<=50%", rules=rules, settings=QUICK)


def test_rules_keep_modules_by_name_by_class_and_by_predicate(resnet: nn.Module):
    example = torch.zeros(1, 3, 8, 8)

    def found(*rules: Rule) -> tuple[list[str], list[str]]:
        structure = make_searchable(resnet, example, rules=rules).structure
        return [group.name for group in structure.groups], [block.name for block in structure.blocks]

    assert found(Rule("layers.*", width=False)) == ([], ["layers.0", "layers.2"])
    assert found(Rule(nn.Linear, width=False))[0] == ["stem.0", "layers.0.conv1", "layers.1.conv1", "layers.2.conv1"]
    assert found(Rule(lambda name, module: name == "layers.2", depth=False))[1] == ["layers.0"]
    assert found(Rule("*", width=False), Rule("layers.0.*"))[0] == ["layers.0.conv1"]


def test_a_rule_is_for_all_that_lies_in_a_module_and_a_block_stays_with_what_must_stay(resnet: nn.Module):
    def found(*rules: Rule) -> tuple[list[str], list[str]]:
        structure = make_searchable(resnet, torch.zeros(1, 3, 8, 8), rules=rules).structure
        return [group.name for group in structure.groups], [block.name for block in structure.blocks]

    assert found(Rule("layers", width=False)) == ([], ["layers.0", "layers.2"])
    assert found(Rule("layers.2.conv1", depth=False))[1] == ["layers.0"]
    assert found(Rule("layers", width=False, depth=False), Rule("layers.2"))[1] == ["layers.2"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Rule("layer.*", width=False),
            r"No module with weights has the name 'layer\.\*' of a rule .*'layers\.0",
        ),
        (lambda: Rule("stem.2", width=False), "No module with weights has the name 'stem.2'"),
        (lambda: Rule(lambda name, module: module.missing), "A rule's function failed for the module '': Attrib"),
        (lambda: Rule(3), "where of a Rule must be a pattern of names, a class of modules, or a function.*; got 3"),
        (lambda: Rule(int), "where of a Rule must be"),
        (lambda: Rule("*", width="no"), "width must be True or False"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(resnet: nn.Module, make: Callable[[], Rule], message: str):
    with pytest.raises(UserError, match=message):
        make_searchable(resnet, torch.zeros(1, 3, 8, 8), rules=[make()])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.DataParallel(nn.Linear(3, 2)), "wrapped in DataParallel"),
        (nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2).double()), "several dtypes"),
        (nn.ReLU(), "no parameters"),
        (nn.Linear(3, 2, device="meta"), "on the device meta"),
        (nn.Sequential(Choice("act", [nn.ReLU(), nn.Tanh()]), nn.Linear(3, 2)), "part '0' still has choices"),
        (nn.Linear, "must be a trained torch.nn.Module; got the class Linear"),
        (infinite(nn.Linear(3, 2)), "weight holds NaN or infinity"),
        (nn.Linear(4, 2), r"refuses the example inputs \(RuntimeError"),
        (nn.Sequential(nn.LazyLinear(2)), "lazy layers without weights"),
        (nn.Linear(3, 2).state_dict(), "got a OrderedDict: load it into a model first"),
    ],
)
def test_models_that_cannot_be_shrunk_are_refused(model: nn.Module, message: str):
    with pytest.raises(UserError, match=message):
        make_searchable(model, torch.zeros(1, 3))


@pytest.mark.parametrize("example", [None, "photo.png", 3, np.zeros((1, 3))])
def test_an_example_without_a_tensor_is_refused(example: Any):
    with pytest.raises(UserError, match=r"example must be inputs as the model takes them.*; got"):
        make_searchable(nn.Linear(3, 2), example)


def test_what_cannot_be_meant_is_refused_and_the_model_left_as_it_was():
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).train()
    before = copy.deepcopy(model.state_dict())
    good = [(torch.ones(4, 3), torch.zeros(4, dtype=torch.int64))]

    def message(data: Any = good, **given: Any) -> str:
        with pytest.raises(UserError) as caught:
            shrink(model, data, data, **{"budget": "flops<=50%", "settings": QUICK, **given})
        return str(caught.value)

    assert "budget must be" in message(budget=3)
    assert "rules[0] must be a Rule" in message(rules=["*"])
    assert "search_epochs must be 0 (one-shot) or more" in message(search_epochs=-1)
    assert "fine_tune must be a function" in message(fine_tune="mine")
    assert "fine_tune must return the trained network; it returned None" in message(fine_tune=lambda network: None)
    assert "are no class of the network" in message([(torch.ones(4, 3), torch.full((4,), 7))])
    assert "batch 0 of train (epoch 0): its inputs hold NaN" in message([(torch.full((4, 3), math.nan), good[0][1])])
    assert "All weights of the model are frozen" in message(model.requires_grad_(False) and good)
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_widths_are_equal_steps_and_multiples_of_eight_where_there_are_many():
    assert widths(3, 8) == (1, 2, 3)
    assert widths(16, 4) == (4, 8, 12, 16)
    assert widths(100, 4) == (24, 48, 72, 100)


def test_importance_is_the_squared_first_order_effect_of_a_channel():
    """Two linear layers, one channel at a time: the sums of gradient times weight, by hand."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    inputs, targets = torch.randn(5, 3, dtype=torch.float64), torch.randint(0, 2, (5,))
    structure = make_searchable(model, inputs).structure
    found = importance(model, structure, [(BatchCheck("train", 1), 0, Batch(inputs, targets))], Classification())["0"]
    nn.functional.cross_entropy(model(inputs), targets).backward()
    rows, bias, columns = model[0].weight, model[0].bias, model[1].weight
    expected = (
        (rows * rows.grad).sum(1) ** 2 + (bias * bias.grad) ** 2 + (columns * columns.grad).sum(0) ** 2
    ).detach()
    assert_close(found, expected, rtol=1e-12, atol=0)
    assert ranking({"0": found})["0"][0] == int(expected.argmax())


def test_new_weights_are_other_ones_and_the_same_for_a_seed():
    networks = [ResNet() for _ in range(2)]
    before = networks[0].classifier.weight.detach().clone()
    for network in networks:
        with_new_weights(network, 3)
    assert all(torch.equal(a, b) for a, b in zip(*(network.parameters() for network in networks), strict=True))
    assert not torch.equal(before, networks[0].classifier.weight)
    with pytest.raises(UserError, match=r"\(VisionTransformer\) has weights of its own and no reset_parameters"):
        with_new_weights(made("vit")[0], 0)


def test_an_example_is_made_again_from_its_description():
    example = (torch.ones(2, 3), {"ids": torch.ones(4, dtype=torch.int64), "scale": 2.0, "mask": None})
    tensor, named = example_of(described_example(example))
    assert torch.equal(tensor, torch.zeros(2, 3))
    assert named["ids"].dtype == torch.int64 and named["scale"] == 2.0 and named["mask"] is None
    for damaged in ({"shape": [10**9], "dtype": "float32"}, {"shape": [1], "dtype": "nn"}, {"shape": [-1]}):
        with pytest.raises((ValueError, KeyError)):
            example_of(damaged)


def test_statistics_are_the_averages_over_the_batches():
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double().eval()
    batches = [Batch(torch.randn(6, 3, dtype=torch.float64), None) for _ in range(3)]
    reestimate(network, batches)
    values = [network[0](batch.inputs) for batch in batches]
    assert_close(network[1].running_mean, torch.stack([v.mean(0) for v in values]).mean(0), rtol=1e-12, atol=1e-12)
    assert_close(network[1].running_var, torch.stack([v.var(0) for v in values]).mean(0), rtol=1e-12, atol=1e-12)
    assert network[1].momentum == 0.1 and not network[1].training


def test_uniform_and_random_widths_use_the_budget_and_do_not_pass_it(resnet: nn.Module):
    searchable = make_searchable(resnet, torch.zeros(1, 3, 8, 8))
    most = 0.4 * searchable.flops.of(searchable.largest)
    bounds = [Bound(searchable.flops, most)]
    uniform = uniform_widths(searchable, bounds)
    assert uniform is not None and 0.8 * most <= searchable.flops.of(uniform) <= most
    generator = torch.Generator().manual_seed(0)
    drawn = [random_widths(searchable, bounds, generator) for _ in range(5)]
    for values in drawn:
        assert values is not None and 0.95 * most <= searchable.flops.of(values) <= most
    assert len({tuple(values.items()) for values in drawn if values}) == 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 1}, "steps must be at least 2; got 1"),
        ({"random": -1}, "random must be at least 0"),
        ({"search": SearchSettings(epochs=3)}, "give the length of the masked search as search_epochs"),
        ({"search": SearchSettings(epochs=1, budget=Budget(("flops<=50%",)))}, "no budget and no stages of its own"),
    ],
)
def test_settings_out_of_range_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ShrinkSettings(**given)


GOOD = images(32, classes=3)
BAD_LABEL = (GOOD[1][0], torch.full((16,), 3))
NAN_INPUTS = (GOOD[1][0] * math.nan, GOOD[1][1])
TWO_BATCHES = replace(QUICK, batches=2, statistics_batches=2, random=1)


def three_classes() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (BAD_LABEL, "[Bb]atch 1 of {} "),
        ((GOOD[1][0][:, :2], GOOD[1][1]), "[Bb]atch 1 of {} "),
        (NAN_INPUTS, "batch 1 of {} .*: its inputs hold NaN or infinity in 16 of 16 samples"),
    ],
    ids=["label", "shape", "NaN"],
)
@pytest.mark.parametrize("loader", ["train", "validation"])
def test_a_batch_that_does_not_fit_is_named_before_anything_is_trained(bad, words, loader):
    data = {"train": GOOD, "validation": GOOD, loader: [GOOD[0], bad]}
    with pytest.raises(UserError, match=words.format(loader)):
        shrink(three_classes(), data["train"], data["validation"], budget="flops<=50%", settings=TWO_BATCHES)


def test_batches_that_are_not_finite_are_left_out_if_the_fine_tuning_leaves_them_out():
    settings = replace(TWO_BATCHES, fine_tuning=replace(SHORT, skip_non_finite=9))
    found = shrink(three_classes(), [GOOD[0], NAN_INPUTS], GOOD, budget="flops<=50%", settings=settings)
    alone = shrink(three_classes(), GOOD[:1], GOOD, budget="flops<=50%", settings=settings)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), alone.parameters(), strict=True))
    with pytest.raises(UserError, match="first 2 batches of validation all hold NaN"):
        shrink(three_classes(), GOOD, [NAN_INPUTS] * 2, budget="flops<=50%", settings=settings)
