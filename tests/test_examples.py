"""The examples run, and what those for one's own model leave is loaded again, also by ONNX Runtime."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import dnas
from dnas.core.batch import tensors_in
from dnas.core.run import Run
from dnas.training.evaluate import call

EXAMPLES = Path(__file__).parent.parent / "examples"
# Each goes from a module with choices to files of a trained network.
TO_THE_END = ("frozen_backbone", "recurrent", "regression_table", "segmentation", "signals", "two_losses")
# One is a process of its own, so that what this one loads was made by another; a process takes five seconds to import.
ALONE = "regression_table"
# ONNX takes no packed sequences.
PACKED = ("recurrent",)
# A text that is shorter than the whole documentation.
WORDS = {"language_model": (EXAMPLES.parent / "docs" / "report.md",)}


def run(name: str, *words: object, folder: Path) -> str:
    command = [sys.executable, "-W", "error::UserWarning", str(EXAMPLES / f"{name}.py"), *map(str, words)]
    tree = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    result = subprocess.run(command, cwd=folder, env=tree, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def imported(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_for_an_own_model_is_run_to_the_end():
    texts = {path.stem: path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py")}
    assert sorted(name for name, text in texts.items() if "dnas.export(" in text) == sorted(TO_THE_END)


def test_the_code_that_docs_walk_through_is_that_of_the_example():
    text = (EXAMPLES.parent / "docs" / "your-model.md").read_text(encoding="utf-8")
    source = (EXAMPLES / "regression_table.py").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 5
    assert [block for block in blocks if block not in source and textwrap.indent(block, "    ") not in source] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({path.stem for path in EXAMPLES.glob("*.py")} - set(TO_THE_END)))
def test_an_example_runs(name: str, tmp_path: Path):
    assert run(name, *WORDS.get(name, ()), folder=tmp_path).strip()


@pytest.mark.slow
@pytest.mark.parametrize("name", TO_THE_END)
def test_an_own_model_goes_to_the_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    if name == ALONE:
        said = run(name, tmp_path, folder=tmp_path)
    else:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, str(tmp_path)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        said = capsys.readouterr().out
    assert "one random (mean)" in said
    example, search = imported(name), Run(tmp_path / "run")
    _, _, test = example.data()
    network = dnas.load(tmp_path / "model", model=example.Net)
    score = dnas.evaluate(network, test, task=example.TASK).score
    found = search.child("baseline").load_json("comparison")["found"]
    assert score.value == pytest.approx(found["test"], rel=1e-5)
    if name not in PACKED:
        reproduced_by_onnx_runtime(tmp_path / "export" / "network.onnx", network, test)


def reproduced_by_onnx_runtime(path: Path, network: torch.nn.Module, batches) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    for inputs, _ in batches:
        given = {name: tensor.numpy() for name, tensor in zip(names, tensors_in(inputs), strict=True)}
        with torch.no_grad():
            expected = list(tensors_in(call(network, inputs)))
        for got, wanted in zip(session.run(None, given), expected, strict=True):
            np.testing.assert_allclose(got, wanted.numpy(), atol=1e-4 * max(1.0, float(wanted.abs().max())))
