"""FLOPs: the counter agrees with closed forms, and counting leaves no trace."""

import copy
import doctest
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import dnas.cost.flops
from dnas.cost import count_flops, flops_by_module
from dnas.formats import published, read_nasbench201
from dnas.space import space_of


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.cost.flops).failed == 0


def closed_form(model: nn.Module, *inputs: Tensor) -> int:
    """2 x output entries x what each is a sum of: channels per group x kernel entries, or the inputs of a layer."""
    total = 0

    def add(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        if isinstance(module, nn.Linear):
            total += 2 * output.numel() * module.in_features
        elif isinstance(module, nn.ConvTranspose2d):
            per_entry = module.out_channels // module.groups * math.prod(module.kernel_size)
            total += 2 * arguments[0].numel() * per_entry
        else:
            total += 2 * output.numel() * (module.in_channels // module.groups) * math.prod(module.kernel_size)

    layers = [m for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    with torch.no_grad():
        model(*inputs)
    for handle in handles:
        handle.remove()
    return total


MODELS: list[tuple[str, Callable[[], nn.Module], tuple[int, ...]]] = [
    ("strided", lambda: nn.Conv2d(3, 8, 3, stride=2, padding=1), (2, 3, 9, 7)),
    ("dilated", lambda: nn.Conv2d(4, 6, 5, dilation=2, padding=4, bias=False), (1, 4, 8, 8)),
    ("grouped", lambda: nn.Conv2d(6, 12, 3, groups=3), (2, 6, 8, 8)),
    ("depthwise, strided and dilated", lambda: nn.Conv2d(6, 6, 3, 2, 2, dilation=2, groups=6), (3, 6, 9, 9)),
    ("oblong kernel", lambda: nn.Conv2d(4, 4, (1, 7), (1, 2), (0, 3)), (1, 4, 6, 6)),
    ("one dimension", lambda: nn.Conv1d(4, 5, 3), (2, 4, 11)),
    ("transposed", lambda: nn.ConvTranspose2d(4, 6, 2, stride=2), (2, 4, 5, 5)),
    ("linear with bias", lambda: nn.Linear(7, 3), (5, 7)),
    ("linear on a sequence", lambda: nn.Linear(7, 3, bias=False), (2, 5, 7)),
    (
        "what counts nothing between what counts",
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)
        ),
        (2, 3, 8, 8),
    ),
]


@pytest.mark.parametrize(("make", "shape"), [model[1:] for model in MODELS], ids=[model[0] for model in MODELS])
def test_the_counter_agrees_with_the_closed_form(make, shape):
    model, inputs = make(), torch.zeros(shape)
    assert count_flops(model, inputs) == closed_form(model, inputs) > 0


@pytest.mark.parametrize("name", ["DARTS_V2", "AMOEBANET"])
def test_it_agrees_on_networks_of_published_cells(name):
    architecture = published(name)
    with torch.device("meta"):
        network = space_of(architecture).network(architecture, channels=8, cells=5, num_classes=10).eval()
        images = torch.zeros(2, 3, 32, 32)
    assert count_flops(network, images) == closed_form(network, images)


def test_nothing_is_computed_on_the_meta_device():
    with torch.device("meta"):
        model, inputs = nn.Linear(1_000_000, 1_000_000), torch.zeros(1, 1_000_000)
    assert count_flops(model, inputs) == 2 * 10**12


def test_flops_are_proportional_to_the_batch():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    assert count_flops(model, torch.zeros(6, 3, 4, 4)) == 6 * count_flops(model, torch.zeros(1, 3, 4, 4))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 2, bias=False), nn.Linear(4, 2, bias=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.left(a) + self.right(b)


def test_inputs_may_be_a_tuple_a_list_or_a_dict():
    a, b = torch.zeros(1, 3), torch.zeros(1, 4)
    for inputs in ((a, b), [a, b], {"b": b, "a": a}):
        assert count_flops(TwoInputs(), inputs) == 2 * (3 * 2 + 4 * 2)


def test_submodules_have_what_is_spent_in_them_and_a_layer_called_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x)) @ x.T

    model = nn.Sequential(Twice(), nn.Linear(1, 5, bias=False))
    assert flops_by_module(model, torch.zeros(1, 3)) == {"": 52, "0": 42, "0.layer": 36, "1": 10}


def test_counting_leaves_weights_buffers_gradients_mode_and_random_state_as_they_were():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    count_flops(model, torch.randn(4, 3, generator=torch.Generator().manual_seed(1)))
    assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_multi_adds_are_those_that_nasbench201_states():
    # Rows 0 and 1 of its table, in millions; it also counts the 10 additions of the classifier's bias.
    stated = {
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|": 15.64737,
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|": 113.95137,
    }
    for text, expected in stated.items():
        architecture = read_nasbench201(text)
        with torch.device("meta"):
            network = space_of(architecture).network(architecture, channels=16, cells=5, num_classes=10).eval()
            multi_adds = count_flops(network, torch.zeros(1, 3, 32, 32)) // 2
        assert multi_adds + 10 == round(expected * 1e6)
