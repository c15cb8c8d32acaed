"""The commands on real kinds of data, from search to prediction; how they stop, and go on as if they had not."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dnas import Run, load
from dnas.cost import count_parameters
from dnas.jobs.run_folder import new_run_folder
from dnas.shipping.package import read_spec
from dnas.system.words import seconds_in
from tests.support.cli import SMALL, dnas, done, make_photos, refused

DESCRIBED = ("--channels", 2, "--cells", 3, "--json")


def without_times(data: Any) -> Any:
    """Plain data without what a clock decides, and without the digest of it all."""
    if isinstance(data, dict):
        kept = {name: value for name, value in data.items() if "seconds" not in name and name != "sha256"}
        return {name: without_times(value) for name, value in kept.items()}
    return [without_times(value) for value in data] if isinstance(data, list) else data


def results(run: Path) -> dict[str, Any]:
    """All numbers and architectures that commands left in a run, by file; times are left out.

    So are the compute of the run, which is a time, and the comparison, since it buys random search as many networks as
    the time of the search pays for; its rows are in results.json too.
    """
    of_times = {run / "compute.json", run / "baseline" / "comparison.json"}
    found: dict[str, Any] = {}
    for path in sorted(set(run.rglob("*.json*")) - of_times):
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else None
        found[str(path.relative_to(run))] = without_times(json.loads(path.read_text()) if rows is None else rows)
    return found


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "retrain" / "network.pt", weights_only=True)


# From images to a network that predicts


@pytest.mark.slow
def test_the_whole_job_on_digits(tmp_path):
    run, image = tmp_path / "run", tmp_path / "digit.png"
    large = ("--batch_size", 64, "--retrain.batch_size", 64)  # few steps of 1,527 images
    out = done("search", "--data", "digits", "--run", run, *SMALL, *large, "--baseline", "random", "--num_random", 2)
    assert "percentile" in out
    assert "random search" in out.lower()
    assert out.rstrip().endswith(f"Next: dnas evaluate {run}; dnas export {run}")
    assert (run / "baseline" / "comparison.txt").read_text().strip() in out

    rows = Run(run / "baseline").load_json("comparison")
    best = max([rows["found"], *rows["random"]], key=lambda row: row["validation"])  # the first of equals
    chosen = done("evaluate", run)
    assert f"the best of 3 by held-out top-1 ({best['validation']:.2%}" in chosen
    assert Run(run / "evaluation").load_json("evaluation")["top1"] == best["test"]
    done("evaluate", run, "--network", "random 1")
    assert Run(run / "evaluation").load_json("evaluation")["top1"] == rows["random"][1]["test"]

    evaluated = done("evaluate", run, "--network", "found")
    measured = Run(run / "evaluation").load_json("evaluation")
    assert f"top-1 {measured['top1']:.2%}" in evaluated
    assert measured["num_images"] == Run(run).load_json("test_part")["num_images"] == 270
    lines = (run / "evaluation" / "confusion.csv").read_text().splitlines()
    assert len(lines) == 11
    assert sum(int(cell) for line in lines[1:] for cell in line.split(",")[1:]) == 270
    assert rows["found"]["test"] == measured["top1"]

    twin = tmp_path / "twin.json"
    twin.write_text((run / "architecture.json").read_text())
    out = done("baseline", run, "--num", 2, "--beside", twin)
    assert re.search(rf"^twin +{measured['top1']:.2%} ", out, re.MULTILINE)

    parameters = count_parameters(load(run))
    described = json.loads(done("describe", run, "--json"))
    assert described == json.loads(done("describe", run, *DESCRIBED, "--input_size", 8, "--in_channels", 1))
    assert described["parameters"] == parameters == measured["parameters"]
    assert described["flops"] == measured["forward_flops"]

    exported = done("export", run, "--network", "found")
    for name in ("network.onnx", "network.pt2", "network.pt"):
        assert str(run / "export" / name) in exported
    Image.fromarray(np.tile(np.arange(0, 240, 20, dtype=np.uint8), (12, 1))).save(image)
    predicted = done("predict", run, image, "--network", "found")
    assert re.fullmatch(rf"{re.escape(str(image))}: \d [\d.]+%  \d [\d.]+%  \d [\d.]+%\n", predicted)
    assert done("predict", run / "export" / "network.onnx", image) == predicted
    assert done("predict", run / "export", image) == predicted


def trained(data: Path | str, run: Path, *words: object) -> None:
    """Search, retrain, evaluate."""
    done("search", "--data", data, "--run", run, *SMALL, *words)
    done("retrain", run)
    done("evaluate", run)


@pytest.mark.slow
def test_a_folder_of_mixed_formats_and_sizes_with_a_test_part_of_its_own(tmp_path):
    random = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 5)):
        for label, name in enumerate(("rot", "grün")):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                kind = ("jpg", "png", "gif", "bmp", "webp")[index % 5]
                size = (9 + index, 30 - index, 3)
                pixels = random.normal((60, 200)[label], 30, size).clip(0, 255).astype("uint8")
                Image.fromarray(pixels).save(folder / f"{index}.{kind}")
    (tmp_path / "photos" / "train" / "rot" / "notes.txt").write_text("not an image")
    run = tmp_path / "run"
    trained(tmp_path / "photos", run)
    assert Run(run / "evaluation").load_json("evaluation")["num_images"] == 10
    assert all(path.startswith("test/") for path in Run(run).load_json("test_part")["images"])
    spec = read_spec(run / "retrain")
    assert spec.interface.class_names == ("grün", "rot")
    assert spec.interface.shape == (3, 8, 8)
    image = tmp_path / "photos" / "test" / "grün" / "0.jpg"
    assert done("predict", run, image, "--top", 2).count("%") == 2


@pytest.mark.slow
def test_grey_images_make_a_network_of_one_channel_that_takes_coloured_files_too(tmp_path):
    run = tmp_path / "run"
    trained(make_photos(tmp_path / "photos", grey=True), run)
    assert read_spec(run / "retrain").interface.shape == (1, 8, 8)
    coloured = tmp_path / "coloured.png"
    Image.new("RGB", (20, 30), (200, 10, 10)).save(coloured)
    done("predict", run, coloured)


@pytest.mark.slow
def test_cifar_in_its_binary_form(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "cifar").mkdir()
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        labels = np.arange(40, dtype=np.uint8)[:, None] % 10
        pixels = random.integers(0, 256, (40, 3072), dtype=np.uint8)
        (tmp_path / "cifar" / name).write_bytes(np.concatenate([labels, pixels], axis=1).tobytes())
    (tmp_path / "cifar" / "batches.meta.txt").write_text("\n".join(f"class_{i}" for i in range(10)))
    run = tmp_path / "run"
    trained(tmp_path / "cifar", run)
    assert Run(run).load_json("test_part") | {"images": [], "digest": ""} == {
        "num_images": 40,
        "num_rest": 200,
        "images": [],
        "digest": "",
    }
    assert read_spec(run / "retrain").interface.class_names == tuple(f"class_{i}" for i in range(10))


@pytest.mark.slow
def test_a_parquet_file(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    photos = make_photos(tmp_path / "photos")
    files = sorted(photos.rglob("*.png"))
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    rows = {"image": images, "label": [file.parent.name for file in files]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "photos.parquet")
    run = tmp_path / "run"
    trained(tmp_path / "photos.parquet", run)
    assert read_spec(run / "retrain").interface.class_names == ("cat", "dog")
    assert Run(run).load_json("test_part")["num_images"] == 7


# The test part


def spoiled(image: Path) -> None:
    """Other pixels in the same place."""
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (10, 10, 3), dtype=np.uint8)).save(image)


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False], ids=["test folder", "set aside"])
def test_search_and_retraining_do_not_depend_on_the_test_part(tmp_path, own: bool):
    photos = make_photos(tmp_path / "photos" / "train" if own else tmp_path / "photos")
    if own:
        make_photos(tmp_path / "photos" / "test", count=4)
    done("search", "--data", tmp_path / "photos", "--run", tmp_path / "clean", *SMALL)
    done("retrain", tmp_path / "clean")
    listed = Run(tmp_path / "clean").load_json("test_part")["images"]
    assert len(listed) == (8 if own else 7)
    for name in listed:
        spoiled(tmp_path / "photos" / name)
    if own:  # whose labels may be wrong, too
        (tmp_path / "photos" / "test" / "cat").rename(tmp_path / "photos" / "test" / "other")
        (tmp_path / "photos" / "test" / "dog").rename(tmp_path / "photos" / "test" / "cat")
        (tmp_path / "photos" / "test" / "other").rename(tmp_path / "photos" / "test" / "dog")
    done("search", "--data", tmp_path / "photos", "--run", tmp_path / "spoiled", *SMALL)
    done("retrain", tmp_path / "spoiled")
    clean, other = results(tmp_path / "clean"), results(tmp_path / "spoiled")
    clean.pop("test_part.json"), other.pop("test_part.json")
    assert clean == other
    first, second = weights(tmp_path / "clean"), weights(tmp_path / "spoiled")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert photos.exists()


# Stopping and going on


LONGER = (*SMALL, "--search.epochs", "4", "--retrain.epochs", "4", "--retrain.log_every", "1")


def started(*arguments: object) -> subprocess.Popen[str]:
    """A command in a process of its own, with as many threads as this one."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "dnas", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def stopped(process: subprocess.Popen[str], number: signal.Signals, when: Callable[[], bool]) -> str:
    """Send the signal once `when` holds, or let the process end before; its stderr comes back."""
    while process.poll() is None and not when():
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 128 + number), err
    return err


def lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos", count=100)


@pytest.fixture(scope="module")
def uninterrupted(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Search, retraining and baseline that nobody stopped."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    done("search", "--data", photos, "--run", run, *LONGER)
    done("retrain", run)
    done("baseline", run, "--num", 2)
    return run


# How search, retraining and baseline are stopped, one after the other.
SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGKILL)


@pytest.mark.slow
def test_each_command_that_was_stopped_goes_on_to_the_same_bits(photos, uninterrupted, tmp_path):
    run = tmp_path / "my run"
    stages: list[tuple[tuple[object, ...], tuple[object, ...], Path, int]] = [
        (("search", "--data", photos, "--run", run, *LONGER), ("search", "--resume", run), run, 15),
        (("retrain", run), ("retrain", run), run / "retrain", 20),
        (
            ("baseline", run, "--num_random", 2),
            ("baseline", run, "--num_random", 2),
            run / "baseline" / "001",
            20,
        ),
    ]
    for number, (command, again, folder, rows) in zip(SIGNALS, stages, strict=True):
        metrics = folder / "metrics.jsonl"
        said = stopped(started(*command), number, lambda metrics=metrics, rows=rows: lines(metrics) >= rows)
        if number != signal.SIGKILL:
            printed = said.strip().splitlines()[-1].strip()
            assert shlex.split(printed) == ["dnas", *map(str, again)], said
            assert "was stopped" in said
            assert "Traceback" not in said
        assert lines(metrics) < lines(uninterrupted / metrics.relative_to(run)), "it had ended before it was stopped"
        done(*again)
    assert [path for path in run.rglob(".*") if path.is_file()] == [], "a lock or an unfinished file is left"
    assert results(run) == results(uninterrupted)
    first, second = weights(run), weights(uninterrupted)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_search_stopped_before_its_first_step_leaves_nothing_to_go_on_with(photos, tmp_path, number):
    run = tmp_path / "run"
    process = started("search", "--data", photos, "--run", run, *LONGER)
    assert process.stdout is not None
    process.stdout.readline()  # it says what the data are, then measures
    said = stopped(process, number, lambda: True)
    assert said.strip() == "Stopped."
    assert not run.exists()


