"""The command line: its words, its help, settings from recipes and by import path, and how commands go on."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from dnas import BetaDecay, GumbelSoftmax, Mixture, Relaxation, Run
from dnas.cli.arguments import read_arguments
from dnas.cli.commands import COMMANDS
from dnas.cli.main import is_out_of_memory
from dnas.cli.messages import plainer
from dnas.cli.parser import build_parser, load
from dnas.cli.run_settings import command_line, job_of
from dnas.core.architecture import CellArchitecture
from dnas.formats import published, write_genotype
from dnas.jobs.job import Job
from tests.support.cli import SMALL, dnas, done, make_photos, refused


class Warm(Relaxation):
    """A user's relaxation that is no dataclass, so that its settings cannot be written down."""

    def __init__(self, temperature: float = 2.0):
        self.temperature = temperature

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        return self.expected(alpha, progress)

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        return Mixture((alpha / self.temperature).softmax(-1))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos")


def printed_job(*arguments: object) -> dict:
    """The settings that --print_config shows."""
    return yaml.safe_load(done("search", *arguments, "--print_config"))


# Words


def test_without_a_command_the_commands_are_listed():
    ended = dnas()
    assert ended.code == 2
    assert all(name in ended.out for name in COMMANDS)


def test_the_version_is_told():
    assert re.fullmatch(r"\S+ \d+\.\d+\S*\n", done("--version"))


def test_both_ways_of_writing_an_option_mean_the_same():
    words = ("--cells", 2, "--channels", 4, "--input_size", 16, "--json")
    with_hyphen = done("describe", "DARTS_V2", *words, "--num-classes", 7)
    assert with_hyphen == done("describe", "DARTS_V2", *words, "--num_classes", 7)
    assert json.loads(with_hyphen)["parameters"] < json.loads(done("describe", "DARTS_V2", *words))["parameters"]


def test_the_text_of_a_genotype_is_described():
    text = write_genotype(published("DARTS_V2"))
    assert len(text) > 255
    assert done("describe", text, "--json") == done("describe", "DARTS_V2", "--json")


# Help


