"""Recipes: each parses, runs and says where it comes from; files that are none are refused by name."""

import re
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml

from dnas import (
    AdaptiveDecay,
    AdversarialSmoothing,
    Argmax,
    BetaDecay,
    DartsSpace,
    Dirichlet,
    EigenvalueStop,
    Evolution,
    FiniteDifference,
    FirstOrder,
    GumbelSoftmax,
    LimitedSkips,
    Linear,
    MobileSpace,
    NasBench201Space,
    Neumann,
    OneStep,
    OperationFreeze,
    Perturbation,
    RandomSampling,
    RandomSmoothing,
    ReinMax,
    Run,
    Sigmoid,
    SkipStop,
    Softmax,
    Space,
    Threshold,
    TransformerSpace,
    UniformPath,
    ZeroOne,
)
from dnas.cli.parser import load, parse
from dnas.cli.recipes import fitted
from dnas.cli.run_settings import job_of
from dnas.cli.shared import part_of
from dnas.jobs.images import read_data
from dnas.jobs.job import Job
from dnas.jobs.recipe import (
    FOLDER,
    WITH_CELLS,
    check_names,
    check_recipe,
    recipe_names,
    recipe_path,
    what_its_space_lacks,
)
from dnas.jobs.run_folder import begin
from dnas.jobs.search import search_command
from dnas.searching.settings import AlphaAdam
from dnas.system.display import Silent
from dnas.system.words import did_you_mean
from tests.support.cli import done, make_photos
from tests.support.method import job_of_recipe

# Sizes that leave two steps of little work.
SHRUNK = (
    # Channels in four parts, as PC-DARTS takes them.
    *("--image_size", "8", "--batch_size", "8", "--channels", "4", "--device", "cpu", "--threads", "1"),
    *("--search.epochs", "1", "--search.log_every", "1"),
    *("--retrain.channels", "2", "--retrain.cells", "1", "--retrain.batch_size", "8", "--retrain.auxiliary", "false"),
)

# The same for discretizations that train or evaluate.
LESS = {
    "darts_pt": ("--search.discretization.epochs_between", "1"),
    "one_shot": (
        *("--search.discretization.population", "3", "--search.discretization.generations", "2"),
        *("--search.discretization.parents", "2"),
    ),
    "random_sharing": ("--search.discretization.samples", "3"),
}


# Observers that wait, made to wait no longer than a search of three epochs.
SOON = {
    name: f"[{{class_path: dnas.{part}, init_args: {{sharpening: {{delta: 1, window: 1, start: 0}}}}}}]"
    for name, part in (("robust_darts_es", "EigenvalueStop"), ("robust_darts_ada", "AdaptiveDecay"))
}


def num_stages(name: str) -> int:
    """In how many stages a recipe searches; 1 where it has none."""
    return len(yaml.safe_load(recipe_path(name).read_text())["search"].get("stages", [])) or 1


def searched(name: str, photos: Path, path: Path) -> Run:
    """A finished search of two steps by a recipe, with all that `dnas search` does but for its planning."""
    whole = num_stages(name) == 1
    epochs = ("--search.warmup_epochs", 0) if whole else ("--search.epochs", num_stages(name))
    if name in SOON:
        epochs = ("--search.epochs", 3, "--search.observers", SOON[name])
    # One cell of NAS-Bench-201 is three; of two cells of DARTS the second is a reduction cell.
    text = recipe_path(name).read_text()
    cells = ("--cells", 2 if whole and "NasBench201Space" not in text else 1)
    nodes = ("--space.nodes", 2) if "dnas.DartsSpace" in text else ()
    words = ("--recipe", name, "--data", photos, *SHRUNK, *cells, *nodes, *epochs, *LESS.get(name, ()))
    settings, given = parse(load("search"), [str(word) for word in words])
    run, job = Run(path), fitted(part_of(settings, Job), given)
    begin(run, job)
    search_command(run, job, read_data(run, job, Silent()), Silent())
    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos", count=19)


