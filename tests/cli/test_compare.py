"""`dnas compare` end to end on scikit-learn's digits, with a table that is made up."""

import csv
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dnas import DartsSpace
from dnas.compare.row import CompareRow, Found
from dnas.system.display import RichDisplay
from dnas.table import Table, load_table, save_table
from tests.support.cli import dnas, done, refused
from tests.support.lock import other_process
from tests.support.tensorboard_pictures import first_picture

SIZES = (
    *("--data", "digits", "--space", "dnas.NasBench201Space", "--channels", "2", "--cells", "1", "--image_size", "8"),
    *("--batch_size", "256", "--search.epochs", "2", "--threads", "1", "--device", "cpu"),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "table.npz"
    numbers = np.random.default_rng(0).permutation(15625) / 156.25
    save_table(Table({"valid200_c10": numbers, "test200_c10": numbers[::-1]}, source="made up"), path)
    return path


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of the user's own, for a space with an argument that NAS-Bench-201 does not have."""
    path = tmp_path_factory.mktemp("recipes") / "mine.yaml"
    path.write_text("space: {class_path: dnas.DartsSpace, init_args: {nodes: 2}}\nsearch: {relaxation: dnas.Sigmoid}\n")
    return path


@pytest.fixture(scope="module")
def whole(table: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recipes with two seeds each; tests take copies."""
    out = tmp_path_factory.mktemp("compare") / "whole"
    printed = done("compare", "--recipes", "darts_1st", recipe, "--seeds", 2, "--table", table, "--run", out, *SIZES)
    (out / "printed.txt").write_text(printed)
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "out"))


@pytest.fixture
def again(table: Path, recipe: Path, out: Path) -> tuple[object, ...]:
    """The command that made `out`."""
    return ("compare", "--recipes", "darts_1st", recipe, "--seeds", 2, "--table", table, "--run", out, *SIZES)


def rows_in(out: Path) -> dict[str, CompareRow]:
    return {path.stem: CompareRow.load(path) for path in sorted((out / "rows").iterdir())}


def csv_in(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def changed_since(out: Path) -> dict[str, int]:
    """When each file of searches and rows was written."""
    paths = [*(out / "searches").rglob("*.json*"), *(out / "rows").iterdir()]
    return {str(path): path.stat().st_mtime_ns for path in paths}


# What comes out


def test_each_search_shows_its_architecture_while_it_runs(whole: Path):
    assert first_picture(whole / "searches" / "mine" / "seed-1").startswith(b"\x89PNG")


def test_there_is_a_row_for_every_recipe_and_seed(whole: Path, table: Path):
    rows = rows_in(whole)
    assert set(rows) == {"darts_1st-seed-0", "darts_1st-seed-1", "mine-seed-0", "mine-seed-1"}
    loaded = load_table(table)
    for row in rows.values():
        assert row.found is not None
        assert [found.epoch for found in row.trajectory] == [1, 2]
        assert row.trajectory[-1].architecture == row.found.architecture
        for found in (row.found, *row.trajectory):
            for column in ("valid200_c10", "test200_c10"):
                assert found.values[column] == loaded.accuracy(found.architecture, column)
        assert row.settings["seed"] == row.seed
        assert row.environment["device"] == "cpu, 1 threads"


def test_the_table_is_of_the_rows(whole: Path, table: Path):
    lines = {line["recipe"]: line for line in csv_in(whole / "table.csv")}
    assert list(lines)[:2] == ["darts_1st", "mine"]
    loaded = load_table(table)
    for recipe in ("darts_1st", "mine"):
        own = [row.found.architecture for row in rows_in(whole).values() if row.recipe == recipe and row.found]
        values = [loaded.accuracy(architecture, "test200_c10") for architecture in own]
        percentiles = [loaded.percentile(architecture, "test200_c10") for architecture in own]
        assert float(lines[recipe]["mean"]) == pytest.approx(np.mean(values), rel=1e-12)
        assert float(lines[recipe]["percentile"]) == pytest.approx(np.mean(percentiles), rel=1e-12)
    assert lines["mine"]["against_baseline"] == lines["mine"]["against_random"] == "too few seeds"
    assert "Searches ran on cpu, 1 thread." in (whole / "table.md").read_text()
    assert lines["random architecture (whole table)"]["n"] == "15625"
    assert (whole / "table.md").read_text() in (whole / "printed.txt").read_text()


def test_the_trajectory_has_a_line_per_epoch(whole: Path):
    lines = csv_in(whole / "trajectory.csv")
    assert [(line["recipe"], line["seed"], line["epoch"]) for line in lines[:3]] == [
        ("darts_1st", "0", "1"),
        ("darts_1st", "0", "2"),
        ("darts_1st", "1", "1"),
    ]
    assert len(lines) == 8


def test_what_another_space_does_not_take_is_said(whole: Path):
    assert "NasBench201Space has no nodes, which recipe mine sets; left out" in (whole / "printed.txt").read_text()


def test_each_search_is_an_ordinary_run(whole: Path):
    assert "parameters" in done("describe", whole / "searches" / "mine" / "seed-1", "--channels", 2, "--cells", 1)


# Again


def test_a_rerun_does_nothing(out: Path, again):
    before, text = changed_since(out), (out / "table.md").read_text()
    done(*again)
    assert changed_since(out) == before
    assert (out / "table.md").read_text() == text


def test_a_row_that_is_missing_is_made_of_its_search(out: Path, again):
    path = out / "rows" / "mine-seed-1.json"
    before, times = path.read_text(), changed_since(out)
    path.unlink()
    done(*again)
    assert path.read_text() == before
    times.pop(str(path))
    assert {name: when for name, when in changed_since(out).items() if name != str(path)} == times


def test_a_run_that_is_missing_is_searched_again_to_the_same_result(out: Path, again):
    path = out / "rows" / "darts_1st-seed-1.json"
    before = CompareRow.load(path)
    path.unlink()
    shutil.rmtree(out / "searches" / "darts_1st" / "seed-1")
    done(*again)
    after = CompareRow.load(path)
    assert (after.found, after.trajectory, after.settings) == (before.found, before.trajectory, before.settings)


def test_opponents_spend_the_compute_of_the_baseline_recipe(out: Path, table: Path, again):
    opponents = ("random_halving:rungs=2", "random_search:epochs=1")
    printed = done(*again, "--seeds", "1", "--opponents", *opponents)
    rows, loaded = rows_in(out), load_table(table)
    limit = rows["darts_1st-seed-0"].compute
    assert limit is not None
    for name in ("random_halving-rungs2", "random_search-epochs1"):
        row, folder = rows[f"{name}-seed-0"], out / "searches" / name / "seed-0"
        assert row.found is not None
        assert row.compute is not None
        assert row.flops == json.loads((folder / "compute.json").read_text())["flops"] > 0
        assert row.values["test200_c10"] == loaded.accuracy(row.found.architecture, "test200_c10")
        trainings = [json.loads(path.read_text())["compute"] for path in folder.glob("finalists/*/*/judgement.json")]
        last = max(trainings)
        assert row.compute - last <= limit + 0.5 or len(trainings) == 2
        assert f"{name}: " in printed
    assert "compute, s" in printed
    assert "training TFLOPs" in printed
    before = changed_since(out)
    done(*again, "--seeds", "1", "--opponents", *opponents)
    assert changed_since(out) == before


def test_more_seeds_are_added(out: Path, again):
    before = changed_since(out)
    done(*again, "--seeds", 3)
    assert {path.name for path in (out / "rows").iterdir()} >= {"darts_1st-seed-2.json", "mine-seed-2.json"}
    assert {name: when for name, when in changed_since(out).items() if name in before} == before


def test_another_table_is_looked_up_without_a_search(out: Path, again, tmp_path: Path):
    other = tmp_path / "other.npz"
    save_table(Table({"accuracy": np.arange(15625)}, source="another"), other)
    done(*again, "--table", other, "--select", "accuracy", "--report", "accuracy")
    (row, *_) = rows_in(out).values()
    assert row.found is not None
    assert dict(row.found.values) == {"accuracy": load_table(other).accuracy(row.found.architecture, "accuracy")}


def test_a_table_that_does_not_know_what_was_found_is_refused(out: Path, again, tmp_path: Path):
    known = np.full(15625, np.nan)
    known[0] = 1.0
    save_table(Table({"accuracy": known}, source="one architecture"), tmp_path / "one.npz")
    line = refused(*again, "--table", tmp_path / "one.npz", "--select", "accuracy", "--report", "accuracy")
    assert "does not know accuracy of what darts_1st, seed 0, found, |" in line


def test_rows_of_recipes_that_are_not_asked_for_are_in_the_table_too(out: Path, table: Path):
    done("compare", "--recipes", "darts_1st", "--seeds", 2, "--table", table, "--run", out, *SIZES)
    assert "| mine" in (out / "table.md").read_text()


# Rows of recipes that are not asked for, which stand in the same table.


def changed_row(out: Path, name: str, **settings) -> Path:
    """A row as it would be if its run had had other settings."""
    path = out / "rows" / f"{name}.json"
    row = CompareRow.load(path)
    replace(row, settings={**row.settings, **settings}).save(path)
    return path


@pytest.fixture
def darts_alone(table: Path, out: Path) -> tuple[object, ...]:
    """A command for one of the two recipes of which there are rows."""
    return ("compare", "--recipes", "darts_1st", "--seeds", 2, "--table", table, "--run", out, *SIZES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "photos"}, "data is 'photos' there and 'digits' in darts_1st"),
        ({"image_size": 16}, "image_size is 16 there and 8 in darts_1st"),
        ({"stem": "imagenet"}, "stem is 'imagenet' there and 'cifar' in darts_1st"),
        ({"test_fraction": 0.5}, "test_fraction is 0.5 there and 0.15 in darts_1st"),
    ],
)
def test_a_row_of_other_data_is_refused_before_anything_is_done(out: Path, darts_alone, changes, message: str):
    path, text = changed_row(out, "mine-seed-0", **changes), (out / "table.md").read_text()
    (out / "rows" / "darts_1st-seed-1.json").unlink()
    line = refused(*darts_alone)
    assert line.startswith(f"{path} cannot stand in one table with darts_1st: {message}.")
    assert (out / "table.md").read_text() == text
    assert not (out / "rows" / "darts_1st-seed-1.json").exists()


def test_a_row_of_another_space_is_refused(out: Path, darts_alone):
    path = out / "rows" / "mine-seed-0.json"
    found = Found(DartsSpace().random(torch.Generator().manual_seed(0)), {"valid200_c10": 1.0, "test200_c10": 1.0})
    replace(CompareRow.load(path), found=found, trajectory=()).save(path)
    assert "it is of space 'darts', and darts_1st searches 'nasbench201'" in refused(*darts_alone)


def test_rows_of_other_sizes_and_epochs_are_told_in_the_table(out: Path, darts_alone):
    row = CompareRow.load(out / "rows" / "mine-seed-1.json")
    path = changed_row(out, "mine-seed-1", channels=4, search={**row.settings["search"], "epochs": 9})
    replace(CompareRow.load(path), environment={"device": "another"}).save(path)
    printed = done(*darts_alone)
    for place in (printed, (out / "table.md").read_text()):
        assert "he recipes differ in search.epochs" in place
        assert "darts_1st 2, mine 2 and 9" in place
        assert "he recipes differ in channels" in place
    assert "Searches ran on cpu, 1 thread (darts_1st, mine) and another (mine)." in printed
    assert "differ in batch_size" not in printed
    assert "differ" not in done(*darts_alone, "--run", out / "new")


def test_rows_of_seeds_that_are_not_asked_for_must_have_the_same_settings(out: Path, again):
    row = CompareRow.load(out / "rows" / "mine-seed-1.json")
    path = changed_row(out, "mine-seed-1", search={**row.settings["search"], "epochs": 3})
    line = refused(*again, "--seeds", 1)
    assert line.startswith(f"{path} was made under other settings: search.epochs is 3 there and 2 here")


def test_rows_of_other_recipes_are_looked_up_in_the_table_that_is_given(out: Path, darts_alone, tmp_path: Path):
    other, path = tmp_path / "other.npz", out / "rows" / "mine-seed-0.json"
    numbers = np.arange(15625) / 156.25
    save_table(Table({"valid200_c10": numbers, "test200_c10": numbers}, source="another"), other)
    before = path.read_text()
    done(*darts_alone, "--table", other)
    assert path.read_text() == before  # it is another process's
    own = [row.found.architecture for name, row in rows_in(out).items() if name.startswith("mine") and row.found]
    expected = np.mean([load_table(other).accuracy(architecture, "test200_c10") for architecture in own])
    (line,) = [line for line in csv_in(out / "table.csv") if line["recipe"] == "mine"]
    assert float(line["mean"]) == pytest.approx(expected, rel=1e-12)


def test_a_search_that_was_stopped_goes_on(whole: Path, out: Path, again, monkeypatch: pytest.MonkeyPatch):
    (out / "rows" / "mine-seed-0.json").unlink()
    shutil.rmtree(out / "searches" / "mine" / "seed-0")
    update = RichDisplay.update

    def stopping(self, phase, done, total, scalars):
        update(self, phase, done, total, scalars)
        if phase == "compare" and done % (total // 4) == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(RichDisplay, "update", stopping)
        ended = dnas(*again)
    assert ended.code == 130
    assert "saved after step 2" in ended.err
    assert ended.err.splitlines()[-1].strip().startswith("dnas compare --recipes darts_1st")
    assert not (out / "rows" / "mine-seed-0.json").exists()
    assert "after step 2" in done(*again)
    assert rows_in(out)["mine-seed-0"].found == rows_in(whole)["mine-seed-0"].found


def test_a_run_at_which_another_process_works_is_left_to_it(out: Path, again):
    (out / "rows" / "mine-seed-0.json").unlink()
    other = other_process(out / "searches" / "mine" / "seed-0", "sys.stdin.read()")
    printed = done(*again)
    assert f"seed-0 is in use by process {other.pid}" in printed
    assert "left to that process" in printed
    assert not (out / "rows" / "mine-seed-0.json").exists()
    other.communicate()
    assert "mine, seed 0" in done(*again)
    assert [path.name for path in out.rglob(".*")] == []


def test_the_agreement_of_new_searches_is_in_row_and_table(out: Path, again, whole: Path):
    path = out / "rows" / "mine-seed-1.json"
    path.unlink()
    shutil.rmtree(out / "searches" / "mine" / "seed-1")
    printed = done(*again, "--agreement", 4)
    assert "3 of the rows that are there have no Kendall's tau" in printed
    rows = rows_in(out)
    measured = rows["mine-seed-1"].agreement
    assert measured is not None
    assert -1 <= measured <= 1
    assert replace(rows["mine-seed-1"], seconds=0, compute=0, agreement=None, environment={}) == replace(
        rows_in(whole)["mine-seed-1"], seconds=0, compute=0, environment={}
    )  # to look on changes nothing
    lines = {line["recipe"]: line["agreement"] for line in csv_in(out / "table.csv")}
    assert (float(lines["mine"]), lines["darts_1st"]) == (measured, "")
    assert "`tau` is Kendall's" in (out / "table.md").read_text()
    path.unlink()
    done(*again)
    assert CompareRow.load(path).agreement == measured  # from the metrics of the search


# Runs without a result


def test_a_run_that_diverges_is_a_row_and_the_rest_goes_on(table: Path, tmp_path: Path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("search: {weights: {lr: {class_path: dnas.Constant, init_args: {value: 1.0e+38}}, clip: null}}\n")
    command = ("compare", "--recipes", bad, "darts_1st", "--seeds", 1, "--table", table, "--run", tmp_path / "out")
    for _ in range(2):  # the second time the row is there
        ended = dnas(*command, *SIZES)
        assert ended.code == 1
        assert ended.err.strip() == "dnas: without a result: bad, seed 0"
        rows = rows_in(tmp_path / "out")
        assert "The search diverged at step" in rows["bad-seed-0"].failure
        assert rows["darts_1st-seed-0"].found is not None
    lines = csv_in(tmp_path / "out" / "table.csv")
    assert [(line["n"], line["failed"], line["mean"] == "") for line in lines[:2]] == [
        ("0", "1", True),
        ("1", "0", False),
    ]


def test_what_a_table_does_not_hold_is_no_result(table: Path, tmp_path: Path):
    bare = tmp_path / "bare.yaml"
    bare.write_text(
        "search: {relaxation: dnas.Sigmoid, "
        "discretization: {class_path: dnas.Threshold, init_args: {threshold: 0.99}}}\n"
    )
    command = ("compare", "--recipes", bare, "--seeds", 1, "--table", table, "--run", tmp_path / "out", *SIZES)
    for _ in range(2):  # the second time the row is there
        ended = dnas(*command)
        assert ended.code == 1
        assert ended.err.strip() == "dnas: without a result: bare, seed 0"
    (row,) = rows_in(tmp_path / "out").values()
    assert row.found is None
    assert "not in the table: " in row.failure
    assert [dict(found.values) for found in row.trajectory] == [{}, {}]
    said = done("search", "--recipe", bare, *SIZES, "--table", table, "--run", tmp_path / "run")
    assert "What was found is not in the table: " in said
    assert not (tmp_path / "run" / "standing.json").exists()


# Without a table


@pytest.mark.slow
def test_without_a_table_found_and_random_networks_are_retrained_alike(recipe: Path, tmp_path: Path):
    small = ("--retrain.epochs", 1, "--retrain.channels", 2, "--retrain.cells", 1, "--retrain.batch_size", 256)
    command = ("compare", "--recipes", "gdas", recipe, "--seeds", 1, "--run", tmp_path / "out", *SIZES, *small)
    printed = done(*command, "--num_random", 2)
    assert "what mine finds is retrained as gdas says" in printed
    row = rows_in(tmp_path / "out")["mine-seed-0"]
    assert 0 <= row.values["retrained_test"] <= 100
    assert row.settings["retrain"] == rows_in(tmp_path / "out")["gdas-seed-0"].settings["retrain"]
    lines = {line["recipe"]: line for line in csv_in(tmp_path / "out" / "table.csv")}
    assert lines["random architectures"]["n"] == "2"
    results = json.loads((tmp_path / "out" / "random" / "baseline" / "results.json").read_text())
    tests = [100 * one["test"] for one in results["rows"]]
    assert float(lines["random architectures"]["mean"]) == pytest.approx(np.mean(tests), rel=1e-12)
    value = row.values["retrained_test"]
    expected = 100 * np.mean([(other < value) + (other == value) / 2 for other in tests])
    assert float(lines["mine"]["percentile"]) == pytest.approx(expected)
    before = changed_since(tmp_path / "out")
    done(*command, "--num_random", 2)
    assert changed_since(tmp_path / "out") == before
    assert "retrain.epochs is 1 there and 2 here" in refused(*command, "--num_random", 2, "--retrain.epochs", 2)


# Mistakes


def test_rows_of_other_settings_are_refused_with_the_first_difference(out: Path, again):
    line = refused(*again, "--search.epochs", 3)
    assert "darts_1st-seed-0.json was made under other settings: search.epochs is 2 there and 3 here" in line


def test_a_run_of_other_settings_without_a_row_is_refused(out: Path, again):
    shutil.rmtree(out / "rows")
    assert "seed-0 was made under other settings: channels is 2 there and 4 here" in refused(*again, "--channels", 4)


def test_other_threads_are_no_other_settings(out: Path, again):
    before = changed_since(out)
    done(*again, "--threads", 2, "--search.log_every", 7)
    assert changed_since(out) == before


def test_a_damaged_row_is_named(out: Path, again):
    path = out / "rows" / "mine-seed-0.json"
    path.write_text(path.read_text()[:100])
    assert f"{path} is damaged" in refused(*again)


def test_damaged_sizes_are_named(out: Path, again):
    (out / "sizes.json").write_text("{}")
    assert "sizes.json is damaged" in refused(*again)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--recipes", "dart_1st"), "There is no recipe 'dart_1st' (did you mean 'darts_1st'?)"),
        (("--recipes", "darts_1st", "darts_1st"), "Two recipes are called 'darts_1st'"),
        (("--recipes", "darts_1st", "--recipe", "gdas"), "it has no option --recipe"),
        (("--recipes", "darts_1st", "--baseline_recipe", "gdas"), "one of the recipes, darts_1st; got 'gdas'"),
        (("--recipes", "darts_1st", "--seeds", "0"), "seeds must be at least 1"),
        (("--recipes", "darts_1st", "--select", "top1"), "no column 'top1'; name another with --select, of test200"),
        (("--recipes", "darts_1st", "--num_random", "3"), "--num_random has no effect with --table"),
        (("--recipes", "darts_1st", "--agreement", "1"), "Agreement needs 2 to 15625 architectures; got 1"),
        (("--recipes", "darts_1st", "--time", "1h"), "same epochs, not a time"),
        (("--recipes", "darts_1st", "--space", "dnas.DartsSpace"), "table is of space 'nasbench201'"),
        (("--recipes", "darts_1st", "--search.epoch", "1"), "--search.epoch"),
        (("--recipes", "darts_1st", "--batch_size", "9999"), "batch_size 9999 of darts_1st is more than the"),
        (("--seeds", "2"), "needs RECIPES"),
        (("--recipes", "darts_1st", "--opponents", "evolutoin"), "no opponent 'evolutoin' (did you mean 'evolution'?)"),
        (("--recipes", "darts_1st", "--opponents", "evolution:sample"), "written as epochs=2, separated by commas"),
        (("--recipes", "darts_1st", "--opponents", "evolution", "evolution"), "opponent evolution is given twice"),
    ],
)
def test_what_is_asked_for_wrongly(table: Path, tmp_path: Path, arguments, message: str):
    given = ("--run", tmp_path / "out", "--table", table, *SIZES)
    assert message in refused("compare", *given, *arguments)
    assert not (tmp_path / "out").exists()


def test_a_table_file_that_is_none(tmp_path: Path):
    (tmp_path / "table.npz").write_text("no table")
    command = ("compare", "--recipes", "darts_1st", "--run", tmp_path / "out", *SIZES, "--table")
    assert "table.npz is damaged" in refused(*command, tmp_path / "table.npz")
    assert "There is no file" in refused(*command, tmp_path / "none.npz")


def test_a_setting_that_one_recipe_cannot_take_names_it(table: Path, tmp_path: Path):
    recipe = tmp_path / "late.yaml"
    recipe.write_text("search: {warmup_epochs: 7}\n")
    command = ("compare", "--recipes", "darts_1st", recipe, "--run", tmp_path / "out", "--table", table, *SIZES)
    assert refused(*command).startswith("Recipe late: warmup_epochs must lie between 0 and epochs = 2")


def test_without_a_table_retraining_is_checked_before_anything_else(tmp_path: Path):
    command = ("compare", "--recipes", "darts_1st", "--run", tmp_path / "out", *SIZES)
    assert "no auxiliary head" in refused(*command, "--retrain.auxiliary", "true")
    assert "--validation_fraction 0.1" in refused(*command, "--validation_fraction", "0")
    assert "--agreement has no effect without --table" in refused(*command, "--agreement", "0")
    assert not (tmp_path / "out").exists()