def options_in(text: str) -> dict[str, str]:
    """Option -> its explanation, from the text of --help."""
    found = re.findall(r"^  (?:-\w(?: [A-Z]+)?, )?(--[\w.]+)\b(.*(?:\n {10,}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(explanation.split()) for name, explanation in found}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_each_setting(command: str):
    text = done(command, "--help")
    assert COMMANDS[command] in " ".join(text.split())
    assert "%%" not in text  # jsonargparse formats no percent signs
    explained = options_in(text)
    defaults = build_parser(load(command)).get_defaults()
    names = {re.sub(r"\.(class_path|init_args).*", "", name) for name, _ in defaults.items()}
    for name in names - {"run", "runs", "images", "architecture", "source", "target", "text", "model", "shell"}:
        shown = re.sub(r"\((required, )?(type|default): .*", "", explained[f"--{name}"])
        words = re.sub(r"^(\{.*?\}|\[.*?\]|[A-Z_]+)", "", shown).split()
        assert len(words) >= 2, f"--{name}: {explained[f'--{name}']}"


@pytest.mark.parametrize(
    ("option", "unit"),
    [
        ("image_size", "pixels"),
        ("test_fraction", "share of the images"),
        ("validation_fraction", "share of the remaining images"),
        ("channels", "output channels"),
        ("cells", "number of cells"),
        ("batch_size", "images per step"),
        ("time", "such as 90s, 30min or 2h"),
        ("search.epochs", "passes over"),
        ("search.log_every", "steps"),
        ("retrain.cutout", "pixels"),
        ("num_random", "number of random architectures"),
    ],
)
def test_help_names_units(option: str, unit: str):
    assert unit in options_in(done("search", "--help"))[f"--{option}"]


def test_help_lists_the_known_parts_and_explains_their_settings():
    options = options_in(done("search", "--help"))
    assert "dnas.GumbelSoftmax" in options["--search.relaxation"]
    assert "dnas.table.RankAgreement" in options["--search.observers"]
    for name in ("discretization", "penalties", "observers"):  # which have internal ones, such as WithinBudget
        assert not re.search(r"dnas\.\w+\.\w+\.[A-Z]", options[f"--search.{name}"])
    assert "--search.relaxation.temperature" in done("search", "--search.relaxation.help", "dnas.GumbelSoftmax")


# Settings


def test_what_print_config_prints_is_a_recipe_for_the_same(tmp_path):
    first = done("search", "--recipe", "gdas", "--seed", 3, "--search.epochs", 7, "--print_config")
    (tmp_path / "recipe.yaml").write_text(first)
    assert done("search", "--recipe", tmp_path / "recipe.yaml", "--print_config") == first


def test_the_command_line_has_the_last_word_over_a_recipe():
    job = printed_job("--recipe", "gdas", "--search.weights.momentum", 0.5, "--search.relaxation.hard", "false")
    assert job["search"]["weights"]["init_args"] | {"lr": None} == {
        "momentum": 0.5,
        "weight_decay": 5e-4,
        "nesterov": True,
        "clip": 5.0,
        "lr": None,
    }
    assert job["search"]["relaxation"]["init_args"]["hard"] is False
    assert job["search"]["relaxation"]["init_args"]["temperature"]["init_args"] == {"start": 10.0, "end": 0.1}


def test_a_later_recipe_changes_an_earlier_one(tmp_path):
    (tmp_path / "more.yaml").write_text("seed: 9\nsearch: {epochs: 3}\n")
    job = printed_job("--recipe", "gdas", "--recipe", tmp_path / "more.yaml")
    assert (job["seed"], job["search"]["epochs"], job["channels"]) == (9, 3, 16)


@pytest.mark.parametrize("written", ["3e-4", "0.0003", "3.0e-4"])
def test_numbers_are_read_as_people_write_them(tmp_path, written: str):
    (tmp_path / "recipe.yaml").write_text(f"search: {{alphas: {{lr: {written}}}}}")
    assert printed_job("--recipe", tmp_path / "recipe.yaml")["search"]["alphas"]["lr"] == 3e-4
    assert printed_job("--search.alphas.lr", written)["search"]["alphas"]["lr"] == 3e-4


def test_the_warm_up_of_a_recipe_follows_the_epochs_where_it_is_not_given():
    def warmup(*arguments: object) -> tuple[int, int]:
        search = printed_job(*arguments)["search"]
        return search["epochs"], search["warmup_epochs"]

    recipe = ("--recipe", "pc_darts")  # 15 of 50
    assert warmup(*recipe, "--search.epochs", 30) == (30, 9)
    assert warmup("--recipe=pc_darts", "--search.epochs=10") == (10, 3)
    assert warmup(*recipe, "--search.epochs", 30, "--search.warmup_epochs", 4) == (30, 4)
    assert warmup("--search.epochs", 30, *recipe) == (50, 15)  # what comes later counts
    assert warmup("--recipe", "darts_1st", "--search.epochs", 30) == (30, 0)


def test_a_part_can_be_named_in_short_or_with_its_arguments_or_in_a_list():
    short = printed_job("--search.relaxation", "dnas.Sigmoid", "--search.penalties", "[dnas.BetaDecay]")["search"]
    assert short["relaxation"]["class_path"] == "dnas.Sigmoid"
    assert short["penalties"][0]["class_path"] == "dnas.BetaDecay"
    whole = printed_job("--search.weights.lr", "{class_path: dnas.Constant, init_args: {value: 0.1}}")
    assert whole["search"]["weights"]["init_args"]["lr"] == {"class_path": "dnas.Constant", "init_args": {"value": 0.1}}


def test_resolved_settings_lie_in_the_run_and_come_back_equal(photos, tmp_path):
    run = tmp_path / "run"
    parts = ["--search.relaxation", "dnas.GumbelSoftmax", "--search.penalties", "[dnas.BetaDecay]"]
    done("search", "--data", photos, "--run", run, *SMALL, *parts, "--seed", 5)
    job = job_of(Run(run), trust=False)
    assert job.search.relaxation == GumbelSoftmax()
    assert job.search.penalties == (BetaDecay(),)
    assert (job.seed, job.channels, job.cells, job.batch_size, job.image_size) == (5, 2, 3, 8, 8)
    assert {"commit", "torch", "dnas", "threads"} <= set(Run(run).read_config()["environment"])


# A user's own part


def test_a_users_part_by_import_path_is_searched_with_and_needs_trust_later(photos, tmp_path, monkeypatch):
    (tmp_path / "my_parts.py").write_text(
        "from dataclasses import dataclass\n"
        "from dnas import Mixture, Relaxation\n"
        "@dataclass(frozen=True)\n"
        "class Warm(Relaxation):\n"
        '    """Softmax at a temperature.\n\n    Args:\n        temperature: what alphas are divided by.\n    """\n'
        "    temperature: float = 2.0\n"
        "    def sample(self, alpha, progress, generator):\n"
        "        return self.expected(alpha, progress)\n"
        "    def expected(self, alpha, progress):\n"
        "        return Mixture((alpha / self.temperature).softmax(-1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "run"
    words = ("--search.relaxation", "my_parts.Warm", "--search.relaxation.temperature", 3)
    out = done("search", "--data", photos, "--run", run, *SMALL, *words)
    assert f"Next: dnas retrain {run} --trust" in out
    config = Run(run).read_config()["job"]["search"]["relaxation"]
    assert config == {"class_path": "my_parts.Warm", "init_args": {"temperature": 3.0}}
    assert dnas("retrain", run).code == 2
    done("retrain", run, "--trust")
    assert dnas("evaluate", run).code == 2
    done("evaluate", run, "--trust")
    done("search", "--resume", run, "--trust", "--baseline", "random", "--num_random", 1)
    done("export", run, "--formats", "state_dict")


def test_a_part_that_no_config_can_hold_is_refused_before_anything_takes_long(photos, tmp_path):
    part = ("--search.relaxation", f"{__name__}.Warm")
    ended = dnas("search", "--data", photos, "--run", tmp_path / "run", *SMALL, *part)
    assert (ended.code, ended.out) == (2, "")
    assert "Make a part of your own a frozen dataclass" in ended.err


def test_commands_to_go_on_are_quoted_for_the_shell():
    assert command_line(Job(), "retrain", Path("my run")) == "dnas retrain 'my run'"
    assert shlex.split(command_line(Job(), "retrain", Path("my run"))) == ["dnas", "retrain", "my run"]


# Retraining begins with the run's settings


def test_retraining_takes_its_defaults_from_the_run_wherever_options_stand(photos, tmp_path):
    run = tmp_path / "run"
    done("search", "--data", photos, "--run", run, *SMALL)
    assert "(type: int, default: 2)" in options_in(done("retrain", "--help", run))["--epochs"]
    done("retrain", "--epochs", 1, run)
    settings = job_of(Run(run / "retrain"), trust=False).retrain
    assert (settings.epochs, settings.channels, settings.cells, settings.auxiliary) == (1, 2, 3, False)


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that nothing changes."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    done("search", "--data", photos, "--run", run, *SMALL)
    return run


def test_a_finished_search_can_be_asked_for_again_and_gives_the_same(finished):
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in finished.rglob("*.json*") if path.name not in timed}

    timed = ("search.json", "compute.json")  # say how long it took
    before = contents()
    done("search", "--resume", finished)
    assert contents() == before


def kept_edges(run: Run) -> set[tuple]:
    cells = run.load_architecture().decisions.items()
    return {(name, edge) for name, cell in cells if isinstance(cell, CellArchitecture) for edge in cell.edges}


def test_a_seed_changes_split_alphas_and_samples_and_the_choices_of_two_are_compared(photos, tmp_path, finished):
    def searched(name: str, *words: object) -> tuple[str, Run]:
        said = done("search", "--data", photos, "--run", tmp_path / name, *SMALL, *words)
        return said, Run(tmp_path / name)

    def losses(run: Run) -> list[float]:
        return [row["train_loss"] for row in run.metrics()]

    plain, (_, other) = Run(finished), searched("b", "--seed", 1)
    said, shifted = searched("c", "--search.seed", 1, "--other_seed", finished)
    parts = [run.load_json("test_part")["images"] for run in (plain, other, shifted)]
    assert parts[0] == parts[2] != parts[1]
    assert losses(shifted) != losses(plain)
    first, second = kept_edges(plain), kept_edges(shifted)
    assert len(first) == len(second) == 4
    assert f"{len(first & second) / 4:.0%} of the choices are those of {finished}: the " in said


# Messages


def test_a_message_that_is_not_known_stays_as_it_is():
    assert plainer("something\n  else", "search", ()) == "something else"


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            True,
        ),
        (RuntimeError("shapes do not fit"), False),
        (RuntimeError("out of memory: a joke of a user's part"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: BaseException, known: bool):
    assert is_out_of_memory(error) is known


def test_the_first_allocation_that_fails_on_this_cpu_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**17)
    assert is_out_of_memory(caught.value)


