"""`dnas search --budget` and what the commands after it make of the budget."""

import json
from dataclasses import replace

import pytest
import torch

from dnas import Architecture, Budget, SearchSettings, Silent, load
from dnas.cli.arguments import Arguments, Option
from dnas.cli.budget import with_budget, with_finalists
from dnas.cli.compare import COMMAND, jobs_of
from dnas.cli.parser import parse
from dnas.cost import count_flops, count_parameters
from dnas.finalists.settings import WITHIN_BUDGET, FinalistSettings
from dnas.jobs.job import Job
from tests.support.cli import SMALL, done, make_photos, refused


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos") / "images", grey=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory, photos):
    """A search within two budgets, retrained, beside random networks."""
    folder = tmp_path_factory.mktemp("budget") / "run"
    out = done(
        *("search", "--data", photos, "--run", folder, *SMALL, "--budget", "flops<=75%,parameters<=5k"),
        *("--finalists", 0),
        *("--baseline", "random", "--num_random", 2),
    )
    (folder / "said.txt").write_text(out)
    return folder


@pytest.mark.slow
def test_the_range_is_told_first_and_the_retrained_network_meets_what_was_asked(run):
    said = (run / "said.txt").read_text()
    assert said.index("Budget of the retrained network") < said.index("Found after")
    budget = json.loads((run / "budget.json").read_text())
    network = load(run)
    counted = [count_flops(network, torch.zeros(1, 1, 8, 8)), count_parameters(network)]
    assert [limit["cost"] for limit in budget["limits"]] == counted
    assert all(limit["cost"] <= limit["most"] for limit in budget["limits"])
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = [row for row in rows if "flops_use" in row]
    assert len(found) == 2
    for row in found:
        assert row["flops_use"] == pytest.approx(row["expected_flops"] / budget["limits"][0]["most"])


@pytest.mark.parametrize(
    ("budget", "given", "finalists"),
    [
        ("flops<=50%", (), WITHIN_BUDGET),
        ("flops<=50%,parameters<=9k", ("--run",), WITHIN_BUDGET),
        ("flops<=50%", ("--finalists.num",), FinalistSettings()),
        ("flops<=50%,milliseconds<=9", (), FinalistSettings()),
        (None, (), FinalistSettings()),
    ],
)
def test_within_an_exact_budget_there_are_finalists_if_nothing_is_said_of_them(budget, given, finalists):
    job = with_budget(Job(data="digits"), budget)
    words = Arguments(tuple(Option(name, ("0",)) for name in given))
    assert with_finalists(job, words).finalists == finalists


@pytest.mark.parametrize(("more", "finalists"), [((), WITHIN_BUDGET), (("--finalists", "0"), FinalistSettings())])
def test_a_row_of_a_comparison_has_the_budget_and_the_finalists_of_a_search(more, finalists):
    words = ("--recipes", "default", "darts_1st", "--data", "digits", "--budget", "flops<=50%", "--run", "out", *more)
    config, given = parse(COMMAND, words)
    for job in jobs_of(config.recipes, given, config.budget, Silent()).values():
        assert job.search.budget == Budget(("flops<=50%",))
        assert job.finalists == finalists


def test_finalists_that_a_recipe_asks_for_stay():
    job = replace(with_budget(Job(data="digits"), "flops<=50%"), finalists=FinalistSettings(num=4))
    assert with_finalists(job, Arguments()) == job


def test_a_comparison_within_milliseconds_is_refused_before_anything_begins(tmp_path):
    words = (
        "compare",
        "--recipes",
        "default",
        "--data",
        "digits",
        "--budget",
        "milliseconds<=8",
        "--run",
        tmp_path / "out",
    )
    assert "dnas compare has no budget in milliseconds" in refused(*words)
    assert not (tmp_path / "out").exists()


def test_the_budget_of_the_command_line_takes_the_place_of_a_recipes_limits_and_leaves_its_price():
    unpriced = Job(data="digits", search=SearchSettings(budget=Budget(("flops<=50%",), priced=False)))
    assert with_budget(unpriced, "parameters<=9k").search.budget == Budget(("parameters<=9k",), priced=False)


@pytest.mark.slow
def test_random_networks_of_the_baseline_are_within_the_budget(run):
    limits = json.loads((run / "budget.json").read_text())["limits"]
    for row in json.loads((run / "baseline" / "results.json").read_text())["rows"]:
        assert row["parameters"] <= limits[1]["most"]