@pytest.mark.slow
@pytest.mark.parametrize("name", recipe_names())
def test_each_recipe_runs_two_steps_of_both_kinds(photos: Path, tmp_path: Path, name: str):
    run = searched(name, photos, tmp_path / "run")
    steps = [row for row in run.metrics() if row["phase"] == "step"]
    job = job_of(run, trust=False)
    if name in SOON:  # of three epochs, of which the last may be left out, or repeated
        assert len(steps) >= 4
    else:
        assert len(steps) == (4 if job.search.one_level else 2) * num_stages(name)  # one level passes over both halves
    assert all(row["train_loss"] > 0 for row in steps)
    assert any("val_loss" in row for row in steps) == job.search.relaxation.trains_alphas
    kept = set(run.load_architecture().decisions)
    assert kept == {one for one in job.space.decisions() if not one.endswith(".edges")}


# What makes each recipe the method that it is named after; the rest is as in first-order DARTS.
PARTS: dict[str, dict[str, object]] = {
    "darts_1st": {},
    "darts_2nd": {"hypergradient": OneStep(FiniteDifference(0.01))},
    "one_level": {"one_level": True},
    "gdas": {"relaxation": GumbelSoftmax(Linear(10.0, 0.1), hard=True, add_undrawn=True)},
    "snas": {"relaxation": GumbelSoftmax(Linear(1.0, 0.03), hard=False), "one_level": True},
    "reinmax": {"relaxation": ReinMax},
    "pc_darts": {},
    "drnas": {"relaxation": Dirichlet()},
    "drnas_progressive": {"relaxation": Dirichlet()},
    "default": {"relaxation": Dirichlet()},
    "digits": {},
    "fair_darts": {"relaxation": Sigmoid(), "penalties": ZeroOne, "discretization": Threshold},
    "beta_darts": {"penalties": BetaDecay},
    "sdarts_rs": {"smoothing": RandomSmoothing},
    "sdarts_adv": {"smoothing": AdversarialSmoothing},
    "p_darts": {"discretization": LimitedSkips},
    "darts_minus": {},
    "darts_pt": {"discretization": Perturbation},
    "robust_darts_es": {"observers": EigenvalueStop},
    "robust_darts_ada": {"observers": AdaptiveDecay},
    "robust_darts_l2": {},
    "robust_darts_dp": {},
    "idarts": {"hypergradient": Neumann},
    "oles": {"observers": OperationFreeze},
    "darts_plus": {"observers": SkipStop},
    "one_shot": {"relaxation": UniformPath(), "discretization": Evolution},
    "random_sharing": {"relaxation": UniformPath(), "discretization": RandomSampling},
}
OF_DARTS: dict[str, object] = {
    "relaxation": Softmax(),
    "hypergradient": FirstOrder(),
    "discretization": Argmax(),
    "penalties": (),
    "smoothing": None,
    "observers": (),
    "one_level": False,
}


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_the_method_that_it_is_named_after(name: str):
    search = job_of_recipe(name).search
    for part, expected in {**OF_DARTS, **PARTS[name]}.items():
        found = getattr(search, part)
        if isinstance(expected, type):
            assert isinstance(found[0] if isinstance(found, tuple) else found, expected), part
        else:
            assert found == expected, part
    assert bool(search.stages) == (name in ("p_darts", "drnas_progressive"))


def test_the_space_has_what_a_method_needs_of_it():
    spaces = {name: job_of_recipe(name).space for name in ("pc_darts", "darts_minus", "robust_darts_dp")}
    assert spaces["pc_darts"] == DartsSpace(partial_channels=4, edge_weights=True)
    assert spaces["darts_minus"] == DartsSpace(auxiliary_skip=Linear(1.0, 0.0))
    assert spaces["robust_darts_dp"] == DartsSpace(drop_path=Linear(0.0, 0.2))
    assert all(stage.skip_dropout is not None for stage in job_of_recipe("p_darts").search.stages[1:])


