"""Work on Ray's workers, one of which is killed: rows, random networks and fronts are those without Ray."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dnas import UserError
from dnas.compare.row import CompareRow
from dnas.core.run import Run
from dnas.distributed.ray_tasks import RayTasks, _carried_out
from dnas.jobs.compute import spent_in
from dnas.system.devices import device_name
from dnas.table import Table, save_table
from tests.support.cli import SMALL, dnas, done, make_photos, refused

SIZES = (
    *("--space", "dnas.NasBench201Space", "--channels", "2", "--cells", "1", "--image_size", "8", "--batch_size", "8"),
    *("--search.epochs", "2", "--threads", "1", "--device", "cpu"),
)


@pytest.fixture(scope="module")
def ray() -> Iterator[str]:
    """Ray on this machine, to which all commands of this file are connected, so that they share its workers."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with ExitStack() as stack:
        try:  # what fails here is the machine's; without sockets Ray would try for minutes
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname(), timeout=5).close()
            connected = stack.enter_context(RayTasks("local").connected())
        except Exception as error:  # noqa: BLE001 (Ray raises the plain class)
            pytest.skip(f"Ray is installed, but cannot be started on this machine: {error}")
        yield str(connected.get_runtime_context().gcs_address)


def test_six_rows_of_which_one_worker_is_killed_are_those_of_one_process(tmp_path: Path, ray: str):
    numbers = np.random.default_rng(0).permutation(15625) / 156.25
    save_table(Table({"valid200_c10": numbers, "test200_c10": numbers[::-1]}, source="made up"), tmp_path / "table.npz")
    marker = tmp_path / "marker"
    for name, relaxation in (("mine", "dnas.Softmax"), ("other", "dnas.Sigmoid")):
        observer = f"[{{class_path: tests.support.kills_once.KillsOnce, init_args: {{marker: {marker}}}}}]"
        (tmp_path / f"{name}.yaml").write_text(f"search: {{relaxation: {relaxation}, observers: {observer}}}\n")
    recipes = ("--recipes", tmp_path / "mine.yaml", tmp_path / "other.yaml")
    words = (
        "compare",
        *recipes,
        "--seeds",
        3,
        "--table",
        tmp_path / "table.npz",
        "--data",
        make_photos(tmp_path / "photos"),
        *SIZES,
    )
    said = done(*words, "--run", tmp_path / "ray", "--ray", ray)
    assert said.count("its worker was lost") == 1
    assert "it goes on elsewhere, try 2 of 3" in said
    done(*words, "--run", tmp_path / "alone")
    with_ray, alone = (rows_in(tmp_path / name) for name in ("ray", "alone"))
    assert len(alone) == 6
    for name, row in alone.items():
        assert (with_ray[name].found, with_ray[name].trajectory) == (row.found, row.trajectory)
        assert with_ray[name].settings == row.settings
        assert with_ray[name].compute is not None


def rows_in(folder: Path) -> dict[str, CompareRow]:
    return {path.stem: CompareRow.load(path) for path in (folder / "rows").iterdir()}


def test_random_networks_and_a_front_are_those_of_one_process(tmp_path: Path, ray: str):
    alone, with_ray = tmp_path / "alone", tmp_path / "ray"
    done("search", "--data", make_photos(tmp_path / "photos"), *SMALL, "--threads", 1, "--run", alone)
    done("retrain", alone)
    shutil.copytree(alone, with_ray)
    for run, options in ((alone, ()), (with_ray, ("--ray", ray))):
        said = done("baseline", run, "--num_random", 2, *options)
        assert ("[2/2] baseline/" in said) == bool(options)
        said = done("front", run, "--points", 2, "--retrain", 1, *options)
        assert ("[1/1] front/" in said) == bool(options)
    for place in ("baseline", "front/flops"):
        name = {"baseline": "results", "front/flops": "front"}[place]
        expected, found = (without_times(Run(run / place).load_json(name)) for run in (alone, with_ray))
        assert found == expected