@pytest.mark.slow
def test_a_search_with_a_baseline_goes_on_with_the_baseline(photos, tmp_path):
    run = tmp_path / "run"
    words = ("--baseline", "random", "--num_random", 1)
    process = started("search", "--data", photos, "--run", run, *LONGER, *words)
    said = stopped(process, signal.SIGINT, lambda: lines(run / "retrain" / "metrics.jsonl") >= 10)
    printed = said.strip().splitlines()[-1].strip()
    assert shlex.split(printed) == ["dnas", "search", "--resume", str(run), *map(str, words)]
    assert "percentile" in done(*shlex.split(printed)[1:])


# What is said


def test_a_batch_larger_than_the_data_is_lowered_and_that_is_said(tmp_path):
    photos = make_photos(tmp_path / "photos")
    out = done("search", "--data", photos, "--run", tmp_path / "run", *SMALL, "--batch_size", 10**6)
    assert "Note: batch_size 1000000 is more than the samples in each half of the data, and lowered." in out
    out = done("retrain", tmp_path / "run", "--batch_size", 1000)
    assert "batch size 1000 lowered to 37" in out


# Folders and time


def test_a_new_run_is_named_after_its_data_and_the_time():
    for data, name in (("digits", "digits"), ("hf:ylecun/mnist", "mnist"), ("/my photos/", "my-photos"), ("/", "data")):
        assert re.fullmatch(rf"runs/{name}-\d{{8}}-\d{{6}}", str(new_run_folder(data)))


