"""The operations on the edges of convolutional cells."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from dnas.core.candidates import SharedPrefix
from dnas.space.ops import EVALUATION, OPERATIONS, SEARCH, BatchNorm, FactorizedReduce, Form, operation

# Parameters per operation with C = 4 channels, without batch norm: depthwise k*k*C, pointwise C*C, dense k*k*C*C.
PARAMETERS = {
    "none": 0,
    "max_pool_3x3": 0,
    "avg_pool_3x3": 0,
    "skip_connect": 0,
    "sep_conv_3x3": 2 * (9 * 4 + 16),
    "sep_conv_5x5": 2 * (25 * 4 + 16),
    "sep_conv_7x7": 2 * (49 * 4 + 16),
    "dil_conv_3x3": 9 * 4 + 16,
    "dil_conv_5x5": 25 * 4 + 16,
    "conv_7x1_1x7": 2 * 7 * 16,
    "nor_conv_1x1": 16,
    "nor_conv_3x3": 9 * 16,
    "noise": 0,
}


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("form", [SEARCH, EVALUATION], ids=["search", "evaluation"])
@pytest.mark.parametrize("size", [(8, 8), (5, 4), (1, 3)])
def test_every_operation_keeps_the_channels_and_divides_the_size_rounded_up(
    name: str, stride: int, form: Form, size: tuple[int, int]
):
    x = torch.randn(3, 4, *size)
    expected = (3, 4, -(-size[0] // stride), -(-size[1] // stride))
    assert operation(name, 4, stride, form)(x).shape == expected


@pytest.mark.parametrize("name", OPERATIONS)
def test_parameters_in_search_form(name: str):
    assert num_parameters(operation(name, 4, 1, SEARCH)) == PARAMETERS[name]


def test_evaluation_form_adds_a_scale_and_shift_per_batch_norm_and_none_after_pooling():
    for name, num_norms in {"sep_conv_3x3": 2, "dil_conv_5x5": 1, "nor_conv_3x3": 1, "max_pool_3x3": 0}.items():
        evaluation = operation(name, 4, 1, EVALUATION)
        assert num_parameters(evaluation) == PARAMETERS[name] + num_norms * 2 * 4, name
        assert sum(isinstance(module, BatchNorm) for module in evaluation.modules()) == num_norms, name


def test_pooling_is_normalised_in_search():
    y = operation("avg_pool_3x3", 2, 1, SEARCH)(torch.randn(8, 2, 6, 6, dtype=torch.float64))
    assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert_close(y.var(dim=(0, 2, 3), correction=0), torch.ones(2, dtype=torch.float64), rtol=1e-3, atol=0)


def test_padding_does_not_count_in_averages():
    assert_close(operation("avg_pool_3x3", 1, 1, EVALUATION)(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_the_reduction_sees_even_pixels_with_one_half_and_odd_pixels_with_the_other():
    reduce = FactorizedReduce(1, 2, Form(affine=False, running=False, norm_after_pool=False))
    with torch.no_grad():
        reduce.conv.weight.fill_(1.0)
        reduce.shifted_conv.weight.fill_(1.0)
    x = torch.arange(1.0, 17.0).reshape(1, 1, 4, 4)
    even, odd = reduce.convolve(x)[0]
    assert_close(even, torch.tensor([[1.0, 3.0], [9.0, 11.0]]))
    assert_close(odd, torch.tensor([[6.0, 8.0], [14.0, 16.0]]))


def test_the_reduction_of_odd_sizes_pads_with_zeros():
    reduce = FactorizedReduce(1, 2, SEARCH)
    with torch.no_grad():
        reduce.shifted_conv.weight.fill_(1.0)
    odd = reduce.convolve(torch.ones(1, 1, 3, 3))[0, 1]
    assert_close(odd, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("none", "skip_connect", "noise")])
@pytest.mark.parametrize("form", [SEARCH, EVALUATION], ids=["search", "evaluation"])
@pytest.mark.parametrize("stride", [1, 2])
def test_prefix_and_weighted_rest_make_up_the_weighted_operation(name: str, form: Form, stride: int):
    torch.manual_seed(0)
    candidate = operation(name, 4, stride, form).double()
    assert isinstance(candidate, SharedPrefix)
    x, weight = torch.randn(3, 4, 6, 6, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    expected = 0.3 * candidate(x)
    assert_close(candidate.weighted_rest(candidate.prefix(x), weight), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_noise_is_standard_normal_from_torchs_generator_and_hides_the_input(stride: int):
    noise, x = operation("noise", 4, stride, EVALUATION).eval(), torch.full((2, 4, 6, 5), torch.nan)
    torch.manual_seed(3)
    drawn, again = noise(x), noise(x)
    torch.manual_seed(3)
    assert_close(drawn, torch.randn_like(x[:, :, ::stride, ::stride]), rtol=0, atol=0)
    assert not torch.equal(drawn, again)
    assert not noise(x.clone().requires_grad_()).requires_grad


def test_operations_of_one_prefix_key_have_the_same_prefix():
    x = torch.randn(2, 4, 6, 6)
    prefixes: dict = {}
    for name in OPERATIONS:
        for form in (SEARCH, EVALUATION):
            candidate = operation(name, 4, 2, form)
            if isinstance(candidate, SharedPrefix):
                prefix = candidate.prefix(x)
                assert_close(prefix, prefixes.setdefault(candidate.prefix_key, prefix), rtol=0, atol=0)
    assert len(prefixes) == 5  # ReLU, and two poolings in two forms


def test_a_running_batch_norm_is_not_shared():
    running = Form(affine=False, running=True, norm_after_pool=True)
    pool = operation("max_pool_3x3", 2, 1, running)
    assert isinstance(pool, SharedPrefix)
    x = torch.randn(2, 2, 4, 4)
    assert_close(pool.prefix(x), F.max_pool2d(x, 3, 1, 1))


def test_batch_norm_takes_a_weight_as_its_scale_with_the_right_gradients():
    torch.manual_seed(0)
    norm = SEARCH.norm(3)
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    target = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    ours, plain = (
        torch.autograd.grad((y * target).sum(), (x, weight)) for y in (norm.weighted(x, weight), weight * norm(x))
    )
    for got, expected in zip(ours, plain, strict=True):
        assert_close(got, expected, rtol=0, atol=1e-12)


def test_an_unknown_operation_is_refused_with_the_list():
    with pytest.raises(ValueError, match=r"'conv_9x9'.*sep_conv_3x3"):
        operation("conv_9x9", 4, 1, SEARCH)


@pytest.mark.parametrize("channels", [2, 8, 16])
@pytest.mark.parametrize("name", ["skip_connect", "nor_conv_1x1"])
def test_a_stride_of_two_with_few_channels_has_right_gradients_in_channels_last(name: str, channels: int):
    # As strided convolutions these crashed torch 2.13 on the CPU: https://github.com/uxlfoundation/oneDNN/issues/6035.
    module = operation(name, channels, 2, SEARCH)
    x = torch.randn(4, channels, 64, 64)

    def gradients(dtype: torch.dtype, memory_format: torch.memory_format) -> list[torch.Tensor]:
        copy = module.to(dtype=dtype, memory_format=memory_format)  # pyright: ignore[reportCallIssue]
        y = copy.convolve(x.to(dtype).contiguous(memory_format=memory_format))
        return list(torch.autograd.grad(y.square().sum(), list(copy.parameters())))

    expected = gradients(torch.float64, torch.contiguous_format)
    for got, want in zip(gradients(torch.float32, torch.channels_last), expected, strict=True):
        assert_close(got.double(), want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))
