"""Functional steps are those of torch.optim, and so are their derivatives."""

import copy
import doctest
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import dnas.method.hypergradient.optimizer_steps
from dnas.method.hypergradient import Tensors
from dnas.method.hypergradient.optimizer_steps import functional_step

Make = Callable[[list], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1),
    "sgd with decay": lambda groups: torch.optim.SGD(groups, lr=0.1, weight_decay=0.2),
    "momentum": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01),
    "dampening": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01),
    "nesterov": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.01),
    "adam with decay": lambda groups: torch.optim.Adam(groups, lr=0.01, betas=(0.5, 0.99), eps=1e-4, weight_decay=0.1),
    "adam, decoupled": lambda groups: torch.optim.Adam(groups, weight_decay=0.1, decoupled_weight_decay=True),
    "fused adam": lambda groups: torch.optim.Adam(groups, lr=0.01, weight_decay=0.1, fused=True),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1),
    "tensor lr": lambda groups: torch.optim.SGD(groups, lr=torch.tensor(0.125), momentum=0.9),
    "tensor lr and betas": lambda groups: torch.optim.Adam(
        groups,
        lr=torch.tensor([0.0125], dtype=torch.float64),
        betas=(torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.75, dtype=torch.float64)),
        foreach=False,
    ),
}


def parameters(seed: int = 0) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"matrix": (2, 3), "vector": (3,), "scalar": ()}
    return {n: nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64)) for n, s in shapes.items()}


def two_groups(named: dict[str, nn.Parameter]) -> list[dict]:
    """The second group has its own learning rate and weight decay."""
    matrix, vector, scalar = named.values()
    return [{"params": [matrix, scalar]}, {"params": [vector], "lr": 0.03, "weight_decay": 0.5}]


def gradients_at(weights: Tensors) -> Tensors:
    """The gradient of a nonlinear function, different for every weight and step."""
    return {name: (weight + 0.5).sin() + 0.1 * weight for name, weight in weights.items()}


def run(optimizer: torch.optim.Optimizer, named: dict[str, nn.Parameter], num_steps: int) -> None:
    for _ in range(num_steps):
        for name, gradient in gradients_at({name: p.detach() for name, p in named.items()}).items():
            named[name].grad = gradient
        optimizer.step()