def test_one_setting_may_be_spelled_as_another_command_spells_it():
    assert printed_job("--epochs", 7)["search"]["epochs"] == 7
    words = ["RUN", "--num", "3", "--retrain.epochs", "2"]
    given = read_arguments(words).renamed({"--num": "--num_random", "--retrain.": "--"})
    assert given.words == ["RUN", "--num_random", "3", "--epochs", "2"]


@pytest.mark.parametrize("rate", [[], ["--search.weights.betas", "[0.9, 0.95]"]])
def test_adamw_is_not_left_the_learning_rate_of_sgd(rate):
    line = refused("search", "--search.weights", "dnas.WeightAdamW", *rate)
    assert "is the learning rate of dnas.WeightSGD" in line
    given = ("--search.weights", "dnas.WeightAdamW", "--search.weights.lr.start", "0.001", *rate)
    assert printed_job(*given)["search"]["weights"]["class_path"] == "dnas.WeightAdamW"


def test_the_settings_of_an_older_run_read_as_sgd(tmp_path):
    (tmp_path / "old.yaml").write_text("search: {weights: {momentum: 0.5}}\n")
    weights = printed_job("--recipe", tmp_path / "old.yaml")["search"]["weights"]
    assert (weights["class_path"], weights["init_args"]["momentum"]) == ("dnas.WeightSGD", 0.5)
