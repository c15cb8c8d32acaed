"""Depthwise convolution with fast gradients equals the library's convolution."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from dnas.space.depthwise import DepthwiseConv

CASES = list(itertools.product((3, 5, 7), (1, 2), (1, 2), ((8, 8), (7, 5), (6, 9), (1, 2), (4, 4))))


def layer_and_images(kernel_size: int, stride: int, dilation: int, size: tuple[int, int]):
    torch.manual_seed(0)
    layer = DepthwiseConv(3, kernel_size, stride, dilation).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    return layer, x.requires_grad_()


@pytest.mark.parametrize(("kernel_size", "stride", "dilation", "size"), CASES)
def test_values_gradients_and_second_derivatives_are_those_of_conv2d(kernel_size, stride, dilation, size):
    layer, x = layer_and_images(kernel_size, stride, dilation, size)

    def second_derivatives(y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(1)

        def noise(like: torch.Tensor) -> torch.Tensor:
            return torch.randn(like.shape, generator=generator, dtype=like.dtype)

        gradients = torch.autograd.grad(y, (x, layer.weight), noise(y), create_graph=True)
        scalar = sum((gradient * noise(gradient)).sum() for gradient in gradients)
        return (y, *gradients, *torch.autograd.grad(scalar, (x, layer.weight)))

    ours = second_derivatives(layer(x))
    padding = dilation * (kernel_size // 2)
    library = second_derivatives(F.conv2d(x, layer.weight, None, stride, padding, dilation, groups=3))
    for got, expected in zip(ours, library, strict=True):
        assert_close(got, expected, rtol=0, atol=1e-12)


def test_second_derivatives_agree_with_finite_differences():
    layer, x = layer_and_images(5, 1, 2, (4, 4))
    assert torch.autograd.gradgradcheck(
        lambda images, weight: torch.func.functional_call(layer, {"weight": weight}, (images,)), (x, layer.weight)
    )


def test_eval_mode_gives_the_same_values_and_gradients():
    layer, x = layer_and_images(5, 1, 1, (8, 8))
    y, (in_train,) = layer(x), torch.autograd.grad(layer(x).square().sum(), x)
    layer.eval()
    assert_close(layer(x), y, rtol=0, atol=0)
    assert_close(torch.autograd.grad(layer(x).square().sum(), x)[0], in_train, rtol=0, atol=1e-12)
