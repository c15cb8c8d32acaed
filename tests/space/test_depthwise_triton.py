"""Triton kernels of depthwise convolutions equal float64 PyTorch, on the GPU or in Triton's interpreter on the CPU."""

import os
import subprocess
import sys
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

pytest.importorskip("triton", reason="Triton is not installed; it comes with the dev extra on Linux.")

from triton import knobs

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and not knobs.runtime.interpret:
    pytest.skip(
        "Triton's interpreter is off: TRITON_INTERPRET=1 must be set before Triton is imported.",
        allow_module_level=True,
    )

from dnas.space.depthwise_triton import Geometry, Tiles, depthwise  # noqa: E402 (decided above whether it can run)

CONVOLUTIONS = [
    pytest.param(size, stride, dilation, id=f"{size}x{size}-stride{stride}-dilation{dilation}")
    for size, stride, dilation in product((3, 5), (1, 2), (1, 2))
]
# Batch, channels, height, width, edges: odd sizes and no multiple of a tile; more edges than a tile holds; one of each.
SHAPES = [(2, 5, 9, 11, 3), (1, 18, 8, 6, 1), (1, 2, 3, 4, 5), (1, 1, 1, 1, 1)]


def example(shape: tuple[int, ...], size: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    batch, channels, height, width, edges = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, height, width, dtype=torch.float64, generator=generator)
    weight = torch.randn(edges * channels, 1, size, size, dtype=torch.float64, generator=generator)
    return x.to(DEVICE, dtype).requires_grad_(), weight.to(DEVICE, dtype).requires_grad_()


def reference(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """One ordinary convolution per edge."""
    channels, padding = x.shape[1], dilation * (weight.shape[-1] // 2)
    return torch.cat([F.conv2d(x, w, None, stride, padding, dilation, channels) for w in weight.split(channels)], dim=1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("size", "stride", "dilation"), CONVOLUTIONS)
def test_convolution_and_both_gradients_are_those_of_conv2d(shape, size, stride, dilation):
    x, weight = example(shape, size)
    expected = reference(x, weight, stride, dilation)
    result = depthwise(x, weight, stride=stride, dilation=dilation)
    assert_close(result, expected, rtol=1e-12, atol=1e-12)
    assert result.is_contiguous(memory_format=torch.channels_last)
    g = torch.randn_like(expected)
    gradients = torch.autograd.grad(result, (x, weight), g)
    assert_close(gradients, torch.autograd.grad(expected, (x, weight), g), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "stride", "dilation"), [(3, 1, 2), (3, 2, 1), (5, 2, 2)])
def test_second_derivatives_are_those_of_conv2d(size, stride, dilation):
    x, weight = example((2, 3, 5, 6, 2), size)

    def second(y: Tensor) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(y.pow(3).sum(), (x, weight), create_graph=True)
        return torch.autograd.grad(sum(f.pow(2).sum() for f in first), (x, weight))

    result = second(depthwise(x, weight, stride=stride, dilation=dilation))
    assert_close(result, second(reference(x, weight, stride, dilation)), rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sums_are_float32_whatever_the_images_are(dtype):
    # Only the result is rounded: to nearest on a GPU; the interpreter cuts bfloat16 off, hence eps, not eps / 2.
    x, weight = example((2, 16, 9, 10, 2), 5, dtype)
    result = depthwise(x, weight.detach().float())
    expected = reference(x.detach().double(), weight.detach().double(), 1, 1)
    assert result.dtype == dtype
    assert_close(result.double(), expected, rtol=torch.finfo(dtype).eps, atol=3e-6)


def test_weight_gradient_has_the_weights_type_and_is_not_rounded_to_that_of_the_images():
    x, weight = example((2, 16, 9, 10, 1), 3, torch.bfloat16)
    wide = weight.detach().float().requires_grad_()
    g = torch.randn(2, 16, 9, 10, device=DEVICE).bfloat16()
    (gradient,) = torch.autograd.grad(depthwise(x, wide), wide, g)
    exact = weight.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(reference(x.detach().double(), exact, 1, 1), exact, g.double())
    assert gradient.dtype == torch.float32
    assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-4)


def test_autocast_casts_images_and_keeps_weights():
    x, weight = example((1, 4, 6, 6, 1), 3, torch.float32)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        result = depthwise(x, weight)
    assert result.dtype == torch.bfloat16
    gradients = torch.autograd.grad(result.float().sum(), (x, weight))
    assert [gradient.dtype for gradient in gradients] == [torch.float32, torch.float32]


@pytest.mark.parametrize("layout", ["contiguous", "channels-last", "every second pixel", "expanded", "taps first"])
def test_any_memory_layout_gives_the_same_result(layout):
    x, weight = (tensor.detach() for tensor in example((2, 5, 6, 8, 2), 3))
    match layout:
        case "channels-last":
            x = x.contiguous(memory_format=torch.channels_last)
        case "every second pixel":
            x = x.contiguous(memory_format=torch.channels_last)[:, :, ::2, ::2]
        case "expanded":
            x = x[:, :1, :1, :1].expand(x.shape)
        case "taps first":
            weight = weight.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    assert_close(depthwise(x, weight), reference(x, weight, 1, 1), rtol=1e-12, atol=1e-12)


def test_one_program_adds_up_several_tiles_in_the_weight_gradient(monkeypatch):
    monkeypatch.setattr("dnas.space.depthwise_triton.WEIGHT_GRADIENT_PROGRAMS", 6)
    x, weight = example((2, 16, 9, 8, 1), 3)
    splits, tiles = 6 // 3, Tiles.of(x, Geometry(16, 9, 8, 3, 1, 1)).of_pixels
    assert tiles > 2 * splits
    g = torch.randn_like(x)
    (gradient,) = torch.autograd.grad(depthwise(x, weight), weight, g)
    (expected,) = torch.autograd.grad(reference(x, weight, 1, 1), weight, g)
    assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 1, 3, 3), (4, 2, 3, 3), (4, 1, 3, 5), (4, 1, 2, 2)])
