"""The kernels in Triton equal the per-edge cell, on the GPU or in Triton's interpreter on the CPU."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed; it comes with the dev extra on Linux.")

from triton import knobs

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu" and not knobs.runtime.interpret:
    pytest.skip(
        "Triton's interpreter is off: TRITON_INTERPRET=1 must be set before Triton is imported.",
        allow_module_level=True,
    )

# Below: decided above whether it can run.
from dnas.core.cell import Cell  # noqa: E402
from dnas.core.mixture import Mixture  # noqa: E402
from dnas.cost.kernel_traffic import TRAFFIC  # noqa: E402
from dnas.kernels.gpu import TritonKernels  # noqa: E402
from dnas.space import DartsSpace  # noqa: E402
from dnas.space.fused import FusedCell, copy_as  # noqa: E402
from dnas.space.kernel_sum import KernelSum, node_sum  # noqa: E402
from dnas.space.node_sum import Term  # noqa: E402
from tests.support.cell_forms import assert_all_close  # noqa: E402

SPACE = DartsSpace(nodes=1)
NAMES = SPACE._searchable_cell(8, reduction=False).decision.candidates
# Of the two edges; the second has what has no batch norm, or one that its state shares.
EVERYTHING = ((1, 2, 3, 4, 5, 6, 7), (1, 3))
TWO_CHAINS = ((NAMES.index("sep_conv_3x3"), NAMES.index("dil_conv_5x5")), (3,))

Active = tuple[tuple[int, ...], ...]


class TritonSum(KernelSum):
    """`KernelSum` whatever the device is, in tiles so small that images of 7x7 have several."""

    @staticmethod
    def takes(x: Tensor, weights: Any) -> bool:
        return True

    @staticmethod
    def forward(ctx: Any, terms: tuple[Term, ...], num_inputs: int, values: Tensor, *tensors: Tensor) -> Tensor:
        return node_sum(TritonKernels(DEVICE, tile=512), ctx, terms, num_inputs, values, *tensors)


class TritonCell(FusedCell):
    node_sum = TritonSum


def cells(channels: int, *, reduction: bool) -> tuple[Cell, Cell]:
    torch.manual_seed(0)
    plain = SPACE._searchable_cell(channels, reduction=reduction).double().to(DEVICE)
    return plain, copy_as(TritonCell, copy.deepcopy(plain))


def derivatives(cell: Cell, shape: tuple[int, ...], active: Active, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """The cell's value, and the gradients of a product with it: of images, mixture and weights."""
    generator = torch.Generator().manual_seed(1)

    def noise(*size: int) -> Tensor:
        return torch.randn(size, dtype=torch.float64, generator=generator).to(DEVICE, dtype)

    cell.to(dtype)
    images = [noise(*shape).requires_grad_() for _ in range(2)]
    values = noise(*cell.decision.shape).requires_grad_()
    cell.bind({cell.decision.name: Mixture(values, active)})
    result = cell(*images)
    outer = [*images, values, *(weight for weight in cell.parameters() if weight.requires_grad)]
    return [result, *torch.autograd.grad(result, outer, noise(*result.shape), materialize_grads=True)]


@pytest.mark.parametrize(
    ("channels", "reduction", "shape"), [(8, False, (2, 8, 7, 5)), (24, True, (1, 24, 5, 6))], ids=["normal", "reduce"]
)
def test_value_and_all_gradients_equal_those_of_the_edges(channels: int, reduction: bool, shape: tuple[int, ...]):
    plain, other = cells(channels, reduction=reduction)
    expected = derivatives(plain, shape, EVERYTHING)
    assert_all_close(derivatives(other, shape, EVERYTHING), expected, 1e-10)


def test_in_float32_the_error_is_that_of_rounding_and_weights_need_no_gradient():
    plain, other = cells(8, reduction=False)
    for cell in (plain, other):
        cell.requires_grad_(False)
    expected = derivatives(plain, (2, 8, 5, 4), TWO_CHAINS)
    found = derivatives(other, (2, 8, 5, 4), TWO_CHAINS, torch.float32)
    assert_all_close([one.double() for one in found], expected, 2e-5)


def test_values_that_are_not_finite_stay_so():
    """Comparisons with NaN are false, so that a ReLU written carelessly would hide it."""
    _, cell = cells(8, reduction=False)
    values = torch.ones(cell.decision.shape, dtype=torch.float64, device=DEVICE)
    cell.bind({"normal": Mixture(values, ((NAMES.index("dil_conv_3x3"),), (NAMES.index("none"),)))})
    images = torch.randn(1, 8, 3, 3, dtype=torch.float64, device=DEVICE)
    images[0, 0, 0, 0] = torch.nan
    assert cell(images, images).isnan().any()


def test_a_launch_counts_the_bytes_of_each_array_once():
    before, image = TRAFFIC.num_bytes, torch.ones(1, 2, 3, 8, dtype=torch.float64, device=DEVICE)
    scale, shift = (
        torch.ones(2, 8, dtype=torch.float64, device=DEVICE),
        torch.ones(8, dtype=torch.float64, device=DEVICE),
    )
    result = TritonKernels(DEVICE).weighted_sum([image, image], scale, shift, (1, 2, 3, 8))
    assert result.unique().tolist() == [3.0]
    assert TRAFFIC.num_bytes - before == 8 * (2 * 48 + 16 + 8)


COMPILE = """
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver
from dnas.kernels.devices import Outer
from dnas.kernels.gpu import TritonKernels

class NoGpu:
    def __init__(self, capability):
        self.capability = capability
    def get_current_device(self):
        return self.capability
    def get_current_stream(self, device):
        return 0
    def get_current_target(self):
        return GPUTarget("cuda", self.capability, 32)

run, compiled = JITFunction.run, []

def compile_only(self, *arguments, **options):
    compiled.append(run(self, *arguments, **(options | {"warmup": True})))

JITFunction.run = compile_only
kernels, sizes = TritonKernels(torch.device("cpu")), (2, 4, 4, 16)
x, one, norm = torch.ones(sizes), torch.ones(16).double(), torch.ones(1, 16).double()
weights = [(torch.ones(16, 1, 3, 3), torch.ones(16, 16, 1, 1))] * 2
for capability, before, count in ((80, None, 2), (90, (one, one), 1)):
    driver.set_active(NoGpu(capability))
    torch.backends.cudnn.conv.fp32_precision = "tf32" if capability == 80 else "ieee"
    chains = kernels.chains(x, before, sizes, 3 - count, [1, 2][:count], weights[:count])
    y, _ = chains.forward()
    outer = Outer(y, y, [(one, one, one)] * count)
    chains.backward(outer, (x, one) if before is None else None, (True, capability == 80))
    kernels.weighted_sum(y, one.expand(count, 16), one, chains.out_sizes)
    kernels.gradient_sums(y, y[0], chains.out_sizes)
assert len(compiled) == 11 and all(kernel.asm["cubin"] for kernel in compiled), compiled
"""


@pytest.mark.slow
def test_the_compiler_takes_what_is_launched_without_a_gpu(tmp_path: Path):
    """Triton believes in a GPU of capability 8.0 and 9.0, and compiles what it does not launch."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    run = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
