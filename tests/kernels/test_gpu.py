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
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from dnas.kernels import chains_triton, sums_triton

constants = dict(C=16, NORM=True, SIZES=(3, 3), DILATIONS=(1, 2), SIZE=3, DILATION=2, STRIDE=2, PIXELS=64, CHANNELS=16)
constants |= dict(WEIGHTS=True, ADDED=True)
of_chains = dict.fromkeys(("y", "kernels", "matrices", "d_z", "terms"), ("*fp32", "*fp32"))
numbers = dict.fromkeys(("N", "H", "W", "P", "Q", "num_pixels"), "i32")
in_float64 = dict.fromkeys(("scale", "shift", "a", "b", "constant", "factor"), "*fp64")
one_chain = dict(y="*fp32", d_z="*fp32")
kernels = {chains_triton.chains_forward: {}, chains_triton.products_backward: one_chain}
kernels |= {chains_triton.depthwise_backward: {}, sums_triton.weighted_sum: {}, sums_triton.gradient_sums: {}}
for kernel, own in kernels.items():
    for capability, precision in ((80, "tf32"), (90, "ieee")):
        known = constants | dict(PRECISION=precision)
        known = {name: known[name] for name in kernel.arg_names if name in known}
        types = of_chains | numbers | in_float64 | own | dict.fromkeys(known, "constexpr")
        source = ASTSource(kernel, {name: types.get(name, "*fp32") for name in kernel.arg_names}, known)
        target = GPUTarget("cuda", capability, 32)
        assert compile(source, target=target, options=dict(enable_fp_fusion=True)).asm["cubin"]
"""


@pytest.mark.slow
def test_the_compiler_takes_the_kernels_without_a_gpu(tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    run = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
