"""The run folder: what is written comes back, damage is told, and nothing in a file is executed."""

import json
import math
import pickle
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from dnas.core.architecture import Architecture
from dnas.core.run import Run, commit, environment
from dnas.system.tensor_file import load_tensors


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


def files(run: Run) -> set[str]:
    return {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}


# The folder


def test_nothing_is_made_before_something_is_written(run):
    assert run.metrics() == []
    assert not run.path.exists()


def test_a_missing_folder_and_one_that_holds_no_run_are_told(run):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        Run.open(run.path)
    run.path.mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no config\.yaml"):
        Run.open(run.path)


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="no run folder"):
        Run.open(tmp_path / "file")


def test_a_child_lies_inside_and_is_made_when_written(run):
    run.child("retrain").save_json("x", 1)
    assert files(run) == {"retrain/x.json"}


# Settings


def test_settings_come_back_with_the_versions_they_ran_under(run):
    settings = {"seed": 3, "lr": 1e-3, "data": "Blüten/ß", "penalties": [], "nested": {"time": None, "on": True}}
    run.write_config(settings)
    data = Run.open(run.path).read_config()
    assert data.pop("environment") == environment()
    assert data == settings


def test_the_environment_names_versions_commit_threads_and_device():
    found = environment()
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["commit"] is None or len(found["commit"]) == 40
    assert set(found) == {"dnas", "commit", "torch", "python", "machine", "threads", "device"}


@pytest.mark.parametrize("text", ["a: [1", "\0", "- 1\n- 2\n", ""])
def test_a_damaged_config_is_told(run, text: str):
    run.path.mkdir()
    run.config_path.write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml"):
        run.read_config()


def test_a_config_that_is_not_text_is_told(run):
    run.path.mkdir()
    run.config_path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not readable YAML"):
        run.read_config()


def test_no_code_in_a_config_is_run(run, tmp_path):
    run.path.mkdir()
    run.config_path.write_text(f"a: !!python/object/apply:os.mkdir [{tmp_path / 'executed'}]\n")
    with pytest.raises(ValueError, match="not readable YAML"):
        run.read_config()
    assert not (tmp_path / "executed").exists()


# Metrics


def test_rows_come_back_in_order(run):
    run.log(1, {"loss": 0.5, "phase": "step"})
    run.log(2, {"loss": 0.25})
    assert run.metrics() == [{"step": 1, "loss": 0.5, "phase": "step"}, {"step": 2, "loss": 0.25}]
    run.close()


def test_values_that_json_does_not_know_are_written_as_text(run):
    run.log(1, {"loss": math.nan, "norm": math.inf, "low": -math.inf})
    assert run.metrics() == [{"step": 1, "loss": "nan", "norm": "inf", "low": "-inf"}]
    run.close()


def test_a_last_row_that_a_kill_has_cut_short_is_left_out(run):
    run.log(1, {"loss": 0.5})
    with run.metrics_path.open("a") as file:
        file.write('{"step": 2, "lo')
    assert run.metrics() == [{"step": 1, "loss": 0.5}]
    run.cut_metrics(5)
    run.log(2, {"loss": 0.25})  # does not end up behind the half row
    assert [row["step"] for row in run.metrics()] == [1, 2]
    run.close()