@pytest.mark.parametrize("steps_before", [0, 1, 3])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_twenty_steps_equal_those_of_torch(make: Make, steps_before: int):
    named = parameters()
    optimizer = make(two_groups(named))
    run(optimizer, named, steps_before)
    step = functional_step(optimizer, named)
    weights, state = {name: p.detach().clone() for name, p in named.items()}, copy.deepcopy(step.state)
    for _ in range(20):
        run(optimizer, named, 1)
        weights, state = step(weights, gradients_at(weights), state)
        assert_close(weights, {name: p.detach() for name, p in named.items()}, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_new_step_is_made_at_any_time(make: Make):
    named = parameters()
    optimizer = make(two_groups(named))
    for _ in range(5):
        step = functional_step(optimizer, named)
        weights = {name: p.detach().clone() for name, p in named.items()}
        expected, _ = step(weights, gradients_at(weights), step.state)
        run(optimizer, named, 1)
        assert_close(expected, {name: p.detach() for name, p in named.items()}, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_derivatives_equal_those_of_torch_with_differentiable_true(make: Make):
    named = parameters()
    optimizer = make(two_groups(named))
    run(optimizer, named, 2)
    step = functional_step(optimizer, named)
    cotangents = {name: torch.randn_like(p) for name, p in named.items()}

    w = {name: p.detach().clone().requires_grad_() for name, p in named.items()}
    g = {name: gradient.detach().requires_grad_() for name, gradient in gradients_at(w).items()}
    ours = derivatives(step(w, g, step.state)[0], cotangents, w, g)

    moved = {name: weight.clone() for name, weight in w.items()}
    reference = type(optimizer)([{"params": [moved[n]]} for n in moved], lr=0.1, differentiable=True)
    reference.param_groups = []
    for name, parameter in named.items():
        group = next(group for group in optimizer.param_groups if any(p is parameter for p in group["params"]))
        implementation = {"differentiable": True, "foreach": False, "fused": False}
        reference.add_param_group({**group, **implementation, "params": [moved[name]]})
        reference.state[moved[name]] = copy.deepcopy(optimizer.state[parameter])
        if "step" in optimizer.state[parameter]:  # torch computes beta^t in float32 here, in Python elsewhere
            reference.state[moved[name]]["step"] = torch.tensor(2.0, dtype=torch.float64)
        moved[name].grad = g[name]
    reference.step()
    assert_close(ours, derivatives(moved, cotangents, w, g), rtol=1e-9, atol=1e-12)


def derivatives(outputs: Tensors, cotangents: Tensors, *inputs: Tensors) -> list[Tensor]:
    flat = [tensor for tensors in inputs for tensor in tensors.values()]
    return list(torch.autograd.grad([outputs[n] for n in cotangents], flat, list(cotangents.values())))


def test_the_first_step_with_momentum_is_differentiated_too():
    """torch.optim.SGD(differentiable=True) detaches the buffer it creates: derivative 0 there, -lr here."""
    named = parameters()
    optimizer = torch.optim.SGD(named.values(), lr=0.1, momentum=0.9, dampening=0.5)
    step = functional_step(optimizer, named)
    weights = {name: p.detach() for name, p in named.items()}
    g = {name: gradient.requires_grad_() for name, gradient in gradients_at(weights).items()}
    moved, state = step(weights, g, step.state)
    for derivative in torch.autograd.grad(sum_of(moved), list(g.values())):
        assert_close(derivative, torch.full_like(derivative, -0.1))
    assert all(state[name]["momentum_buffer"] is g[name] for name in g)


@pytest.mark.parametrize("optimizer_class", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("steps_before", [0, 2])
def test_entries_that_never_had_a_gradient_have_derivative_zero_and_make_no_nan(optimizer_class, steps_before: int):
    named = {"used": nn.Parameter(torch.ones(2)), "zero": nn.Parameter(torch.zeros(3))}
    gradients = {"used": torch.tensor([1.0, 0.0]), "zero": torch.zeros(3)}
    optimizer = optimizer_class(named.values(), eps=0.1)  # with a small one the first step is a sign, of derivative 0
    for _ in range(steps_before):
        for name, gradient in gradients.items():
            named[name].grad = gradient
        optimizer.step()
    step = functional_step(optimizer, named)
    g = {name: gradient.clone().requires_grad_() for name, gradient in gradients.items()}
    state = {n: {key: t.clone().requires_grad_() for key, t in tensors.items()} for n, tensors in step.state.items()}
    weights, next_state = step({name: p.detach() for name, p in named.items()}, g, state)

    by_gradient = torch.autograd.grad(sum_of(weights), list(g.values()), retain_graph=True)
    assert by_gradient[0][0] != 0
    assert by_gradient[0][1] == 0
    assert not by_gradient[1].any()
    inputs = [*g.values(), *(t for tensors in state.values() for key, t in tensors.items() if key != "step")]
    for derivative in torch.autograd.grad(sum_of(weights) + sum(map(sum_of, next_state.values())), inputs):
        assert derivative.isfinite().all()


def sum_of(tensors: Tensors) -> Tensor:
    return torch.stack([tensor.sum() for tensor in tensors.values()]).sum()


def test_frozen_weights_and_weights_without_a_group_stay_as_they_are():
    named = parameters()
    named["scalar"].requires_grad_(False)
    optimizer = torch.optim.SGD([named["matrix"], named["scalar"]], lr=0.1, weight_decay=0.5)
    step = functional_step(optimizer, named)
    assert step.weight_decay == {"matrix": 0.5}
    weights = {name: p.detach() for name, p in named.items()}
    moved, _ = step(weights, gradients_at(weights), step.state)
    assert moved.keys() == weights.keys()
    assert moved["vector"] is weights["vector"]
    assert moved["scalar"] is weights["scalar"]
    assert not torch.equal(moved["matrix"], weights["matrix"])


def test_decoupled_decay_is_told_from_coupled_decay():
    named = parameters()
    assert functional_step(torch.optim.AdamW(named.values()), named).decoupled
    assert not functional_step(torch.optim.Adam(named.values(), weight_decay=0.1), named).decoupled


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_reading_an_optimizer_changes_nothing_in_it(make: Make):
    named = parameters()
    optimizer = make(two_groups(named))
    step = functional_step(optimizer, named)
    assert len(optimizer.state) == 0
    run(optimizer, named, 2)
    before = copy.deepcopy(optimizer.state_dict())
    step = functional_step(optimizer, named)
    weights = {name: p.detach() for name, p in named.items()}
    step(weights, gradients_at(weights), step.state)
    assert_close(optimizer.state_dict(), before, rtol=0, atol=0)


class MySGD(torch.optim.SGD):
    """A subclass may do anything in step()."""


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda p: torch.optim.RMSprop(p), "RMSprop.*SGD, Adam and AdamW.*FirstOrder"),
        (lambda p: MySGD(p), "MySGD.*FirstOrder"),
        (lambda p: torch.optim.SGD(p, maximize=True), "maximize=True"),
        (lambda p: torch.optim.Adam(p, amsgrad=True), "amsgrad=True"),
        (lambda p: torch.optim.AdamW(p, maximize=True), "maximize=True"),
        (lambda _: torch.optim.SGD(parameters(1).values()), "none of the 3 weights"),
    ],
)
def test_what_has_no_differentiable_step_is_refused_by_name(optimizer, message: str):
    named = parameters()
    with pytest.raises(ValueError, match=message):
        functional_step(optimizer(named.values()), named)


def test_the_example_in_the_documentation_runs():
    assert doctest.testmod(dnas.method.hypergradient.optimizer_steps).failed == 0
