"""Recipes: each parses, runs and says where it comes from; files that are none are refused by name."""

import pytest
import yaml
from cli_support import done, make_photos

from dnas import (
    Argmax,
    Cosine,
    DartsSpace,
    FiniteDifference,
    FirstOrder,
    GumbelSoftmax,
    Linear,
    NasBench201Space,
    OneStep,
    Run,
    Softmax,
)
from dnas.cli import job_of
from dnas.job import Job
from dnas.recipe import FOLDER, check_names, check_recipe, did_you_mean, recipe_names, recipe_path
from dnas.settings import AlphaAdam

# Sizes that leave two steps of little work.
SHRUNK = (
    *("--image_size", "8", "--batch_size", "8", "--channels", "2", "--cells", "3", "--device", "cpu"),
    *("--search.epochs", "1", "--search.warmup_epochs", "0", "--search.log_every", "1"),
    *("--retrain.channels", "2", "--retrain.cells", "3", "--retrain.batch_size", "8", "--retrain.auxiliary", "false"),
)


def num_stages(name: str) -> int:
    """In how many stages a recipe searches; 1 where it has none."""
    return len(yaml.safe_load(recipe_path(name).read_text())["search"].get("stages", [])) or 1


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A finished search of two steps by each recipe."""
    folder = tmp_path_factory.mktemp("recipes")
    photos = make_photos(folder / "photos", count=19)
    runs = {name: Run(folder / name) for name in recipe_names()}
    for name, run in runs.items():
        more = ("--search.epochs", num_stages(name), "--channels", "4", "--cells", "1")  # channels in four parts
        stages = more if num_stages(name) > 1 else ()
        done("search", "--recipe", name, "--data", photos, "--run", run.path, *SHRUNK, *stages)
    return runs


@pytest.mark.slow
@pytest.mark.parametrize("name", recipe_names())
def test_each_recipe_runs_two_steps_of_both_kinds(runs: dict[str, Run], name: str):
    steps = [row for row in runs[name].metrics() if row["phase"] == "step"]
    assert len(steps) == 2 * num_stages(name)
    assert all(row["val_loss"] > 0 and row["train_loss"] > 0 for row in steps)
    assert job_of(runs[name], trust=False).space.decisions().keys() == runs[name].load_architecture().decisions.keys()


@pytest.mark.slow
def test_the_recipes_are_the_methods_that_they_are_named_after(runs: dict[str, Run]):
    jobs = {name: job_of(run, trust=False) for name, run in runs.items()}
    sgd = {"lr": Cosine(0.025, 0.001), "momentum": 0.9, "clip": 5.0}
    for name, job in jobs.items():
        weights = job.search.weights
        assert {setting: getattr(weights, setting) for setting in sgd} == sgd, name
        assert job.search.discretization == Argmax()
    for name in ("darts_1st", "darts_2nd", "gdas"):
        assert jobs[name].search.alphas == AlphaAdam(lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    for name in ("darts_1st", "darts_2nd", "digits"):
        assert (jobs[name].space, jobs[name].search.relaxation) == (DartsSpace(), Softmax())
    assert jobs["darts_1st"].search.hypergradient == FirstOrder()
    assert jobs["darts_2nd"].search.hypergradient == OneStep(FiniteDifference(0.01))
    assert jobs["gdas"].space == NasBench201Space()
    assert jobs["gdas"].search.relaxation == GumbelSoftmax(Linear(10.0, 0.1), hard=True)


@pytest.mark.parametrize(("name", "epochs", "sizes"), [("darts_1st", 50, (16, 8)), ("gdas", 250, (16, 5))])
def test_sizes_are_those_of_the_paper(name: str, epochs: int, sizes: tuple[int, int]):
    settings = yaml.safe_load(done("search", "--recipe", name, "--print_config"))
    assert settings["search"]["epochs"] == epochs
    assert (settings["channels"], settings["cells"], settings["batch_size"]) == (*sizes, 64)


@pytest.mark.parametrize("name", recipe_names())
def test_each_recipe_tells_its_source_and_what_to_expect(name: str):
    head = [line for line in recipe_path(name).read_text().splitlines() if line.startswith("#")]
    text = " ".join(head)
    assert "20" in text  # a year
    assert "http" in text or "Liu et al." in text
    assert "Published" in text or "Results measured here" in text


def test_recipes_are_found_by_name_and_files_by_path(tmp_path):
    assert recipe_path("digits") == FOLDER / "digits.yaml"
    (tmp_path / "my.yaml").write_text("seed: 1")
    assert recipe_path(str(tmp_path / "my.yaml")) == tmp_path / "my.yaml"
    with pytest.raises(ValueError, match=r"no recipe 'gads' \(did you mean 'gdas'\?\)"):
        recipe_path("gads")


def test_settings_are_checked_at_every_level_and_parts_are_left_to_others(tmp_path):
    from typing import get_type_hints

    path = tmp_path / "recipe.yaml"
    path.write_text("seed: 1\nchannels: null\nspace: {class_path: any.thing}\nsearch: {weights: {clip: null}}\n")
    check_recipe(path, get_type_hints(Job))
    path.write_text("search: {weights: {momentum: }}\n")
    with pytest.raises(ValueError, match=r"recipe\.yaml: search\.weights\.momentum is empty"):
        check_recipe(path, get_type_hints(Job))
    with pytest.raises(ValueError, match="here: expected settings under a, such as `b: VALUE`; got 3"):
        check_names(3, {"b": int}, "here", "a")


def test_only_a_close_name_is_proposed():
    assert did_you_mean("epoch", ["epochs", "cells"]) == " (did you mean 'epochs'?)"
    assert did_you_mean("xyz", ["epochs", "cells"]) == ""
