"""Parts of different methods in one recipe: what papers never tried runs, what cannot work is refused in one line."""

import re
from pathlib import Path

import pytest

from dnas import BetaDecay, DartsSpace, Dirichlet, Linear, Run
from dnas.cli.run_settings import job_of
from tests.support.cli import done, make_photos, refused

METHODS = Path(__file__).parents[2] / "docs" / "methods.md"
SHRUNK = (
    *("--image_size", "8", "--batch_size", "8", "--channels", "4", "--cells", "3", "--device", "cpu", "--threads", "1"),
    *("--search.epochs", "1", "--search.warmup_epochs", "0", "--search.log_every", "1"),
)


def test_the_combination_in_the_documentation_takes_two_steps(tmp_path: Path):
    (text,) = re.findall(r"```yaml\n(.*?)```", METHODS.read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    photos = make_photos(tmp_path / "photos", count=19)
    done("search", "--recipe", tmp_path / "mine.yaml", "--data", photos, "--run", tmp_path / "run", *SHRUNK)
    run = Run(tmp_path / "run")
    job = job_of(run, trust=False)
    assert job.space == DartsSpace(partial_channels=4, edge_weights=True)
    assert job.search.relaxation == Dirichlet()
    assert job.search.penalties == (BetaDecay(Linear(0.0, 25.0)),)
    assert len([row for row in run.metrics() if row["phase"] == "step" and row["val_loss"] > 0]) == 2
    assert set(run.load_architecture().decisions) == {"normal", "reduce"}


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            "search:\n  precision: bf16\n  hypergradient:\n    class_path: dnas.OneStep\n    init_args:\n"
            "      mixed: {class_path: dnas.FiniteDifference, init_args: {radius: 0.01}}",
            "precision bf16 does not go with a finite difference",
        ),
        ("search: {one_level: true, smoothing: dnas.RandomSmoothing}", "smoothing has no effect with one_level"),
        ("search: {one_level: true, hypergradient: dnas.OneStep}", "one_level takes both gradients from one pass"),
        (
            "search: {relaxation: dnas.ReinMax, smoothing: dnas.RandomSmoothing}",
            "RandomSmoothing has no effect with ReinMax, which draws one candidate",
        ),
        (
            "space: {class_path: dnas.MobileSpace, init_args: {edge_weights: true}}",
            "dnas.MobileSpace has no setting 'edge_weights'",
        ),
        (
            "space: dnas.NasBench201Space\nsearch: {discretization: dnas.LimitedSkips}",
            "LimitedSkips limits 'skip_connect' in cell 'normal'",
        ),
        (
            "search: {relaxation: dnas.UniformPath}",
            "Argmax reads the mixture, but UniformPath trains no alphas",
        ),
        (
            "search: {relaxation: dnas.UniformPath, discretization: dnas.Evolution, penalties: [dnas.BetaDecay]}",
            "penalties would have no effect: UniformPath trains no alphas",
        ),
        ("search: {penalties: [dnas.ZeroOne]}", "ZeroOne pushes gates"),
        ("search: {penalties: [dnas.DirichletPrior]}", "DirichletPrior acts on a Dirichlet distribution, but Softmax"),
        ("search: {discretization: dnas.Threshold}", "Threshold(0.85) is for gates, but with Softmax"),
        ("search: {tuning_lr: 0.5}", "tuning_lr = 0.5 has no effect: Argmax does not train"),
        ("search: {one_level: true, observers: [dnas.HessianEigenvalue]}", "with one_level the batch of the alphas is"),
        (
            "search: {epochs: 3, observers: [dnas.EigenvalueStop]}",
            "EigenvalueStop can end a search of 18 epochs or more",
        ),
        (
            "space: dnas.NasBench201Space\nsearch: {observers: [dnas.SkipStop]}",
            "SkipStop looks at the cell 'normal', which this model does not have; its cells are ['cell']: set cell",
        ),
        (
            "search: {relaxation: {class_path: dnas.GumbelSoftmax, init_args: {temperature: "
            "{class_path: dnas.Linear, init_args: {start: 1, end: 0}}}}}",
            "temperature, which must be above 0",
        ),
        (
            "search: {discretization: {class_path: dnas.LimitedSkips, init_args: {rule: dnas.Perturbation}}}",
            "LimitedSkips asks its rule several times",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_when_it_is_read(tmp_path: Path, recipe: str, message: str):
    (tmp_path / "bad.yaml").write_text(recipe, encoding="utf-8")
    assert message in refused("search", "--recipe", tmp_path / "bad.yaml", "--run", tmp_path / "run")
    assert not (tmp_path / "run").exists()


# What a recipe sets of its space


@pytest.mark.parametrize("command", ["search", "profile", "compare"])
def test_a_method_is_refused_by_every_command_on_a_space_that_lacks_a_part_of_it(tmp_path: Path, command: str):
    recipe, run = ("--recipe", "pc_darts"), ("--run", tmp_path / "run")
    arguments = {"search": (*recipe, *run), "profile": recipe, "compare": ("--recipes", "pc_darts", *run)}[command]
    message = refused(command, *arguments, "--space", "dnas.MobileSpace")
    assert "Recipe pc_darts sets partial_channels and edge_weights of its space, which MobileSpace does not" in message
    assert "use dnas.DartsSpace, dnas.ReducedDartsSpace or dnas.NasBench201Space" in message
    assert not (tmp_path / "run").exists()


def test_a_search_says_which_other_argument_of_the_space_is_left_out(tmp_path: Path):
    photos = make_photos(tmp_path / "photos", count=19)
    shrunk = (*("--data", photos, "--run", tmp_path / "run"), *SHRUNK, "--space", "dnas.NasBench201Space")
    out = done("search", "--recipe", "fair_darts", *shrunk, "--cells", 1)
    assert "NasBench201Space has no candidates, which recipe fair_darts sets; left out." in out
