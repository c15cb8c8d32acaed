"""FLOPs of forward and backward passes, against counts by hand."""

import pytest
import torch
from torch import nn

from dnas.core.choice import Choice
from dnas.cost import count_flops
from dnas.cost.work import WorkCounter
from dnas.method.hypergradient import ExactProduct, FiniteDifference, FirstOrder, OneStep
from dnas.searching.search_step import search_step
from dnas.searching.supernet import Supernet
from dnas.space.depthwise import DepthwiseConv

# The network below on 2 images of 3 channels, 4x4: FLOPs of its forward passes, 2 for each multiply-add.
A = 2 * (2 * 16 * 4 * 3)  # 1x1 convolution, 3 to 4 channels
B = 2 * (2 * 16 * 4 * 4)  # 1x1 convolution, 4 to 4 channels
L = 2 * (2 * 5 * 4)  # linear layer, 4 to 5


def network() -> Supernet:
    candidates = {"conv": nn.Conv2d(4, 4, 1, bias=False), "skip": nn.Identity(), "pool": nn.AvgPool2d(3, 1, 1)}
    return Supernet(
        nn.Sequential(
            nn.Conv2d(3, 4, 1, bias=False),
            Choice("op", candidates),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 5),
        )
    )


def counted(hypergradient) -> tuple[int, int]:
    """FLOPs of the architecture step and of the weight step."""
    torch.manual_seed(0)
    supernet = network()
    batch = (torch.randn(2, 3, 4, 4), torch.tensor([0, 1]))
    alpha_optimizer = torch.optim.Adam(supernet.alpha_parameters())
    at: list[int] = []
    with WorkCounter() as counter:
        alpha_optimizer.register_step_post_hook(lambda *_: at.append(counter.flops))
        search_step(
            supernet,
            weight_batch=batch,
            weight_optimizer=torch.optim.SGD(supernet.model.parameters(), lr=0.1),
            alpha_batch=batch,
            alpha_optimizer=alpha_optimizer,
            hypergradient=hypergradient,
        )
    return at[0], counter.flops - at[0]


# Gradients of weights and of inputs, but for the images: A once, B and L twice.
TRAINING = 2 * A + 3 * B + 3 * L
# The gradient of the mixture needs that of the linear layer's input, and nothing that lies before the choice.
MIXTURE = A + B + 2 * L


def test_a_weight_step_counts_the_forward_pass_and_both_gradients_of_each_layer():
    assert counted(FirstOrder())[1] == TRAINING


def test_a_first_order_architecture_step_counts_no_gradient_of_weights_and_none_before_the_first_choice():
    assert counted(FirstOrder())[0] == MIXTURE


def test_a_second_order_step_by_finite_difference_counts_two_trainings_and_two_mixture_gradients():
    assert counted(OneStep(mixed=FiniteDifference())) == (2 * TRAINING + 2 * MIXTURE, TRAINING)


def test_a_second_order_step_by_double_backward_counts_the_products_of_the_second_pass():
    # Needed for the mixture: A's weight gradient back to its cotangent, likewise B's weight and input gradients, and
    # the linear layer's weight gradient back to both factors, its input gradient back to one, and the layer itself.
    # PyTorch (2.13) also computes A's and B's gradients of input and weight there, which nobody asks for.
    double = counted(OneStep(mixed=ExactProduct()))[0] - 2 * TRAINING
    assert A + 2 * B + 4 * L <= double <= 2 * A + 4 * B + 4 * L


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_each_gradient_of_a_grouped_convolution_counts_like_its_forward_pass(groups):
    layer = nn.Conv2d(4, 8, 3, padding=1, groups=groups)
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    forward = 2 * (2 * 36 * 8 * (4 // groups) * 9)
    with WorkCounter() as counter:
        y = layer(x)
        assert counter.flops == forward
        y.square().sum().backward()
    assert counter.flops == 3 * forward


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(3, 1, 1), (5, 1, 1), (3, 2, 2), (5, 1, 2), (5, 2, 1)])
def test_our_depthwise_gradients_count_like_those_of_the_library(kernel_size, stride, dilation):
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    with WorkCounter() as counter:
        DepthwiseConv(4, kernel_size, stride, dilation)(x).square().sum().backward()
    assert counter.flops == 3 * 2 * 2 * (8 // stride) ** 2 * 4 * kernel_size**2


def test_a_transposed_convolution_counts_by_its_input():
    layer = nn.ConvTranspose2d(4, 8, 2, stride=2)
    x = torch.randn(2, 4, 3, 3, requires_grad=True)
    with WorkCounter() as counter:
        layer(x).square().sum().backward()
    assert counter.flops == 3 * 2 * (2 * 9 * 4 * 8 * 4)


def test_what_needs_no_gradient_is_not_counted_backwards():
    layer = nn.Conv2d(4, 4, 1, bias=False)
    layer.weight.requires_grad_(False)
    x = torch.randn(2, 4, 4, 4, requires_grad=True)
    with WorkCounter() as counter:
        layer(x).sum().backward()
    assert counter.flops == 2 * count_flops(layer, x.detach())


def test_normalisation_pooling_and_sums_do_not_count():
    model = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Identity())
    with WorkCounter() as counter:
        model(torch.randn(2, 4, 4, 4, requires_grad=True)).sum().backward()
    assert counter.flops == 0