def test_weights_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match=r"weights \(multiple of 4, 1, size, size\) with odd size"):
        depthwise(torch.zeros(1, 4, 8, 8), torch.zeros(shape))


COMPILE = """
import triton.language as tl
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from dnas.space import depthwise_triton as kernels

constants = dict(SIZE=5, STRIDE=2, DILATION=1, TOTAL=tl.float32, PIXELS=32, CHANNELS=16, EDGES=4)
images, sums = ("y", "x", "dx", "g"), ("taps", "sums")
for kernel in (kernels._convolve_kernel, kernels._input_gradient_kernel, kernels._weight_gradient_kernel):
    sizes = [name for name in kernel.arg_names if name not in (*images, *sums, *constants)]
    # Triton makes a constant of every size that is 1.
    for image, capability, ones in (("*fp32", 80, {}), ("*bf16", 90, dict.fromkeys(sizes, 1))):
        types = dict.fromkeys(kernel.arg_names, "i32") | dict.fromkeys(constants | ones, "constexpr")
        types |= {name: image for name in images if name in types} | {name: "*fp32" for name in sums if name in types}
        source = ASTSource(kernel, types, constants | ones)
        target = GPUTarget("cuda", capability, 32)
        assert compile(source, target=target, options=dict(enable_fp_fusion=True)).asm["cubin"]
"""


@pytest.mark.slow
def test_the_compiler_takes_the_kernels_without_a_gpu():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_tensors_on_the_cpu_are_refused_outside_the_interpreter():
    with knobs.runtime.scope():
        knobs.runtime.interpret = False
        with pytest.raises(ValueError, match="need a GPU"):
            depthwise(torch.zeros(1, 4, 8, 8), torch.zeros(4, 1, 3, 3))