def test_a_damaged_row_elsewhere_is_told_with_its_line(run):
    run.path.mkdir()
    run.metrics_path.write_text('{"step": 1}\nnot json\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2, is not JSON"):
        run.metrics()


def test_cutting_forgets_the_rows_after_a_step(run):
    for step in (1, 2, 2, 3):
        run.log(step, {"loss": float(step)})
    run.cut_metrics(2)
    assert [row["step"] for row in run.metrics()] == [1, 2, 2]
    run.cut_metrics(0)
    assert run.metrics() == []
    run.close()


# TensorBoard


def events(run: Run, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(run.path / "tensorboard"))
    accumulator.Reload()
    if tag not in accumulator.Tags()["scalars"]:
        return []
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def test_numbers_are_tensorboard_events_too(run):
    run.log(1, {"loss": 0.5, "phase": "step"})
    run.log(2, {"loss": math.nan, "accuracy": 1})
    run.close()
    assert events(run, "loss") == [(1, 0.5)]
    assert events(run, "accuracy") == [(2, 1.0)]
    assert events(run, "phase") == []


def test_tensorboard_is_cut_back_like_the_metrics_and_goes_on_from_there(run):
    for step in range(1, 7):
        run.log(step, {"loss": step / 2})
    run.close()
    resumed = Run(run.path)  # as after a kill, in another process
    resumed.cut_metrics(3)
    resumed.log(4, {"loss": 40.0})
    resumed.close()
    assert events(run, "loss") == [(1, 0.5), (2, 1.0), (3, 1.5), (4, 40.0)]
    assert [row["step"] for row in run.metrics()] == [1, 2, 3, 4]


def test_tensorboard_is_cut_back_though_the_killed_process_never_closed_its_file(run):
    killed = Run(run.path)
    for step in (1, 2, 3):
        killed.log(step, {"loss": float(step)})
    resumed = Run(run.path)
    resumed.cut_metrics(1)
    resumed.close()
    assert events(run, "loss") == [(1, 1.0)]
    killed.close()


def test_a_run_that_goes_on_keeps_its_pictures(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    png = b"\x89PNG\r\n\x1a\n" + bytes(8) + (7).to_bytes(4) + (5).to_bytes(4)
    run.log_picture(1, "cell", png)
    run.close()
    resumed = Run(run.path)
    resumed.cut_metrics(0)
    resumed.log_picture(2, "cell", png)
    resumed.close()
    accumulator = EventAccumulator(str(run.path / "tensorboard" / "pictures"))
    accumulator.Reload()
    pictures = [(event.step, event.width, event.height) for event in accumulator.Images("cell")]
    assert pictures == [(1, 7, 5), (2, 7, 5)]


def test_metrics_are_written_where_tensorboard_is_not_installed(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run.log(1, {"loss": 0.5})
    run.cut_metrics(1)
    run.close()
    assert files(run) == {"metrics.jsonl"}


# Checkpoints


def test_a_checkpoint_comes_back_bit_for_bit(run):
    state = {
        "step": 7,
        "rows": [{"loss": 0.1}],
        "weights": {"w": torch.randn(3, 2, 2, 2).contiguous(memory_format=torch.channels_last)},
        "random": torch.get_rng_state(),
    }
    run.save_checkpoint("last", state)
    back = run.load_checkpoint("last")
    assert back["step"] == 7
    assert back["rows"] == [{"loss": 0.1}]
    assert torch.equal(back["weights"]["w"], state["weights"]["w"])
    assert back["weights"]["w"].stride() == state["weights"]["w"].stride()
    assert torch.equal(back["random"], state["random"])


def test_a_checkpoint_that_fails_to_be_written_leaves_the_old_one_and_no_rubbish(run):
    run.save_checkpoint("last", {"step": 1})
    before = files(run)
    with pytest.raises(TypeError):
        run.save_checkpoint("last", {"step": 2, "lock": threading.Lock()})
    assert files(run) == before
    assert run.load_checkpoint("last")["step"] == 1


def test_a_missing_checkpoint_is_told(run):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*last\.pt"):
        run.load_checkpoint("last")


@pytest.mark.parametrize("keep", [0, 1, 50, -1])
def test_a_checkpoint_that_was_cut_short_is_told(run, keep: int):
    run.save_checkpoint("last", {"weights": torch.arange(1000)})
    path = run.checkpoint_path("last")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="damaged"):
        run.load_checkpoint("last")


def test_something_else_than_a_checkpoint_is_told(run):
    run.path.mkdir()
    torch.save([1, 2], run.path / "list.pt")
    with pytest.raises(ValueError, match="it holds a list"):
        load_tensors(run.path / "list.pt")
    (run.path / "text.pt").write_text("hello")
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        load_tensors(run.path / "text.pt")


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("packed", [True, False])
def test_code_in_a_checkpoint_is_refused_and_not_run(run, tmp_path, packed: bool):
    folder = tmp_path / "executed"
    path = run.checkpoint_path("last")
    path.parent.mkdir(parents=True)
    payload = {"step": Payload(folder)}
    if packed:
        torch.save(payload, path)
        assert zipfile.is_zipfile(path)
    else:
        path.write_bytes(pickle.dumps(payload))
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        run.load_checkpoint("last")
    assert not folder.exists()
    pickle.loads(pickle.dumps(payload))  # the payload is live: without the guard it would have run
    assert folder.exists()


# Architectures and other files


def test_the_architecture_and_those_of_epochs_are_kept_apart(run):
    final, early = Architecture({"act": "relu"}), Architecture({"act": "tanh"})
    run.save_architecture(early, epoch=7)
    with pytest.raises(FileNotFoundError, match=r"its search has not finished; .*--resume"):
        run.load_architecture()
    run.save_architecture(final)
    assert run.load_architecture() == final
    assert Architecture.load(run.path / "architectures" / "epoch_0007.json") == early


def test_json_files_come_back_and_damaged_ones_are_told(run):
    run.save_json("result", {"top1": 0.5, "names": ["ä"]})
    assert run.load_json("result") == {"top1": 0.5, "names": ["ä"]}
    (run.path / "result.json").write_text("{")
    with pytest.raises(ValueError, match=r"result\.json is not JSON"):
        run.load_json("result")
    with pytest.raises(FileNotFoundError):
        run.load_json("other")


def test_a_json_file_that_cannot_be_written_leaves_the_old_one(run):
    run.save_json("result", 1)
    with pytest.raises(TypeError):
        run.save_json("result", {"tensor": torch.zeros(1)})
    assert json.loads((run.path / "result.json").read_text()) == 1
    assert files(run) == {"result.json"}


def test_a_changed_number_in_a_json_file_of_a_run_is_refused(tmp_path):
    run = Run(tmp_path)
    run.save_json("results", {"rows": [{"top1": 0.91}]})
    path = tmp_path / "results.json"
    path.write_text(path.read_text().replace("0.91", "0.97"))
    with pytest.raises(ValueError, match=r"results\.json is damaged"):
        run.load_json("results")


def test_without_git_no_commit_is_recorded(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit() is None


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_a_checkout_of_dnas_and_of_no_other_repository(tmp_path):
    def git(*words: str) -> str:
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    git("init")
    for name in ("flowers", "dnas"):
        (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
        git("add", "pyproject.toml")
        git("commit", "-m", name)
        assert commit(tmp_path) == (git("rev-parse", "HEAD").strip() if name == "dnas" else None)
    (tmp_path / "lib").mkdir()
    assert commit(tmp_path / "lib") is None  # a package within a checkout


def test_a_run_without_yaml_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)  # what an import finds where it is not installed
    with pytest.raises(ImportError, match=r"pip install \"\.\[cli\]\""):
        Run(tmp_path).write_config({})
