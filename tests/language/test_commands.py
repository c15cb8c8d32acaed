"""`dnas language`: the table is that of the Python functions, goes on where it was stopped, and refuses bad input."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
import yaml

from dnas.cli.language import language_job_of
from dnas.core.run import Run
from dnas.data import load_text
from dnas.data.keyed_random import stream_key
from dnas.formats import read_architecture
from dnas.jobs.recipe import LANGUAGE, recipe_names
from dnas.language import (
    LanguageSearch,
    LanguageTraining,
    perplexity,
    search_language,
    train_language,
    whole_text,
)
from dnas.method.hypergradient import FiniteDifference, OneStep
from dnas.space.recurrent import RecurrentSpace
from dnas.system.display import RichDisplay
from dnas.system.threads import num_threads
from tests.support.cli import dnas, done, refused
from tests.support.language import CELL, SMALL, make_text
from tests.support.tensorboard_pictures import first_picture


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text(tmp_path_factory.mktemp("data") / "letters")


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "mine.txt"
    path.write_text(CELL)
    return path


@pytest.fixture(scope="module")
def whole(text: Path, cell: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    done("language", text, "--run", run, *SMALL, "--seed", 3, "--beside", cell)
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def comparison(run: Path) -> dict:
    """The table without its seconds."""
    data = Run(run).load_json("comparison")
    for row in (data["found"], *data["beside"], *data["random"]):
        assert row.pop("seconds") > 0
    assert data.pop("search_seconds") > 0
    data["findings"].pop()  # the sentence that tells seconds
    return data


def weights(run: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(run / "cells" / name / "network.pt", weights_only=True)


def printed_settings(*arguments: object) -> dict:
    return yaml.safe_load(done("language", *arguments, "--print_config"))


# The table


def test_the_table_is_that_of_the_python_functions_with_the_same_seed(whole: Path, text: Path):
    job = language_job_of(Run(whole), trust=False)
    corpus, space = load_text(text, level="char"), RecurrentSpace(nodes=2)
    search = replace(job.search, search=replace(job.search.search, seed=3))
    training = replace(job.train, seed=3)
    with num_threads(1):
        found = search_language(corpus, space=space, settings=search).architecture
        cells = {"found": found, "mine": read_architecture(CELL)}
        cells |= {f"random {n}": space.random(torch.Generator().manual_seed(stream_key(3, n))) for n in range(2)}
        table = comparison(whole)
        rows = {row["name"]: row for row in (table["found"], *table["beside"], *table["random"])}
        assert list(rows) == list(cells)
        for name, architecture in cells.items():
            torch.manual_seed(3)
            network = space.network(architecture, vocabulary=len(corpus.vocabulary), hidden=6, dropout=training.dropout)
            trained = train_language(network, corpus, settings=training)
            assert rows[name]["validation"] == min(trained.validation)
            test = whole_text(corpus.test, batch_size=2, bptt=8)
            assert rows[name]["test"] == perplexity(trained.network, test)
            assert rows[name]["parameters"] == sum(weight.numel() for weight in network.parameters())
            assert rows[name]["architecture"] == json.loads(architecture.to_json())
            saved = weights(whole, name.replace(" ", "-"))
            assert all(torch.equal(saved[key], value) for key, value in trained.network.state_dict().items())


def test_what_is_printed_is_written_and_every_cell_has_its_row(whole: Path, text: Path):
    printed = done("language", "--resume", whole)
    table = (whole / "comparison.txt").read_text()
    assert table in printed
    assert [line.split("  ")[0] for line in table.splitlines()[1:5]] == ["found", "mine", "random 0", "random 1"]
    assert "of 2 random ones on the test part" in table
    assert "recurrent: weight of each candidate" in (whole / "report.html").read_text()
    found = read_architecture(whole)
    assert read_architecture(whole / "genotype.txt") == found == read_architecture(whole / "cells" / "found")
    kinds = json.loads((whole / "text.json").read_text())
    assert kinds["vocabulary"] == list(load_text(text, level="char").vocabulary.tokens)
    assert not (whole / "cells" / "found" / "checkpoints").exists()


def test_the_search_shows_its_architecture_while_it_runs(whole: Path):
    assert first_picture(whole).startswith(b"\x89PNG")


def test_cells_can_be_added_and_those_that_are_there_are_not_trained_again(run: Path, whole: Path):
    before = {path: path.stat().st_mtime_ns for path in run.glob("cells/*/network.pt")}
    done("language", "--resume", run, "--num", 3)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    rows = comparison(run)["random"]
    assert rows[:2] == comparison(whole)["random"]
    assert [row["name"] for row in rows] == ["random 0", "random 1", "random 2"]
    assert [row["name"] for row in comparison(run)["beside"]] == ["mine"]


def test_without_random_cells_the_table_says_what_is_missing(text: Path, tmp_path: Path):
    printed = done("language", text, "--run", tmp_path / "run", *SMALL, "--num", 0, "--train.epochs", 1)
    assert "Only random cells can show" in printed
    assert [path.name for path in (tmp_path / "run" / "cells").iterdir()] == ["found"]


def test_words_are_read_and_a_method_is_chosen(tmp_path: Path):
    text = make_text(tmp_path / "words", words=True)
    method = ("--search.relaxation", "GumbelSoftmax", "--search.hypergradient", "OneStep")
    run = tmp_path / "run"
    printed = done("language", text, "--level", "word", "--run", run, *SMALL, *method, "--num", 0)
    assert "7 different ones" in printed  # a to e, <unk>, <eos>
    assert "Perplexity per word" in printed
    assert isinstance(language_job_of(Run(run), trust=False).search.search.hypergradient, OneStep)


# Stopped, and gone on with


def stopping(monkeypatch: pytest.MonkeyPatch, phase: str, step: int) -> None:
    """Ctrl-C at a step of a phase."""
    update = RichDisplay.update

    def stop(self, name, done, total, scalars):
        update(self, name, done, total, scalars)
        if (name, done) == (phase, step):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RichDisplay, "update", stop)


def test_a_run_that_was_stopped_goes_on_to_the_same_table(whole, text, cell, tmp_path, monkeypatch):
    run = tmp_path / "my run"
    words = ["language", text, "--run", run, *SMALL, "--seed", 3, "--beside", cell]
    for phase, step in (("search", 5), ("found", 7), ("mine", 1), ("random 1", 15)):
        with monkeypatch.context() as patch:
            stopping(patch, phase, step)
            ended = dnas(*words)
        assert ended.code == 130, ended.err
        assert "was stopped and saved after step" in ended.err and "Traceback" not in ended.err
        words = shlex.split(ended.err.splitlines()[-1])[1:]
        assert words == ["language", "--resume", str(run), "--num", "2", "--beside", str(cell)]
    assert "Going on with" in done(*words)
    assert comparison(run) == comparison(whole)
    for name in ("found", "mine", "random-0", "random-1"):
        assert all(torch.equal(weights(run, name)[key], value) for key, value in weights(whole, name).items())


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_table(whole, text, cell, tmp_path):
    run = tmp_path / "run"
    command = ("language", text, "--run", run, *SMALL, "--seed", 3, "--beside", cell)
    for place, words in (("metrics.jsonl", command), ("cells/mine/metrics.jsonl", ("language", "--resume", run))):
        process = subprocess.Popen(
            [sys.executable, "-m", "dnas", *map(str, words)], stdout=subprocess.DEVNULL, env={**os.environ}
        )
        while not (run / place).exists():
            assert process.poll() is None, "it had ended before it was killed"
            time.sleep(0.001)
        process.kill()
        process.wait()
    assert not (run / "comparison.json").exists()
    done("language", "--resume", run)
    assert comparison(run) == comparison(whole)


# Settings


def test_the_settings_of_a_run_come_back(whole: Path, text: Path, cell: Path):
    job = language_job_of(Run(whole), trust=False)
    assert (job.text, job.level, job.num, job.beside, job.seed) == (str(text), "char", 2, (str(cell),), 3)
    assert (job.search.hidden, job.search.search.epochs, job.train.hidden) == (4, 2, 6)
    assert Run(whole).read_config()["language"] == job.to_data()


def test_where_nothing_is_said_sizes_are_those_of_the_recipe_for_a_laptop(text: Path):
    assert printed_settings(text) == printed_settings(text, "--recipe", "laptop")
    assert printed_settings(text)["train"]["hidden"] < LanguageTraining().hidden
    assert printed_settings(text, "--recipe", "laptop", "--train.hidden", 5)["train"]["hidden"] == 5


def test_the_recipe_of_darts_has_the_settings_of_the_python_api_in_second_order(tmp_path: Path, text: Path):
    (tmp_path / "empty.yaml").write_text("level: word\n")
    official, plain = (printed_settings(text, "--recipe", name) for name in ("darts_rnn", tmp_path / "empty.yaml"))
    second = official["search"].pop("hypergradient")
    first = plain["search"].pop("hypergradient")
    assert official == plain
    assert first["class_path"] == "dnas.FirstOrder"
    assert second["init_args"] == {
        "mixed": {"class_path": "dnas.FiniteDifference", "init_args": {"radius": FiniteDifference().radius}},
        "clip": 0.25,
    }
    defaults = LanguageSearch()
    assert {name: plain[name] for name in ("hidden", "batch_size", "bptt")} == {
        field.name: getattr(defaults, field.name)
        for field in fields(defaults)
        if field.name in ("hidden", "batch_size", "bptt")
    }
    rate = plain["search"]["weights"]["init_args"]["lr"]["init_args"]
    assert rate["value"] == defaults.search.weights.lr_at(0.0) == 20


@pytest.mark.parametrize("name", recipe_names(LANGUAGE))
def test_each_recipe_for_text_runs(name: str, text: Path, tmp_path: Path):
    short = ("--search.epochs", 1, "--train.epochs", 1, "--num", 0)
    done("language", text, "--recipe", name, "--level", "char", "--run", tmp_path / "run", *SMALL, *short)


def test_each_recipe_for_text_says_where_it_is_from():
    for name in recipe_names(LANGUAGE):
        assert "https://arxiv.org/abs/1806.09055" in (LANGUAGE / f"{name}.yaml").read_text().split("\nlevel")[0]


def test_a_text_that_is_short_lowers_the_rows_and_says_so(text: Path, tmp_path: Path):
    size = ("--batch_size", 200, "--train.epochs", 1, "--search.epochs", 1, "--num", 0)
    printed = done("language", text, "--run", tmp_path / "run", *SMALL, *size)
    lowered = language_job_of(Run(tmp_path / "run"), trust=False).search.batch_size
    assert f"Note: batch_size 200 is more than the text is long enough for, and lowered to {lowered}." in printed
    valid = len(load_text(text, level="char").valid)
    assert lowered == valid // 24


# Bad input


def test_a_text_that_is_not_there_or_no_text(tmp_path: Path):
    assert (
        refused("language", tmp_path / "none.txt")
        == f"There is no file or folder {tmp_path / 'none.txt'}; expected text."
    )
    (tmp_path / "image.png").write_bytes(bytes(range(256)) * 20)
    assert "is not UTF-8 text" in refused("language", tmp_path / "image.png")
    (tmp_path / "zeros.bin").write_bytes(b"a\0b\0" * 500)
    assert "is not a text: it holds zero bytes" in refused("language", tmp_path / "zeros.bin")
    (tmp_path / "empty.txt").write_text("\n")
    assert "is empty; expected text" in refused("language", tmp_path / "empty.txt")
    assert "needs TEXT, or --resume RUN" in refused("language")


def test_a_text_that_is_too_short_says_what_to_lower_and_leaves_no_run(tmp_path: Path):
    (tmp_path / "short.txt").write_text("abc def " * 50)
    line = refused("language", tmp_path / "short.txt", "--run", tmp_path / "run")
    assert "is too short: batch_size would have to be 2 or more, each row of 60 tokens" in line
    assert line.endswith("lower --bptt.")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--train.epoch", "3"), "there is no option --train.epoch (did you mean '--train.epochs'?)"),
        (("--train.epochs", "many"), "--train.epochs: expected a whole number; got many."),
        (("--hidden", "0"), "hidden must be 1 or more; got 0"),
        (("--level", "letter"), "--level: expected one of 'word', 'char'; got 'letter'."),
        (("--num", "-1"), "num, the number of random cells, must be 0 or more; got -1."),
        (("--threads", "0"), "threads must be at least 1; got 0."),
        (("--dropout.output", "1"), "dropout output must be from 0 to below 1; got 1"),
        (("--space.candidates", "[none]"), "candidates must be different and hold one besides 'none'"),
        (("--beside", "DARTS_V2"), "'DARTS_V2' holds an architecture of space 'darts'; expected 'darts_rnn'."),
        (("--beside", "missing"), "There is no 'missing'; expected a run folder"),
        (("--recipe", "gdas"), "There is no recipe 'gdas'; there are darts_rnn, laptop"),
        (("--search.stages", "[{epochs: 1}]"), "A recurrent cell is not searched in stages"),
        (("--trust",), "--trust has no effect on a new search"),
    ],
)
def test_values_that_do_not_fit(text: Path, tmp_path: Path, arguments: tuple[str, ...], said: str):
    assert said in refused("language", text, "--run", tmp_path / "run", *arguments)
    assert not (tmp_path / "run" / "comparison.json").exists()


def test_a_recipe_for_images_is_refused(text: Path, tmp_path: Path):
    (tmp_path / "images.yaml").write_text("channels: 16\n")
    assert "there is no setting 'channels'" in refused("language", text, "--recipe", tmp_path / "images.yaml")


def test_a_run_that_is_there_is_gone_on_with_by_resume_alone(run: Path, text: Path, tmp_path: Path):
    assert f"`dnas language --resume {run}` goes on" in refused("language", text, "--run", run, *SMALL)
    assert "with --resume all settings come from the run" in refused("language", "--resume", run, "--bptt", 3)
    assert "with --resume the text is that of the run" in refused("language", text, "--resume", run)
    assert "There is no run folder" in refused("language", "--resume", tmp_path / "none")
    assert "no entry 'job'" in refused("retrain", run)


def test_a_text_that_has_changed_is_noticed(run: Path, tmp_path: Path):
    text = make_text(tmp_path / "letters")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["language"]["text"] = str(text)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    done("language", "--resume", run)  # the same text elsewhere
    with (text / "test.txt").open("a") as file:
        file.write("a")
    assert "is of another text than there is now" in refused("language", "--resume", run)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("train", {"epochs": 3}, "was made with other settings: epochs is 2 there and 3 here"),
        ("seed", 4, "is the checkpoint of another search"),
        ("hidden", "wide", "is damaged: hidden: expected a whole number"),
        ("trian", {}, "there is no setting 'trian' (did you mean 'train'?)"),
        ("search", {"relaxation": "os.path.Relaxation"}, "code outside dnas is not run"),
        ("loss", "/etc/passwd", "expected settings under loss"),
    ],
)
def test_settings_that_were_changed_or_damaged(run: Path, name: str, value, said: str):
    config = yaml.safe_load((run / "config.yaml").read_text())
    settings = config["language"]
    settings[name] = {**settings[name], **value} if name in settings and isinstance(value, dict) else value
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert said in refused("language", "--resume", run)


def test_files_of_cells_that_are_damaged_or_of_others(run: Path):
    result = run / "cells" / "mine" / "result.json"
    good = result.read_text()
    result.write_text("[]")
    assert f"{result} is damaged" in refused("language", "--resume", run)
    result.write_text("{")
    assert f"{result} is not JSON" in refused("language", "--resume", run)
    result.write_text(good)
    shutil.copy(run / "cells" / "random-0" / "architecture.json", run / "cells" / "mine" / "architecture.json")
    assert "is of another cell than the mine that is asked for" in refused("language", "--resume", run)