def test_finalists_of_which_a_worker_is_killed_and_the_command_stopped_are_those_of_one_process(
    tmp_path: Path, ray: str
):
    photos, marker = make_photos(tmp_path / "photos"), tmp_path / "marker"
    (tmp_path / "mine.yaml").write_text(
        "finalists: {num: 3, rungs: 2, epochs: 2, changes: 1, begin_with: searched, weights: "
        f"{{class_path: tests.support.kills_once.SGDThatKillsOnce, init_args: {{marker: {marker}}}}}}}\n"
    )
    words = ("search", "--recipe", tmp_path / "mine.yaml", "--data", photos, *SMALL, "--threads", "1")
    with_ray, alone = tmp_path / "ray", tmp_path / "alone"
    with stopped_when(with_ray / "finalists" / "002" / "rung_0" / "judgement.json"):
        ended = dnas(*words, "--run", with_ray, "--ray", ray)
    assert ended.code == 130, ended.err
    assert f"--resume {with_ray} --ray {ray}" in ended.err
    assert ended.out.count("its worker was lost") == 1
    assert "it goes on elsewhere, try 2 of 3" in ended.out
    said = done("search", "--resume", with_ray, "--trust", "--ray", ray)
    assert "top-1" in said
    done(*words, "--run", alone)
    for name in ("finalists/result", "architecture"):
        expected, found = (without_times(Run(run).load_json(name)) for run in (alone, with_ray))
        assert found == expected
    workers = [spent_in(Run(path)) for path in (with_ray / "finalists").glob("0*")]
    whole, own = spent_in(Run(with_ray)), Run(with_ray).load_json("compute")["seconds"]
    assert whole is not None
    assert whole.seconds == pytest.approx(own + sum(one.seconds for one in workers if one is not None))
    assert not whole.is_whole  # what the killed worker had spent nobody knows
    assert whole.processor == device_name(torch.device("cpu"))


@contextmanager
def stopped_when(path: Path) -> Iterator[None]:
    """Within the block Ctrl-C comes when a file is there."""

    def watch() -> None:
        while not path.exists() and not is_over.wait(0.02):
            pass
        if path.exists():
            os.kill(os.getpid(), signal.SIGINT)

    is_over = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def without_times(data: Any) -> Any:
    """The same without seconds and compute."""
    if isinstance(data, dict):
        return {name: without_times(value) for name, value in data.items() if name not in ("seconds", "compute")}
    return [without_times(value) for value in data] if isinstance(data, list) else data


def test_a_process_of_its_own_connects_to_an_address(tmp_path: Path, ray: str):
    script = (
        "import sys; from functools import partial; from pathlib import Path\n"
        "from dnas.distributed.ray_tasks import RayTasks\n"
        "tasks = {'a': partial(str.upper, 'done')}\n"
        "assert RayTasks(sys.argv[1]).carry_out(tasks, folder=Path(sys.argv[2]), say=print) == {}\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, ray, str(tmp_path)], capture_output=True, text=True)
    assert ended.stdout == "[1/1] DONE\n", ended.stderr


def test_an_address_that_does_not_answer_and_a_worker_of_another_version_are_told(tmp_path: Path):
    pytest.importorskip("ray", reason="Ray is not installed")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    with pytest.raises(UserError, match=f"No Ray answers at {address} .*ray start --head"):
        RayTasks(address).check()
    words = ("search", "--data", make_photos(tmp_path / "photos"), *SMALL, "--finalists", 2)
    assert f"No Ray answers at {address}" in refused(*words, "--run", tmp_path / "run", "--ray", address)
    assert not (tmp_path / "run").exists()  # told before the search
    with pytest.raises(UserError, match="--ray is 'local', 'auto' or HOST:PORT"):
        RayTasks("nowhere").check()
    here = str(tmp_path)
    assert "its worker has dnas" in _carried_out("0.0.1", here, here, str)[1]
    version = __import__("dnas").__version__
    assert "does not see" in _carried_out(version, f"{here}/no", here, str)[1]
    assert _carried_out(version, here, here, partial(_refuse, "a mistake")) == ("", "a mistake")


def _refuse(text: str) -> str:
    raise UserError(text)


def test_options_without_effect_are_refused(tmp_path: Path):
    assert "--gpus_per_row has no effect without --ray" in refused(
        "compare", "--recipes", "darts_1st", "--run", "x", "--gpus_per_row", "0.5"
    )
    with pytest.raises(UserError, match=r"--gpus_per_row must be 0 to 1, or a whole number; got 1\.5"):
        RayTasks("local", gpus=1.5)
    assert dnas("baseline", "nowhere", "--ray", "local").code == 2
    assert "--ray has no effect without --finalists or --baseline random" in refused(
        "search", "--data", tmp_path, "--run", tmp_path / "run", "--ray", "local"
    )
