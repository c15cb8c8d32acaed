"""What a search says of compiled kernels, and which cells it takes."""

from dataclasses import replace

import pytest
import torch

from dnas import DartsSpace, MobileSpace
from dnas.data import image_kind
from dnas.jobs import kernels
from dnas.jobs.job import Job
from dnas.jobs.kernels import kernels_text
from dnas.jobs.networks import build_supernet_model
from dnas.space.base import Space
from dnas.space.kernel_cells import KernelCell

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
    ("space", "channels", "device", "said"),
    [
        (JOB.space, 8, "cpu", "Compiled kernels compute"),
        (JOB.space, 6, "cpu", "they need a multiple of 4 channels"),
        (JOB.space, 8, "cuda", "those of a GPU have not been measured yet"),
        (MobileSpace(), 8, "cpu", "no cell of this space"),
    ],
    ids=["fits", "6 channels", "GPU", "mobile"],
)
def test_one_line_says_whether_kernels_are_used(space: Space, channels: int, device: str, said: str):
    pytest.importorskip("numba")
    job = replace(JOB, space=space, channels=channels, cells=3 if isinstance(space, MobileSpace) else 1)
    text = kernels_text(build_supernet_model(job, KIND), job, torch.device(device))
    assert text is not None and said in text
