"""A supernet that is evaluated with running statistics: its weights' steps move them, and training is as without."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dnas.core.batch import Batch
from dnas.core.mixture import Mixture
from dnas.searching.supernet import Supernet
from dnas.space import DartsSpace, NasBench201Space, ReducedDartsSpace, Space
from dnas.space.fused import fuse
from dnas.space.kernel_cells import with_kernels
from dnas.space.ops import BatchNorm

SPACES = [
    (DartsSpace, {"nodes": 1}),
    (DartsSpace, {"nodes": 1, "partial_channels": 2}),
    (NasBench201Space, {}),
    (ReducedDartsSpace, {"number": 2}),
]
IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def supernet(space: Space) -> Supernet:
    torch.manual_seed(0)
    return Supernet(space.model(channels=2, cells=1, num_classes=3)).to(dtype=torch.float64)


def outputs(net: Supernet, images: Tensor, *, update_buffers: bool = False) -> Tensor:
    equal = {
        name: Mixture(torch.full(decision.shape, 1 / decision.shape[-1], dtype=torch.float64))
        for name, decision in net.decisions.items()
    }
    batch = Batch(images, torch.zeros(len(images), dtype=torch.long))
    return net.forward(dict(net.model.named_parameters()), equal, batch, update_buffers=update_buffers)


@pytest.mark.parametrize(("kind", "settings"), SPACES)
def test_a_sample_is_evaluated_whatever_stands_beside_it(kind: type[Space], settings: dict):
    running, batch = (supernet(kind(**settings, running_statistics=value)) for value in (True, False))
    batch.model.load_state_dict(running.model.state_dict(), strict=False)
    assert_close(outputs(running, IMAGES), outputs(batch, IMAGES), rtol=1e-12, atol=1e-12)  # in training
    norms = [module for module in running.model.modules() if isinstance(module, BatchNorm)]
    assert all(float(norm.running_mean.abs().sum()) == 0 for norm in norms)  # type: ignore[union-attr]
    outputs(running, IMAGES, update_buffers=True)
    assert any(float(norm.running_mean.abs().sum()) > 0 for norm in norms)  # type: ignore[union-attr]
    for net in (running, batch):
        net.model.eval()
    assert_close(outputs(running, IMAGES)[:2], outputs(running, IMAGES[:2]), rtol=1e-10, atol=1e-12)
    assert not torch.allclose(outputs(batch, IMAGES)[:2], outputs(batch, IMAGES[:2]))


def test_an_architecture_does_not_depend_on_it():
    assert DartsSpace(running_statistics=True).arguments == DartsSpace().arguments


def test_cells_with_running_statistics_are_neither_fused_nor_compiled():
    model = DartsSpace(nodes=1, running_statistics=True).model(channels=2, cells=1, num_classes=3)
    kinds = [type(module) for module in model.modules()]
    assert [type(module) for module in fuse(model).modules()] == kinds
    assert [type(module) for module in with_kernels(model).modules()] == kinds