@pytest.mark.slow
def test_retraining_at_other_sizes_is_checked_again(run, tmp_path):
    (run / "retrain").rename(tmp_path / "before")
    message = refused("retrain", run, "--channels", 16, "--epochs", 1)
    assert "The budget parameters<=5000 is 5,000 parameters, below the smallest network" in message
    (tmp_path / "before").rename(run / "retrain")


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("flops<=10", ("below the smallest network", "Give flops<=")),
        ("joules<=3", ("unit 'joules'", "known are flops")),
        ("flops<=many", ("number above 0", "'many'")),
        ("flops<=150%", ("above 100 %",)),
        ("flops<=50%,flops<=40%", ("one limit in flops",)),
        ("flops", ("UNIT<=NUMBER",)),
    ],
)
def test_a_budget_that_cannot_be_is_one_line_and_leaves_no_folder(photos, tmp_path, budget, words):
    message = refused("search", "--data", photos, "--run", tmp_path / "run", *SMALL, "--budget", budget)
    assert all(word in message for word in words), message
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_front_has_the_best_architecture_for_each_budget_and_retrains_what_is_asked_for(run):
    out = done("front", run, "--budget", "parameters", "--at", "100%", "80%", "--retrain", 2)
    folder = run / "front" / "parameters"
    small, large = json.loads((folder / "front.json").read_text())
    assert small["limit"] == "parameters<=80%"
    assert small["costs"]["parameters"] <= small["most"] < large["most"]
    assert large["trained"]["parameters"] == large["costs"]["parameters"]
    assert (folder / "front.txt").read_text().strip() in out
    picture = (folder / "front.svg").read_text()
    assert picture.startswith("<svg")
    assert ">2</text>" in picture
    assert "parameters&lt;=" not in picture  # such names would lie upon each other
    trained = Architecture.from_json(json.dumps(large["trained"]["architecture"]))
    assert Architecture.load(folder / "2.json") == trained
    evenly = done("front", run, "--points", 3)
    costs = [entry["costs"]["flops"] for entry in json.loads((run / "front" / "flops" / "front.json").read_text())]
    assert costs == sorted(costs)
    assert "flops" in evenly


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--at", "1"), "below the smallest network"),
        (("--at", "much"), "number above 0"),
        (("--points", 1), "points must be 2 or more"),
        (("--retrain", 9), "the front has the numbers 1 to 5"),
        (("--budget", "milliseconds"), "has no table of milliseconds"),
    ],
)
def test_bad_fronts_are_refused_in_one_line(run, options, words):
    assert words in refused("front", run, *options)


@pytest.mark.slow
def test_a_search_by_milliseconds_measures_first_and_keeps_the_table(tmp_path, photos):
    run, table = tmp_path / "run", tmp_path / "table.json"
    small = ("--space", "dnas.DartsSpace", "--space.nodes", 1)
    candidates = ("--space.candidates", "[none, skip_connect, sep_conv_3x3]")
    sizes = ("--channels", 2, "--cells", 3, "--num_classes", 2, "--in_channels", 1, "--image_size", 8)
    out = done("measure", "--output", table, *small, *candidates, *sizes, "--device", "cpu", "--threads", 1)
    assert "predictions differ from 20 measured networks" in out
    searching = ("search", "--data", photos, *SMALL, "--threads", 1, "--milliseconds", table)
    out = done(*searching, "--run", run, "--budget", "milliseconds<=100")
    assert "measured" in out
    assert json.loads((run / "milliseconds.json").read_text()) == json.loads(table.read_text())
    assert done("front", run, "--budget", "milliseconds", "--points", 2)

    other = tmp_path / "other"
    assert "has no effect without a budget in milliseconds" in refused(*searching, "--run", other)
    limit = ("--run", other, "--budget", "milliseconds<=100")
    assert "networks with channels 2; the budget is about networks with channels 4" in refused(
        *searching, *limit, "--retrain.channels", 4
    )
    assert "below the smallest network" in refused(*searching, "--run", other, "--budget", "milliseconds<=0.0001")
    table.write_text("{")
    assert str(table) in refused(*searching, *limit)


@pytest.mark.slow
def test_export_to_eight_bits_shows_both_files_in_one_table(run):
    out = done("export", run, "--formats", "onnx", "--int8")
    whole, small = json.loads((run / "export" / "int8.json").read_text())
    assert (whole["file"], small["file"]) == ("network.onnx", "network_int8.onnx")
    for entry in (whole, small):
        assert (run / "export" / entry["file"]).stat().st_size == entry["num_bytes"]
        assert 0 <= entry["accuracy"] <= 1
        assert f"{entry['accuracy']:.2%}" in out
    assert "name onnx among them" in refused("export", run, "--formats", "torch", "--int8")