def test_a_run_folder_that_may_not_be_written_to_is_refused_before_anything_takes_long(photos, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "may not be written to" in refused("search", "--data", photos, "--run", tmp_path / "closed" / "run", *SMALL)


def search_within(time_given: str, photos: Path, run: Path) -> None:
    """A search in a process of its own keeps the time given and the time that it says it needs."""
    began = time.monotonic()
    process = started("search", "--data", photos, "--run", run, "--time", time_given)
    assert process.stdout is not None
    said = 0.0
    with process:  # closes its pipes
        for line in process.stdout:
            found = re.search(r"^Search: .*: about ([\d.]+ (?:s|min))\b", line)
            if found:
                said, planned_at = seconds_in(found[1]), time.monotonic()
        assert process.wait(timeout=60) == 0
    assert time.monotonic() - planned_at <= said
    assert time.monotonic() - began <= seconds_in(time_given)
    assert dnas("describe", run).code == 0


@pytest.mark.soak
def test_a_thousand_photos_are_searched_within_two_minutes(tmp_path):
    random = np.random.default_rng(0)
    y, x = np.mgrid[:224, :224] / 224
    for label in range(4):
        folder = tmp_path / "photos" / f"class {label}"
        folder.mkdir(parents=True)
        for index in range(250):
            waves = [np.sin((3 + 4 * label) * (axis + random.normal())) for axis in (x, y, x + y)]
            pixels = 128 + 60 * np.stack(waves, -1) + random.normal(0, 20, (224, 224, 3))
            Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(folder / f"{index}.jpg", quality=90)
    search_within("2min", tmp_path / "photos", tmp_path / "run")


@pytest.mark.slow
def test_a_retraining_learns_from_the_network_of_another_run(uninterrupted, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run, ignore=shutil.ignore_patterns("retrain", "evaluation"))
    done("retrain", run, "--teacher", uninterrupted, "--distillation.weight", 0.7)
    taught = Run(run / "retrain").load_json("retrain")["teacher"]
    assert (taught["temperature"], taught["weight"]) == (4.0, 0.7)
    assert "finished before" in done("retrain", run)  # goes on with its teacher
    shutil.rmtree(run / "retrain")
    assert "is no run folder" in refused("retrain", run, "--teacher", "nowhere")
    assert "cannot be imported" in refused("retrain", run, "--teacher", "nowhere:net")
