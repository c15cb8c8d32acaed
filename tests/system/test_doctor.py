"""What `dnas doctor` finds, also where things are missing."""

import subprocess
import sys

import torch

from dnas.system import doctor
from dnas.version import __version__


def test_versions_threads_and_memory_are_told():
    found = dict(doctor.examine().lines)
    assert found["dnas"] == __version__
    assert found["torch"] == doctor.version("torch")
    assert found["threads"] == str(torch.get_num_threads())
    assert found["memory"].endswith(" GiB")
    assert "onnx " in found["extra export"]


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: ["nothing-like-it>=1; extra == 'hub'"])
    found = dict(doctor.examine().lines)
    assert found["extra hub"] == 'missing nothing-like-it: pip install ".[hub]" in a clone of dnas'


def test_it_answers_without_torch_and_jsonargparse():
    code = (
        "import sys\n"
        "sys.modules |= {'torch': None, 'numpy': None, 'jsonargparse': None}\n"
        "from dnas.cli import main\n"
        "main(['doctor'])"
    )
    answer = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "unknown, since PyTorch cannot be imported" in answer.stdout


def test_an_option_is_refused():
    code = "from dnas.cli import main; main(['doctor', '--all'])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (2, "dnas: dnas doctor takes no options; got '--all'.\n")
