"""The command line as a user meets it: the whole job, being stopped, and mistakes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import dnas
from dnas.cli import main
from dnas.recipe import recipe_names

SMALL = ["--channels", "4", "--cells", "2", "--search.epochs", "2", "--search.warmup_epochs", "1"]
SMALL += ["--retrain.channels", "4", "--retrain.cells", "2", "--retrain.epochs", "1"]


def command(*arguments: object) -> int:
    """Exit status of `dnas ARGUMENTS`."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return 0 if exit_.value.code is None else int(exit_.value.code)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose search has finished."""
    run = tmp_path_factory.mktemp("runs") / "digits"
    assert command("search", "--recipe", "digits", "--run", run, *SMALL) == 0
    return run


@pytest.fixture(scope="module")
def retrained(searched: Path) -> Path:
    assert command("retrain", searched) == 0
    return searched


# The whole job


@pytest.mark.slow
def test_search_retrain_baseline_evaluate_export_and_predict(
    retrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("baseline", retrained, "--num", 2) == 0
    table = (retrained / "baseline" / "comparison.txt").read_text()
    assert "found by the search" in table
    assert "of 2 random" in table
    assert command("evaluate", retrained) == 0
    evaluation = json.loads((retrained / "evaluation" / "evaluation.json").read_text())
    listed = json.loads((retrained / "test_part.json").read_text())
    assert evaluation["num_images"] == len(listed["images"]) == 270
    confusion = (retrained / "evaluation" / "confusion.csv").read_text().splitlines()
    assert sum(int(count) for row in confusion[1:] for count in row.split(",")[1:]) == 270
    assert command("export", retrained) == 0
    image = tmp_path / "three.png"
    from sklearn.datasets import load_digits

    Image.fromarray((load_digits().images[3] * 255 / 16).astype("uint8")).save(image)
    capsys.readouterr()
    assert command("predict", retrained, image) == 0
    by_run = capsys.readouterr().out
    assert command("predict", retrained / "export" / "network.onnx", image) == 0
    assert capsys.readouterr().out == by_run
    assert dnas.load(retrained)(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_describe_prints_the_published_counts(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--channels", "36", "--cells", "20", "--num-classes", "10", "--input-size", "32"]
    assert command("describe", "DARTS_V2", "--space", "darts", *sizes, "--json") == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 3_349_342
    assert command("describe", "DARTS_V2", *sizes, "--auxiliary", "--json") == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 3_825_768
    supernet = ["--supernet", "--channels", "16", "--cells", "8", "--json"]
    assert command("describe", "DARTS_V2", *supernet) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 1_930_618


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_runs_two_steps(name: str, tmp_path: Path) -> None:
    run = tmp_path / name
    small = ["--data", "digits", "--channels", 2, "--cells", 1, "--batch_size", 400, "--image_size", 8]
    short = ["--search.epochs", 1, "--search.warmup_epochs", 0]
    assert command("search", "--recipe", name, "--run", run, *small, *short) == 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 2
    assert rows[-1]["val_loss"] > 0
    assert dnas.Architecture.load(run / "architecture.json").decisions


# Being stopped


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_search_goes_on_to_the_same_result(number: signal.Signals, searched: Path, tmp_path: Path) -> None:
    run = tmp_path / "stopped"
    arguments = ["search", "--recipe", "digits", "--run", str(run), *SMALL]
    process = subprocess.Popen([sys.executable, "-m", "dnas", *arguments], stderr=subprocess.PIPE, text=True)
    checkpoint = run / "checkpoints" / "last.pt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    if number == signal.SIGINT and process.returncode != 0:
        assert process.returncode == 130
        assert f"dnas search --resume {run}" in errors
    assert command("search", "--resume", run) == 0
    for name in ("architecture.json",):
        assert (run / name).read_text() == (searched / name).read_text()

    def rows(folder: Path) -> list[dict]:
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]

    assert rows(run) == rows(searched)


# Mistakes


def mistake(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a mistaken command prints."""
    capsys.readouterr()
    assert command(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def folder_of(path: Path, *classes: str, broken: bool = False) -> Path:
    for name in classes:
        (path / name).mkdir(parents=True)
        for index in range(8):
            Image.new("RGB", (20, 20), (index * 9, 0, 0)).save(path / name / f"{index}.png")
    if broken:
        (path / classes[0] / "torn.png").write_bytes((path / classes[0] / "0.png").read_bytes()[:40])
    return path


def test_mistakes_in_what_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "/nowhere" in mistake(capsys, "search", "--data", "/nowhere")
    assert "one class" in mistake(capsys, "search", "--data", folder_of(tmp_path / "one", "cat"))
    assert "torn.png" in mistake(
        capsys, "search", "--data", folder_of(tmp_path / "torn", "cat", "dog", broken=True), "--run", tmp_path / "r"
    )
    assert "--chanels" in mistake(capsys, "search", "--chanels", 4)
    assert "digits" in mistake(capsys, "search", "--recipe", "digit")
    assert "epochs" in mistake(capsys, "search", "--search.epochs", 0)
    assert "Foo" in mistake(capsys, "search", "--search.relaxation", "Foo")
    assert "30min" in mistake(capsys, "search", "--time", "soon")
    assert "cuda:7" in mistake(capsys, "search", "--device", "cuda:7")
    assert "run folder" in mistake(capsys, "retrain", tmp_path / "missing")
    assert "Genotype" in mistake(capsys, "describe", tmp_path / "missing.txt")
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("Genotype(normal=[('no_such_op', 0)], normal_concat=[2], reduce=[], reduce_concat=[])")
    assert "no_such_op" in mistake(capsys, "describe", wrong)


def test_mistakes_about_a_run(searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "already" in mistake(capsys, "search", "--recipe", "digits", "--run", searched)
    assert "--search.epochs" in mistake(capsys, "search", "--resume", searched, "--search.epochs", 3)
    copy = tmp_path / "copy"
    copy.mkdir()
    data = yaml.safe_load((searched / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump(data))
    assert "retrain" in mistake(capsys, "evaluate", copy)
    assert "architecture.json" in mistake(capsys, "retrain", copy)
    data["job"]["search"]["relaxation"] = {"class_path": "os.system", "init_args": {}}
    (copy / "config.yaml").write_text(yaml.safe_dump(data))
    assert "--trust" in mistake(capsys, "search", "--resume", copy)
    (copy / "config.yaml").write_text("job: [")
    assert "YAML" in mistake(capsys, "search", "--resume", copy)


def test_a_checkpoint_of_another_space_is_named(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "other"
    assert command("search", "--recipe", "digits", "--run", run, *SMALL, "--space", "NasBench201Space") == 0
    (run / "checkpoints" / "last.pt").write_bytes((searched / "checkpoints" / "last.pt").read_bytes())
    assert "another space" in mistake(capsys, "search", "--resume", run)


def test_a_checkpoint_that_holds_code_is_refused(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pickle

    class Payload:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    run = tmp_path / "evil"
    assert command("search", "--recipe", "digits", "--run", run, *SMALL) == 0
    (run / "checkpoints" / "last.pt").write_bytes(pickle.dumps(Payload()))
    assert "last.pt" in mistake(capsys, "search", "--resume", run)
    assert not (tmp_path / "ran").exists()