@pytest.mark.parametrize("name", ["darts_1st", "darts_2nd", "gdas", "drnas", "beta_darts", "darts_pt"])
def test_alphas_move_as_in_darts(name: str):
    assert job_of_recipe(name).search.alphas == AlphaAdam(lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)


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
    path = tmp_path / "recipe.yaml"
    path.write_text("seed: 1\nchannels: null\nspace: {class_path: any.thing}\nsearch: {weights: {clip: null}}\n")
    check_recipe(path, get_type_hints(Job))
    path.write_text("search: {alphas: {lr: }}\n")
    with pytest.raises(ValueError, match=r"recipe\.yaml: search\.alphas\.lr is empty"):
        check_recipe(path, get_type_hints(Job))
    with pytest.raises(ValueError, match="here: expected settings under a, such as `b: VALUE`; got 3"):
        check_names(3, {"b": int}, "here", "a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("search: {epochs: 3}\nsearch: {one_level: true}\n", "'search' is set twice, on lines 1 and 2"),
        ("seed: 1\nsearch:\n  epochs: 3\n  seed: 2\n  epochs: 4\n", "'search.epochs' is set twice, on lines 3 and 5"),
        ("search: {epochs: 3, epochs: 3}", "'search.epochs' is set twice, on lines 1 and 1"),
        (
            "search: {penalties: [{class_path: dnas.BetaDecay, class_path: dnas.Entropy}]}",
            "'search.penalties.class_path' is set twice",
        ),
    ],
)
def test_a_setting_that_is_written_twice_is_refused(tmp_path: Path, text: str, said: str):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {said}")):
        check_recipe(path, get_type_hints(Job))


def test_the_same_name_may_be_set_in_two_places(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("seed: 1\nsearch: {seed: 2, stages: [{epochs: 1}, {epochs: 1}], weights: &w {clip: null}}\n")
    check_recipe(path, get_type_hints(Job))
    path.write_text("a: &x {b: *x}")  # within itself
    with pytest.raises(ValueError, match="its aliases make more than 100,000 entries"):
        check_recipe(path, get_type_hints(Job))


# A recipe on another space than its own


@pytest.mark.parametrize("space", [MobileSpace(), TransformerSpace()])
@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("pc_darts", "partial_channels and edge_weights"),
        ("darts_minus", "auxiliary_skip"),
        ("robust_darts_dp", "drop_path"),
        ("drnas_progressive", "partial_channels"),
    ],
)
def test_a_method_is_refused_on_a_space_that_has_not_what_it_sets_of_its_own(name: str, lost: str, space: Space):
    with pytest.raises(ValueError, match=rf"Recipe {name} sets {lost} of its space, which {type(space).__name__} does"):
        what_its_space_lacks(recipe_path(name), space)


def test_other_arguments_of_its_space_are_left_out_with_a_note():
    note = what_its_space_lacks(recipe_path("fair_darts"), NasBench201Space())
    assert note == "Note: NasBench201Space has no candidates, which recipe fair_darts sets; left out."


def test_a_part_of_a_method_that_is_at_its_default_is_none(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("space: {class_path: dnas.DartsSpace, init_args: {partial_channels: 1, edge_weights: false}}")
    assert "MobileSpace has no partial_channels, edge_weights" in what_its_space_lacks(path, MobileSpace())


@pytest.mark.parametrize("space", [kind() for kind in WITH_CELLS])
@pytest.mark.parametrize("name", ["pc_darts", "darts_minus", "robust_darts_dp", "drnas_progressive", "drnas"])
def test_spaces_with_cells_have_all_that_is_part_of_a_method(name: str, space: Space):
    assert what_its_space_lacks(recipe_path(name), space) == ""


def test_only_a_close_name_is_proposed():
    assert did_you_mean("epoch", ["epochs", "cells"]) == " (did you mean 'epochs'?)"
    assert did_you_mean("xyz", ["epochs", "cells"]) == ""
