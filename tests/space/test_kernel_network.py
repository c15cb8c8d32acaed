"""Found networks trained on compiled kernels equal those on the usual path: gradients, statistics, whole trainings."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dnas.core.architecture import CellArchitecture, KeptEdge
from dnas.core.run import Run
from dnas.core.schedule import Constant
from dnas.kernels.products import Product
from dnas.space import DartsSpace
from dnas.space.drop_path import set_drop_path
from dnas.space.kernel_affine import usable
from dnas.space.kernel_network import kernel_cells, train_by_kernels
from dnas.system.threads import num_threads
from dnas.training.loop import TrainingLoop
from dnas.training.retrain import retrain
from dnas.training.settings import RetrainSettings, WeightSGD
from tests.support.cell_forms import assert_all_close

pytest.importorskip("numba")

SPACE = DartsSpace(nodes=2)
FOUND = SPACE.architecture(
    {
        "normal": CellArchitecture(
            (
                KeptEdge(0, 2, "sep_conv_3x3"),
                KeptEdge(1, 2, "skip_connect"),
                KeptEdge(1, 3, "max_pool_3x3"),
                KeptEdge(2, 3, "dil_conv_3x3"),
            ),
            (2, 3),
        ),
        "reduce": CellArchitecture(
            (
                KeptEdge(0, 2, "sep_conv_5x5"),
                KeptEdge(1, 2, "dil_conv_5x5"),
                KeptEdge(0, 3, "skip_connect"),
                KeptEdge(2, 3, "sep_conv_3x3"),
            ),
            (2, 3),
        ),
    }
)
SETTINGS = RetrainSettings(
    epochs=2, weights=WeightSGD(lr=Constant(0.02), clip=5.0), drop_path=0.6, seed=3, precision="float32"
)


def networks(channels: int = 8, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, nn.Module]:
    """A network on the usual path, and one of equal weights that is trained by kernels."""
    torch.manual_seed(0)
    network = SPACE.network(FOUND, channels=channels, cells=3, num_classes=3, auxiliary=True)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-1, 1)
                module.bias.normal_()
    plain = network.to(dtype)
    return plain, train_by_kernels(copy.deepcopy(plain))


def images(number: int = 4, size: int = 7, seed: int = 1) -> Tensor:
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss_of(network: nn.Module, x: Tensor) -> Tensor:
    logits, auxiliary = network(x)
    targets = torch.arange(len(x)) % 3
    return F.cross_entropy(logits, targets) + 0.4 * F.cross_entropy(auxiliary, targets)


def derivatives(network: nn.Module, x: Tensor, *, second: bool = False) -> list[Tensor]:
    """Loss, gradients of images and weights, with drop-path, then the statistics; and those of their sum of squares."""
    set_drop_path(network, 0.4)
    torch.manual_seed(5)
    outer = [x.clone().requires_grad_(), *network.parameters()]
    loss = loss_of(network, outer[0])
    found = torch.autograd.grad(loss, outer, create_graph=second)
    result = [loss.detach(), *(one.detach() for one in found), *(buffer.to(x.dtype) for buffer in network.buffers())]
    if second:
        result += torch.autograd.grad(sum(one.square().sum() for one in found), outer)  # type: ignore[arg-type]
    return result


def test_gradients_and_statistics_equal_those_of_the_usual_path():
    """With several threads too, whose sums differ only in rounding."""
    for threads in (1, 2):
        plain, other = networks()
        with num_threads(threads):
            assert_all_close(derivatives(other, images()), derivatives(plain, images()), 1e-10)


def test_momentum_of_none_and_frozen_weights_are_as_on_the_usual_path():
    ends = []
    for network in networks():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        network.requires_grad_(False)
        for seed in range(2):
            x = images(seed=seed).requires_grad_()
            loss_of(network, x).backward()
            assert x.grad is not None
        ends.append([x.grad, *(buffer.double() for buffer in network.buffers())])
    assert_all_close(ends[1], ends[0], 1e-10)


def test_second_derivatives_equal_those_of_the_usual_path():
    plain, other = networks()
    expected = derivatives(plain, images(2, 4), second=True)
    assert_all_close(derivatives(other, images(2, 4), second=True), expected, 1e-9)


@pytest.fixture(scope="module")
def data() -> list[tuple[Tensor, Tensor]]:
    return [(images(seed=seed), torch.arange(4) % 3) for seed in range(10)]


def test_a_training_with_drop_path_is_that_of_the_usual_path_and_resumes_to_the_same_bits(data, tmp_path, monkeypatch):
    """Twenty steps, of which the second ten have drop-path."""
    plain, other = (retrain(network, data, settings=SETTINGS) for network in networks())
    assert_all_close(other.state_dict().values(), plain.state_dict().values(), 1e-10)
    with torch.no_grad():
        assert_all_close([other(images())], [plain(images())], 1e-10)

    _, again = networks()
    monkeypatch.setattr(TrainingLoop, "_end_epoch", stop_in_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        retrain(again, data, settings=SETTINGS, run=Run(tmp_path))
    monkeypatch.undo()
    _, resumed = networks()
    retrain(resumed, data, settings=SETTINGS, run=Run(tmp_path))
    expected = other.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.state_dict().items())


_end_epoch = TrainingLoop._end_epoch


def stop_in_second_epoch(loop: TrainingLoop, epoch: int) -> None:
    if epoch == 1:
        raise KeyboardInterrupt
    _end_epoch(loop, epoch)


def test_in_float32_the_error_is_near_that_of_the_usual_path():
    exact, _ = networks(channels=12)
    expected = derivatives(exact, images(8, 12))
    errors = [
        max(
            float((a - b).abs().max() / b.abs().max().clamp_min(1e-3))
            for a, b in zip(derivatives(network, images(8, 12).float()), expected, strict=True)
        )
        for network in networks(channels=12, dtype=torch.float32)
    ]
    assert errors[1] < max(1e-4, 3 * errors[0])


def test_the_network_is_the_same_module_with_the_same_weights_and_goes_back():
    plain, other = networks()
    assert len(kernel_cells(other)) == 3 and not kernel_cells(plain)
    assert [(name, type(module)) for name, module in other.named_modules()] == [
        (name, type(module)) for name, module in plain.named_modules()
    ]
    file = io.BytesIO()
    torch.save(other, file)
    file.seek(0)
    for one in (copy.deepcopy(other), torch.load(file, weights_only=False)):
        assert len(kernel_cells(one)) == 3
        assert_all_close(derivatives(one, images()), derivatives(networks()[0], images()), 1e-10)
    assert not kernel_cells(train_by_kernels(other, on=False))


def test_evaluation_autocast_counters_and_exports_take_the_usual_path():
    plain, other = networks()
    x = images(2, 8)
    with FlopCounterMode(display=False) as counted:
        loss_of(other, x)
    with FlopCounterMode(display=False) as expected:
        loss_of(plain, x)
    assert counted.get_total_flops() == expected.get_total_flops()
    plain.float(), other.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss_of(other, x.float()), loss_of(plain, x.float()))
    plain.eval(), other.eval()
    assert torch.equal(other(x.float()), plain(x.float()))
    exported = torch.export.export(other, (x.float(),)).module()
    assert torch.equal(exported(x.float()), plain(x.float()))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 6, 4, 4), torch.float32), ((1, 8, 2, 2), torch.float32), ((2, 8, 4, 4), torch.bfloat16)],
    ids=["6 channels", "one pixel after a stride", "bfloat16"],
)
def test_what_has_no_kernel_takes_the_usual_path(shape: tuple[int, ...], dtype: torch.dtype):
    assert not usable(torch.empty(shape, dtype=dtype), [nn.BatchNorm2d(shape[1], dtype=dtype)])
    assert usable(torch.empty(2, 8, 4, 4), [nn.BatchNorm2d(8)])


def test_1x1_convolutions_have_kernels_where_they_are_faster():
    """So those of the network with 8 channels in float64 have some, and those of 48 or 6 channels have none."""
    assert Product.takes(32, 8, itemsize=8) and Product.takes(24, 16, itemsize=8)
    assert not (Product.takes(192, 48, itemsize=8) or Product.takes(24, 6, itemsize=8))
