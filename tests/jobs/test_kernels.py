"""What a search and a retraining say of compiled kernels, and which cells they take."""

from dataclasses import replace

import pytest
import torch

from dnas import DartsSpace, ExactProduct, MobileSpace, NasBench201Space, OneStep, SearchSettings
from dnas.core.schedule import Constant
from dnas.data import image_kind
from dnas.formats import published
from dnas.jobs import kernels
from dnas.jobs.job import Job
from dnas.jobs.kernels import kernels_text, training_kernels_text
from dnas.jobs.networks import build_supernet_model, found_network
from dnas.space.base import Space
from dnas.space.kernel_cells import KernelCell
from dnas.space.kernel_network import kernel_cells
from dnas.training.settings import RetrainSettings

KIND = image_kind(("a", "b"), channels=3, size=8)
JOB = Job(image_size=8, batch_size=8, channels=8, cells=1, space=DartsSpace(nodes=1), kernels="auto")
CPU = torch.device("cpu")


def test_without_numba_the_usual_cells_are_taken_and_the_search_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "why_none_on", lambda device_type: "numba is not installed")
    model = build_supernet_model(JOB, KIND)
    assert not any(isinstance(module, KernelCell) for module in model.modules())
    assert kernels_text(model, JOB, CPU) == (
        "No compiled kernels: numba is not installed. The usual operations compute the same."
    )


def test_nothing_is_said_where_nobody_asks():
    job = replace(JOB, kernels="plain")
    model = build_supernet_model(job, KIND)
    assert not any(isinstance(module, KernelCell) for module in model.modules())
    assert kernels_text(model, job, CPU) is None


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (replace(JOB, search=SearchSettings(precision="bf16")), "autocast (--search.precision bf16) has none"),
        (replace(JOB, search=SearchSettings(hypergradient=OneStep(mixed=ExactProduct()))), "second derivatives"),
        (replace(JOB, space=DartsSpace(nodes=1, running_statistics=True)), "running statistics"),
        (replace(JOB, space=DartsSpace(nodes=1, auxiliary_skip=Constant(1.0))), "drop-path or an auxiliary skip"),
        (
            replace(JOB, space=DartsSpace(nodes=1, candidates=("none", "sep_conv_7x7"))),
            "the usual operations those of 7x7",
        ),
    ],
    ids=["autocast", "exact", "running statistics", "auxiliary skip", "7x7"],
)
def test_the_line_says_what_has_no_kernels(job: Job, said: str):
    pytest.importorskip("numba")
    text = kernels_text(build_supernet_model(job, KIND), job, CPU)
    assert text is not None and said in text


@pytest.mark.parametrize(
    ("space", "channels", "device", "said"),
    [
        (JOB.space, 8, "cpu", "Compiled kernels compute"),
        (JOB.space, 6, "cpu", "they need a multiple of 4 channels"),
        (JOB.space, 8, "cuda", "those of a GPU have not been measured yet"),
        (MobileSpace(), 8, "cpu", "no cell of this space"),
        (NasBench201Space(), 8, "cpu", "Compiled kernels compute the dense convolutions"),
        (NasBench201Space(), 80, "cpu", "a multiple of 4 channels, up to 64"),
    ],
    ids=["fits", "6 channels", "GPU", "mobile", "dense", "dense, 80 channels"],
)
def test_one_line_says_whether_kernels_are_used(space: Space, channels: int, device: str, said: str):
    pytest.importorskip("numba")
    job = replace(JOB, space=space, channels=channels, cells=3 if isinstance(space, MobileSpace) else 1)
    text = kernels_text(build_supernet_model(job, KIND), job, torch.device(device))
    assert text is not None and said in text


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        (8, "Kernels in Triton compute the separable convolutions; they have not been measured yet."),
        (96, "they need at most 64 channels"),
    ],
)
def test_a_gpu_has_kernels_where_always_is_asked_for(channels: int, said: str):
    pytest.importorskip("numba")
    pytest.importorskip("triton")
    job = replace(JOB, channels=channels, kernels="always")
    text = kernels_text(build_supernet_model(job, KIND), job, torch.device("cuda"))
    assert text is not None and said in text


FOUND = published("DARTS_V2")
RETRAIN = RetrainSettings(channels=8, cells=2, auxiliary=False)


@pytest.mark.parametrize(
    ("retrain", "device", "said"),
    [
        (RETRAIN, "cpu", "Compiled kernels train"),
        (replace(RETRAIN, channels=6), "cpu", "they need a multiple of 4 channels"),
        (replace(RETRAIN, precision="bf16"), "cpu", "autocast (--precision bf16) has none"),
        (RETRAIN, "cuda", "those that train a network are for the CPU"),
    ],
    ids=["fits", "6 channels", "autocast", "GPU"],
)
def test_one_line_says_whether_kernels_train_the_found_network(retrain: RetrainSettings, device: str, said: str):
    pytest.importorskip("numba")
    job = replace(JOB, space=DartsSpace(), retrain=retrain)
    text = training_kernels_text(found_network(job, KIND, FOUND), job, torch.device(device))
    assert text is not None and said in text


def test_a_found_network_has_kernels_only_where_they_are_asked_for_and_numba_is_there(monkeypatch: pytest.MonkeyPatch):
    job = replace(JOB, space=DartsSpace(), retrain=RETRAIN, kernels="plain")
    network = found_network(job, KIND, FOUND)
    assert not kernel_cells(network) and training_kernels_text(network, job, CPU) is None
    monkeypatch.setattr(kernels, "why_none_on", lambda device_type: "numba is not installed")
    network = found_network(replace(job, kernels="auto"), KIND, FOUND)
    assert not kernel_cells(network)
    assert training_kernels_text(network, replace(job, kernels="auto"), CPU) == (
        "No compiled kernels: numba is not installed. The usual operations compute the same."
    )


def test_the_line_says_that_kernels_are_compiled_each_time_where_they_cannot_be_kept(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(kernels, "cache_folder", lambda: None)
    assert "cannot be kept in ~/.cache/dnas" in str(kernels_text(build_supernet_model(JOB, KIND), JOB, CPU))
