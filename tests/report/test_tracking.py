"""What of a run is copied to a tracking server, and to MLflow and Weights & Biases where they are installed."""

import json

import pytest

import dnas
from dnas.report.tracking import Mlflow, Tracked, Wandb, tracked
from tests.support.cli import done, refused


@pytest.fixture
def run(tmp_path):
    found = dnas.Run(tmp_path / "mine")
    (tmp_path / "mine" / "retrain").mkdir(parents=True)
    (tmp_path / "mine" / "config.yaml").write_text("seed: 0\njob: {data: digits, search: {epochs: 2, stages: []}}\n")
    rows = [{"step": 3, "epoch": 1, "train_loss": 0.5, "cell": "a"}, {"step": 6, "epoch": 2, "train_loss": 0.25}]
    (tmp_path / "mine" / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "mine" / "retrain" / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 2}) + "\n")
    return found


def test_settings_have_dotted_names_and_rows_their_steps(run):
    found = tracked(run)
    assert found == Tracked(
        name="mine",
        settings={"seed": "0", "job.data": "digits", "job.search.epochs": "2", "job.search.stages": "[]"},
        rows=[
            (3, {"epoch": 1.0, "train_loss": 0.5}),
            (6, {"epoch": 2.0, "train_loss": 0.25}),
            (1, {"retrain/loss": 2.0}),
        ],
        files=[run.path / "config.yaml"],
    )


def test_what_is_no_run_and_what_is_no_server_are_refused(tmp_path):
    assert "no run folder" in refused("track", tmp_path / "none", "--to", "mlflow")
    assert "--to" in refused("track", tmp_path, "--to", "paper")


def test_mlflow_keeps_numbers_and_settings_in_a_folder(run, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert "4 settings, 3 rows, 1 files" in done("track", run.path, "--to", "mlflow")
    Mlflow().keep(tracked(run))  # once more is another run there


def test_wandb_keeps_a_run_offline(run, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    Wandb().keep(tracked(run))
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
