"""Hypergradients equal closed forms, each other, and autograd through an explicit graph."""

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from dnas.distributed.collectives import AddUp, Spread
from dnas.method.hypergradient import (
    BilevelProblem,
    ConjugateGradient,
    ExactProduct,
    FiniteDifference,
    FirstOrder,
    Hypergradient,
    HypergradientResult,
    InnerStep,
    Neumann,
    OneStep,
    Tensors,
    Unrolled,
)
from dnas.method.hypergradient.optimizer_steps import functional_step
from dnas.testing import QuadraticProblem

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def close(a: Tensors, b: Tensors, tolerance: float) -> None:
    """Largest difference below `tolerance` times the largest entry (or 1)."""
    assert a.keys() == b.keys()
    scale = max(1.0, *(float(tensor.abs().max()) for tensor in b.values()))
    for name in b:
        assert_close(a[name], b[name], rtol=0, atol=tolerance * scale)


def flat(tensors: Tensors) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def relative_error(a: Tensors, b: Tensors) -> float:
    return float((flat(a) - flat(b)).norm() / flat(b).norm())


# --- Quadratic problems in float64: closed forms ----------------------------------------------------------------------


@pytest.fixture
def quadratic() -> QuadraticProblem:
    return QuadraticProblem.random(seed=0)


@pytest.fixture
def point(quadratic: QuadraticProblem) -> tuple[Tensors, Tensors]:
    return quadratic.point(seed=1)


def sgd(weights: Tensors, **settings: float) -> InnerStep:
    named = {name: nn.Parameter(weight) for name, weight in weights.items()}
    return functional_step(torch.optim.SGD(list(named.values()), **settings), named)  # type: ignore[arg-type]


def test_first_order_is_the_partial_derivative(quadratic, point):
    weights, outer = point
    result = FirstOrder()(quadratic, weights, outer, None)
    close(result.gradient, quadratic.first_order(weights, outer), 1e-12)
    assert result.val_loss == quadratic.val(weights, outer)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize(("mixed", "tolerance"), [(ExactProduct(), 1e-12), (FiniteDifference(), 1e-8)], ids=str)
def test_one_step_of_sgd_has_its_closed_form(quadratic, point, mixed, tolerance, weight_decay):
    weights, outer = point
    step = sgd(weights, lr=0.1, weight_decay=weight_decay)
    expected = quadratic.one_step(weights, outer, lr=0.1, weight_decay=weight_decay)
    close(OneStep(mixed=mixed)(quadratic, weights, outer, step).gradient, expected, tolerance)


def test_one_step_reports_the_loss_after_the_virtual_step(quadratic, point):
    weights, outer = point
    step = sgd(weights, lr=0.1)
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    gradients = torch.autograd.grad(quadratic.train(leaves, outer, 0), list(leaves.values()))
    moved = {name: weights[name] - 0.1 * g for name, g in zip(weights, gradients, strict=True)}
    assert_close(OneStep()(quadratic, weights, outer, step).val_loss, quadratic.val(moved, outer), rtol=1e-14, atol=0)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_two_thousand_steps_or_terms_and_conjugate_gradient_are_implicit(quadratic, point, weight_decay):
    weights, outer = point
    optimum = quadratic.optimum(outer, weight_decay=weight_decay)
    step = sgd(weights, lr=0.1, weight_decay=weight_decay)
    expected = quadratic.implicit(outer, weight_decay=weight_decay)
    close(Unrolled(steps=2000)(quadratic, weights, outer, step).gradient, expected, 1e-8)
    close(Neumann(terms=2000, rate=0.1)(quadratic, optimum, outer, step).gradient, expected, 1e-8)
    conjugate_gradient = ConjugateGradient(iterations=20, tolerance=1e-12)
    close(conjugate_gradient(quadratic, optimum, outer, step).gradient, expected, 1e-8)


def test_neumann_with_its_own_rate_does_not_ask_the_learning_rate(quadratic, point):
    weights, outer = point
    neumann = Neumann(terms=3, rate=0.2)
    a = neumann(quadratic, weights, outer, sgd(weights, lr=0.1)).gradient
    b = neumann(quadratic, weights, outer, sgd(weights, lr=5.0)).gradient
    close(a, b, 0)


def test_damping_is_weight_decay_of_the_linear_system_alone(quadratic, point):
    weights, outer = point
    damped = ConjugateGradient(iterations=20, tolerance=0, damping=0.3)(quadratic, weights, outer, sgd(weights, lr=0.1))
    decayed = ConjugateGradient(iterations=20, tolerance=0)(
        quadratic, weights, outer, sgd(weights, lr=0.1, weight_decay=0.3)
    )
    close(damped.gradient, decayed.gradient, 1e-12)


def test_conjugate_gradient_keeps_its_solution_after_convergence(quadratic, point):
    weights, outer = point
    step = sgd(weights, lr=0.1)
    few = ConjugateGradient(iterations=7, tolerance=1e-10)(quadratic, weights, outer, step)
    many = ConjugateGradient(iterations=200, tolerance=1e-10)(quadratic, weights, outer, step)
    close(few.gradient, many.gradient, 1e-9)
    assert torch.equal(
        flat(many.gradient), flat(ConjugateGradient(300, tolerance=1e-10)(quadratic, weights, outer, step).gradient)
    )


def test_conjugate_gradient_stops_at_negative_curvature(quadratic, point):
    weights, outer = point
    concave = replace(quadratic, A=-quadratic.A)
    result = ConjugateGradient(iterations=5)(concave, weights, outer, sgd(weights, lr=0.1))
    close(result.gradient, FirstOrder()(concave, weights, outer, None).gradient, 0)


def test_a_nan_in_the_hessian_is_not_taken_for_convergence(quadratic, point):
    weights, outer = point
    broken = replace(quadratic, A=quadratic.A * float("nan"))
    result = ConjugateGradient(iterations=5)(broken, weights, outer, sgd(weights, lr=0.1))
    assert flat(result.gradient).isnan().all()


@dataclass(frozen=True)
class VirtualStepForgotten(Hypergradient):
    """The mistake of MMRazor's unrolled step: `w = w - lr * g` rebinds a local name, so w' is w everywhere after it."""

    @property
    def num_train_batches(self) -> int:
        return 1

    def __call__(
        self, problem: BilevelProblem, weights: Tensors, outer: Tensors, step: InnerStep | None
    ) -> HypergradientResult:
        assert step is not None
        for weight in weights.values():
            weight = weight - 0.1 * torch.ones_like(weight)
        w = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        m = {name: tensor.detach().requires_grad_() for name, tensor in outer.items()}
        g = torch.autograd.grad(problem.train(w, m, 0), list(w.values()), create_graph=True)
        v = [-0.1 * x for x in torch.autograd.grad(problem.val(w, m), list(w.values()))]
        mixed = torch.autograd.grad(g, list(m.values()), v)
        loss = problem.val(w, m)
        direct = torch.autograd.grad(loss, list(m.values()))
        return HypergradientResult({n: a + b for n, a, b in zip(m, direct, mixed, strict=True)}, loss.detach())


def test_a_forgotten_virtual_step_would_be_found(quadratic, point):
    weights, outer = point
    wrong = VirtualStepForgotten()(quadratic, weights, outer, sgd(weights, lr=0.1)).gradient
    assert relative_error(wrong, quadratic.one_step(weights, outer, lr=0.1)) > 0.05
    with pytest.raises(AssertionError):
        close(wrong, quadratic.one_step(weights, outer, lr=0.1), 1e-8)


def test_a_finite_difference_of_a_tensor_and_itself_would_be_found(quadratic, point):
    """MMRazor's second mistake leaves the first-order term at w'."""
    weights, outer = point
    step = sgd(weights, lr=0.1)
    first_term = quadratic.one_step(weights, outer, lr=0.1)
    mixed_term = replace(quadratic, B=torch.zeros_like(quadratic.B)).one_step(weights, outer, lr=0.1)
    assert relative_error(mixed_term, first_term) > 0.1
    close(OneStep()(quadratic, weights, outer, step).gradient, first_term, 1e-8)


def test_a_validation_loss_that_does_not_depend_on_the_weights_has_no_second_order_term(quadratic, point):
    weights, outer = point
    flat_loss = replace(quadratic, C=torch.zeros_like(quadratic.C), D=torch.zeros_like(quadratic.D))
    step = sgd(weights, lr=0.1)
    expected = flat_loss.first_order(weights, outer)
    for hypergradient in (
        OneStep(),
        OneStep(mixed=ExactProduct()),
        Unrolled(2),
        Neumann(2, rate=0.1),
        ConjugateGradient(),
    ):
        # Both are products of the same matrices, whose last bit depends on the processor's order of summation.
        close(hypergradient(flat_loss, weights, outer, step).gradient, expected, 1e-15)


def test_losses_that_are_linear_or_do_not_depend_on_something_give_zeros(quadratic, point):
    weights, outer = point

    class Linear:
        def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
            return weights["vector"].sum()

        def val(self, weights: Tensors, outer: Tensors) -> Tensor:
            return outer["gate"].sum()

    step = sgd(weights, lr=0.1)
    methods = [OneStep(), OneStep(mixed=ExactProduct()), Unrolled(2), Neumann(2, rate=0.1), ConjugateGradient()]
    for hypergradient in (FirstOrder(), *methods):
        gradient = hypergradient(Linear(), weights, outer, step).gradient
        close(gradient, {"mixture": torch.zeros_like(outer["mixture"]), "gate": torch.ones_like(outer["gate"])}, 0)


# --- A small network with convolutions and batch norm -----------------------------------------------------------------


class SmallSupernet(nn.Module):
    """Stem, three candidates mixed, head; 106 weights and 2 that start at zero and take no part."""

    def __init__(self, *, smooth: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.smooth, self.dropout = smooth, dropout
        self.stem = nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.depthwise = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(3, affine=False)
        self.head = nn.Linear(3, 3)
        self.idle = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, mixture: Tensor) -> Tensor:
        activation, pool = (F.softplus, F.avg_pool2d) if self.smooth else (F.relu, F.max_pool2d)
        x = F.dropout(self.norm(self.stem(x)), self.dropout)
        candidates = [x, pool(x, 3, stride=1, padding=1), self.depthwise_norm(self.depthwise(activation(x)))]
        x = torch.stack([m * candidate for m, candidate in zip(mixture, candidates, strict=True)]).sum(0)
        return self.head(activation(x).mean((2, 3)))


@dataclass(frozen=True)
class SupernetProblem:
    """Cross-entropy on random images; a cost that multiplies the validation loss and depends on the mixture."""

    model: SmallSupernet
    images: Tensor
    labels: Tensor

    def loss(self, weights: Tensors, mixture: Tensor, index: int) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        logits = torch.func.functional_call(self.model, (weights, buffers), (self.images[index], mixture))
        return F.cross_entropy(logits, self.labels[index])

    def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
        return self.loss(weights, outer["mixture"].softmax(-1), index)

    def val(self, weights: Tensors, outer: Tensors) -> Tensor:
        cost = outer["mixture"].softmax(-1) @ torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
        return self.loss(weights, outer["mixture"].softmax(-1), -1) * cost + 0.1 * outer["alpha"].square().sum()


def supernet_problem(*, smooth: bool, dropout: float = 0.0) -> tuple[SupernetProblem, Tensors, Tensors]:
    """The problem, weights, and outer variables, all in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallSupernet(smooth=smooth, dropout=dropout).double()
        images = torch.randn(6, 4, 2, 5, 5, dtype=torch.float64)
        problem = SupernetProblem(model, images, torch.randint(3, (6, 4)))
        outer = {"mixture": torch.randn(3, dtype=torch.float64), "alpha": torch.randn(2, dtype=torch.float64)}
    return problem, {name: p.detach() for name, p in model.named_parameters()}, outer


def used_optimizer(problem: SupernetProblem, make: Make, *, num_steps: int = 3) -> torch.optim.Optimizer:
    """An optimizer of the model's parameters with some state, the parameters being as before."""
    parameters = dict(problem.model.named_parameters())
    before = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer = make(list(parameters.values()))
    for k in range(num_steps):
        loss = problem.loss(parameters, torch.ones(3, dtype=torch.float64), k) + 0 * problem.model.idle.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(before[name])
    return optimizer


OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=3e-2),
    "dampening": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.4),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=3e-2),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "two groups": lambda p: torch.optim.SGD(
        [{"params": p[:3]}, {"params": p[3:], "lr": 0.01, "momentum": 0.5, "weight_decay": 0.3}], lr=0.1, momentum=0.9
    ),
}


def explicit_graph(
    problem: BilevelProblem,
    weights: Tensors,
    outer: Tensors,
    optimizer: torch.optim.Optimizer,
    num_steps: int,
    clip: float | None = None,
) -> Tensors:
    """d L_val / d outer by autograd through steps of `torch.optim` itself, made with `differentiable=True`."""
    m = {name: tensor.clone().requires_grad_() for name, tensor in outer.items()}
    w = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    p = {name: weight.clone() for name, weight in w.items()}
    parameters = [x for group in optimizer.param_groups for x in group["params"]]
    names = dict(zip(parameters, p, strict=True))
    reference = type(optimizer)([p[next(iter(p))]], differentiable=True)
    reference.param_groups = []
    for group in optimizer.param_groups:
        group = {**group, "params": [p[names[x]] for x in group["params"]], "differentiable": True, "foreach": False}
        reference.add_param_group(group)
    for x in parameters:
        reference.state[p[names[x]]] = copy.deepcopy(optimizer.state[x])
        if "step" in optimizer.state[x]:  # in float64, since torch computes beta^t in the type of t
            reference.state[p[names[x]]]["step"] = optimizer.state[x]["step"].double()
    for k in range(num_steps):
        now = {name: weight.clone() for name, weight in p.items()}  # step() changes p in place
        loss = problem.train(now, m, k)
        gradients = torch.autograd.grad(
            loss, list(now.values()), create_graph=True, allow_unused=True, materialize_grads=True
        )
        if clip is not None:
            length = torch.cat([g.flatten() for g in gradients]).square().sum().sqrt()
            gradients = [g * clip / (length + 1e-6) if length > clip else g for g in gradients]
        for weight, g in zip(p.values(), gradients, strict=True):
            weight.grad = g
        reference.step()
    found = torch.autograd.grad(problem.val(p, m), list(m.values()))
    return dict(zip(m, found, strict=True))


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_v_goes_through_every_optimizer_step(make: Make):
    problem, weights, outer = supernet_problem(smooth=True)
    optimizer = used_optimizer(problem, make)
    step = functional_step(optimizer, dict(problem.model.named_parameters()))
    expected = explicit_graph(problem, weights, outer, optimizer, 1)
    close(OneStep(mixed=ExactProduct())(problem, weights, outer, step).gradient, expected, 1e-10)
    close(OneStep(mixed=FiniteDifference(1e-4))(problem, weights, outer, step).gradient, expected, 1e-6)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_three_unrolled_steps_are_autograd_through_three_steps_of_torch(make: Make):
    problem, weights, outer = supernet_problem(smooth=False)
    optimizer = used_optimizer(problem, make)
    step = functional_step(optimizer, dict(problem.model.named_parameters()))
    expected = explicit_graph(problem, weights, outer, optimizer, 3)
    close(Unrolled(steps=3)(problem, weights, outer, step).gradient, expected, 1e-10)


@pytest.mark.parametrize("clip", [0.05, 100.0])
def test_clipping_inside_the_virtual_step_is_differentiated(clip: float):
    problem, weights, outer = supernet_problem(smooth=True)
    optimizer = used_optimizer(problem, OPTIMIZERS["momentum"])
    step = functional_step(optimizer, dict(problem.model.named_parameters()))
    one, two = (explicit_graph(problem, weights, outer, optimizer, num_steps, clip) for num_steps in (1, 2))
    close(OneStep(mixed=ExactProduct(), clip=clip)(problem, weights, outer, step).gradient, one, 1e-10)
    close(Unrolled(steps=2, clip=clip)(problem, weights, outer, step).gradient, two, 1e-10)
    unclipped = explicit_graph(problem, weights, outer, optimizer, 1)
    assert (relative_error(one, unclipped) > 1e-3) == (clip < 1)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_one_unrolled_step_is_one_step_with_the_exact_product(make: Make):
    problem, weights, outer = supernet_problem(smooth=False)
    for num_steps in (0, 2):
        optimizer = used_optimizer(problem, make, num_steps=num_steps)
        step = functional_step(optimizer, dict(problem.model.named_parameters()))
        a = Unrolled(steps=1)(problem, weights, outer, step)
        b = OneStep(mixed=ExactProduct())(problem, weights, outer, step)
        close(a.gradient, b.gradient, 1e-10)
        assert_close(a.val_loss, b.val_loss, rtol=1e-14, atol=0)


def test_the_error_of_the_finite_difference_falls_as_radius_squared_on_a_smooth_network():
    problem, weights, outer = supernet_problem(smooth=True)
    step = functional_step(used_optimizer(problem, OPTIMIZERS["sgd"]), dict(problem.model.named_parameters()))
    exact = OneStep(mixed=ExactProduct())(problem, weights, outer, step).gradient
    errors = [
        relative_error(OneStep(mixed=FiniteDifference(radius))(problem, weights, outer, step).gradient, exact)
        for radius in (1e-1, 1e-2, 1e-3)
    ]
    assert 80 < errors[0] / errors[1] < 120
    assert 80 < errors[1] / errors[2] < 120


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_exact_and_finite_difference_agree_on_a_smooth_network_with_dropout(dropout: float):
    problem, weights, outer = supernet_problem(smooth=True, dropout=dropout)
    step = functional_step(used_optimizer(problem, OPTIMIZERS["momentum"]), dict(problem.model.named_parameters()))
    exact = OneStep(mixed=ExactProduct())(problem, weights, outer, step).gradient
    difference = OneStep(mixed=FiniteDifference(1e-4))(problem, weights, outer, step).gradient
    assert relative_error(difference, exact) < 1e-6


@pytest.mark.parametrize(
    "make", [OPTIMIZERS["adam"], OPTIMIZERS["adamw"], OPTIMIZERS["sgd"]], ids=["adam", "adamw", "sgd"]
)
@pytest.mark.parametrize(
    "hypergradient",
    [
        OneStep(mixed=ExactProduct(), clip=0.1),
        OneStep(clip=0.1),
        Unrolled(steps=2, clip=0.1),
    ],
    ids=["exact", "finite difference", "unrolled"],
)
def test_a_zero_weight_that_takes_no_part_makes_no_nan(make: Make, hypergradient: Hypergradient):
    problem, weights, outer = supernet_problem(smooth=False)
    for num_steps in (0, 2):
        optimizer = used_optimizer(problem, make, num_steps=num_steps)
        step = functional_step(optimizer, dict(problem.model.named_parameters()))
        result = hypergradient(problem, weights, outer, step)
        assert flat(result.gradient).isfinite().all()


@pytest.mark.parametrize(
    "make", [OPTIMIZERS["adam"], OPTIMIZERS["adamw"], OPTIMIZERS["sgd"]], ids=["adam", "adamw", "sgd"]
)
def test_a_training_loss_without_any_gradient_makes_no_nan(quadratic, point, make: Make):
    weights, outer = point
    still = replace(quadratic, A=0 * quadratic.A, B=0 * quadratic.B, b=0 * quadratic.b)
    named = {name: nn.Parameter(torch.zeros_like(weight)) for name, weight in weights.items()}
    step = functional_step(make(list(named.values())), named)
    zeros = {name: p.detach() for name, p in named.items()}
    for hypergradient in (OneStep(clip=1.0), OneStep(mixed=ExactProduct(), clip=1.0), Unrolled(2, clip=1.0)):
        close(hypergradient(still, zeros, outer, step).gradient, quadratic.first_order(zeros, outer), 1e-14)


# --- The implicit methods at a true optimum of a convexified network --------------------------------------------------


@dataclass(frozen=True)
class Convexified:
    """L(w, a) - <grad L(w0, a0) + wd w0, w> + rho/2 |w - w0|^2 per batch, so that w0 is the optimum for a0 on each."""

    problem: SupernetProblem
    w0: Tensors
    a0: Tensors
    rho: float
    weight_decay: float = 0.0
    reverse: int | None = None

    def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
        index = index if self.reverse is None else self.reverse - 1 - index
        w0 = {name: weight.clone().requires_grad_() for name, weight in self.w0.items()}
        slopes = torch.autograd.grad(
            self.problem.train(w0, self.a0, index), list(w0.values()), allow_unused=True, materialize_grads=True
        )
        loss = self.problem.train(weights, outer, index)
        for slope, name in zip(slopes, w0, strict=True):
            loss = loss - ((slope + self.weight_decay * self.w0[name]) * weights[name]).sum()
            loss = loss + self.rho / 2 * (weights[name] - self.w0[name]).square().sum()
        return loss

    def val(self, weights: Tensors, outer: Tensors) -> Tensor:
        return self.problem.val(weights, outer)


def second_derivatives(problem: BilevelProblem, weights: Tensors, outer: Tensors) -> tuple[Tensor, Tensor]:
    """Dense d_w d_w L_train and d_m d_w L_train."""
    w = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    m = {name: tensor.clone().requires_grad_() for name, tensor in outer.items()}
    inputs = [*w.values(), *m.values()]
    g = torch.autograd.grad(
        problem.train(w, m, 0), list(w.values()), create_graph=True, allow_unused=True, materialize_grads=True
    )
    rows = [
        torch.cat(
            [
                derivative.flatten()
                for derivative in torch.autograd.grad(
                    entry, inputs, retain_graph=True, allow_unused=True, materialize_grads=True
                )
            ]
        )
        for entry in torch.cat([x.flatten() for x in g])
        if entry.requires_grad
    ]
    matrix = torch.stack(rows)
    return matrix[:, : len(rows)], matrix[:, len(rows) :]


def convexified(weight_decay: float) -> tuple[Convexified, Tensors, Tensors]:
    problem, w0, a0 = supernet_problem(smooth=False)
    hessian, _ = second_derivatives(Convexified(problem, w0, a0, rho=0.0), w0, a0)
    lowest = float(torch.linalg.eigvalsh(hessian)[0])
    assert lowest < 0  # otherwise this shows nothing
    return Convexified(problem, w0, a0, rho=0.1 - lowest, weight_decay=weight_decay), w0, a0


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_unrolled_and_neumann_agree_for_every_number_of_terms_at_an_optimum(weight_decay: float):
    problem, w0, a0 = convexified(weight_decay)
    step = sgd(w0, lr=0.05, weight_decay=weight_decay)
    for k in (1, 2, 3, 5, 10):
        unrolled = Unrolled(steps=k)(problem_with_one_batch(problem), w0, a0, step)
        neumann = Neumann(terms=k, rate=0.05)(problem, w0, a0, step)
        close(neumann.gradient, unrolled.gradient, 1e-10)


def problem_with_one_batch(problem: BilevelProblem) -> BilevelProblem:
    class OneBatch:
        def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
            return problem.train(weights, outer, 0)

        def val(self, weights: Tensors, outer: Tensors) -> Tensor:
            return problem.val(weights, outer)

    return OneBatch()


def test_stochastic_neumann_is_unrolled_with_the_batches_in_reverse_order():
    problem, w0, a0 = convexified(0.0)
    step = sgd(w0, lr=0.05)
    for k in (1, 2, 4):
        unrolled = Unrolled(steps=k)(replace(problem, reverse=k), w0, a0, step)
        neumann = Neumann(terms=k, rate=0.05, stochastic=True)(problem, w0, a0, step)
        close(neumann.gradient, unrolled.gradient, 1e-10)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_conjugate_gradient_is_the_dense_solution_on_a_network(weight_decay: float):
    problem, w0, a0 = convexified(weight_decay)
    hessian, mixed = second_derivatives(problem, w0, a0)
    w = {name: weight.clone().requires_grad_() for name, weight in w0.items()}
    m = {name: tensor.clone().requires_grad_() for name, tensor in a0.items()}
    found = torch.autograd.grad(
        problem.val(w, m), [*w.values(), *m.values()], allow_unused=True, materialize_grads=True
    )
    by_weights, by_outer = (torch.cat([x.flatten() for x in xs]) for xs in (found[: len(w)], found[len(w) :]))
    damping = 0.05
    system = hessian + (weight_decay + damping) * torch.eye(len(hessian), dtype=torch.float64)
    expected = by_outer - mixed.T @ torch.linalg.solve(system, by_weights)
    step = sgd(w0, lr=0.05, weight_decay=weight_decay)
    result = ConjugateGradient(iterations=200, tolerance=1e-13, damping=damping)(problem, w0, a0, step)
    assert_close(flat(result.gradient), expected, rtol=1e-10, atol=1e-10)


# --- What must not change, and what is refused ------------------------------------------------------------------------

ALL = [
    FirstOrder(),
    OneStep(),
    OneStep(mixed=ExactProduct(), clip=0.1),
    Unrolled(steps=2),
    Neumann(terms=2, rate=0.1),
    Neumann(terms=2, rate=0.1, stochastic=True),
    ConjugateGradient(iterations=2, damping=10.0),
]


@pytest.mark.parametrize("hypergradient", ALL, ids=repr)
def test_model_optimizer_gradients_and_random_state_are_bit_identical_afterwards(hypergradient: Hypergradient):
    problem, _, outer = supernet_problem(smooth=False, dropout=0.3)
    optimizer = used_optimizer(problem, OPTIMIZERS["adam"])
    parameters = dict(problem.model.named_parameters())
    for p in parameters.values():
        p.grad = torch.ones_like(p)
    before = copy.deepcopy((problem.model.state_dict(), optimizer.state_dict(), torch.get_rng_state()))
    with torch.no_grad():  # the parameters themselves, and no gradient mode, as a careless caller would
        first = hypergradient(problem, parameters, outer, functional_step(optimizer, parameters))
        assert not torch.is_grad_enabled()
    after = (problem.model.state_dict(), optimizer.state_dict(), torch.get_rng_state())
    assert_close(after, before, rtol=0, atol=0)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in parameters.values())
    second = hypergradient(problem, parameters, outer, functional_step(optimizer, parameters))
    assert_close(first.gradient, second.gradient, rtol=0, atol=0)


@pytest.mark.parametrize("hypergradient", ALL, ids=repr)
def test_inner_batches_are_asked_for_by_their_index(quadratic, point, hypergradient: Hypergradient):
    indices: list[int] = []

    class Noting:
        def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
            indices.append(index)
            return quadratic.train(weights, outer, index)

        def val(self, weights: Tensors, outer: Tensors) -> Tensor:
            return quadratic.val(weights, outer)

    weights, outer = point
    hypergradient(Noting(), weights, outer, sgd(weights, lr=0.1))
    assert set(indices) == set(range(hypergradient.num_train_batches))


def test_frozen_weights_are_constants(quadratic, point):
    """The hypergradient with a frozen weight is that of the problem without it."""
    weights, outer = point
    named = {name: nn.Parameter(weight) for name, weight in weights.items()}
    named["vector"].requires_grad_(False)
    step = functional_step(torch.optim.SGD(list(named.values()), lr=0.1), named)

    class WithoutVector:
        def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
            return quadratic.train(weights | {"vector": named["vector"]}, outer, index)

        def val(self, weights: Tensors, outer: Tensors) -> Tensor:
            return quadratic.val(weights | {"vector": named["vector"]}, outer)

    rest = {"matrix": weights["matrix"]}
    for hypergradient in ALL:
        expected = hypergradient(WithoutVector(), rest, outer, sgd(rest, lr=0.1)).gradient
        close(hypergradient(quadratic, weights, outer, step).gradient, expected, 1e-14)


@pytest.mark.parametrize("hypergradient", [Neumann(terms=2, rate=0.1), ConjugateGradient()], ids=repr)
def test_implicit_methods_refuse_decoupled_weight_decay(quadratic, point, hypergradient: Hypergradient):
    weights, outer = point
    named = {name: nn.Parameter(weight) for name, weight in weights.items()}
    step = functional_step(torch.optim.AdamW(named.values()), named)
    with pytest.raises(ValueError, match="AdamW"):
        hypergradient(quadratic, weights, outer, step)


def test_a_loss_that_is_no_scalar_is_refused(quadratic, point):
    weights, outer = point

    class PerSample:
        train = quadratic.train

        def val(self, weights: Tensors, outer: Tensors) -> Tensor:
            return quadratic.val(weights, outer).expand(4)

    with pytest.raises(ValueError, match=r"shape \(\), not \(4,\)"):
        FirstOrder()(PerSample(), weights, outer, None)


def test_a_step_of_weights_that_are_not_given_is_refused(quadratic, point):
    weights, outer = point
    with pytest.raises(ValueError, match="other"):
        OneStep()(quadratic, weights, outer, sgd({"other": torch.ones(2)}, lr=0.1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: OneStep(clip=0.0),
        lambda: OneStep(mixed=FiniteDifference(radius=0.0)),
        lambda: Unrolled(steps=0),
        lambda: Unrolled(steps=1, clip=-1.0),
        lambda: Neumann(terms=0, rate=0.1),
        lambda: Neumann(terms=1, rate=0.0),
        lambda: ConjugateGradient(iterations=0),
        lambda: ConjugateGradient(tolerance=-1.0),
        lambda: ConjugateGradient(damping=float("nan")),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Hypergradient]):
    with pytest.raises(ValueError, match="not"):
        make()


# --- Ranks ------------------------------------------------------------------------------------------------------------


class SumOverThreads:
    """Sums over two threads, in place."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = [torch.empty(0), torch.empty(0)]
        self.barrier = threading.Barrier(2, timeout=60)

    def of(self, rank: int) -> Callable[[Tensor], None]:
        def reduce(flat: Tensor) -> None:
            self.parts[rank] = flat.clone()
            self.barrier.wait()
            flat.copy_(self.parts[0] + self.parts[1])
            self.barrier.wait()

        return reduce


@pytest.mark.parametrize("hypergradient", ALL, ids=repr)
def test_the_mean_of_two_ranks_is_one_rank_with_both_batches(hypergradient: Hypergradient):
    """With losses that are means over ranks no method knows of ranks, and each finds the whole hypergradient."""
    problems = [QuadraticProblem.random(seed=0), QuadraticProblem.random(seed=1)]
    weights, outer = problems[0].point(seed=1)
    sums = SumOverThreads()

    class Both:
        def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
            return (problems[0].train(weights, outer, index) + problems[1].train(weights, outer, index)) / 2

        def val(self, weights: Tensors, outer: Tensors) -> Tensor:
            return (problems[0].val(weights, outer) + problems[1].val(weights, outer)) / 2

    class OfRank:
        def __init__(self, rank: int) -> None:
            self.rank, self.reduce = rank, sums.of(rank)

        def train(self, weights: Tensors, outer: Tensors, index: int) -> Tensor:
            return self._mean(problems[self.rank].train(*self._spread(weights, outer), index))

        def val(self, weights: Tensors, outer: Tensors) -> Tensor:
            return self._mean(problems[self.rank].val(*self._spread(weights, outer)))

        def _spread(self, *groups: Tensors) -> list[Tensors]:
            spread = iter(Spread.apply(self.reduce, *(tensor for group in groups for tensor in group.values())))
            return [{name: next(spread) for name in group} for group in groups]

        def _mean(self, own: Tensor) -> Tensor:
            return AddUp.apply(self.reduce, own)[0] / 2

    step = sgd(weights, lr=0.1, momentum=0.9, weight_decay=0.1)
    found: list[Tensors] = [{}, {}]

    def work(rank: int) -> None:
        found[rank] = hypergradient(OfRank(rank), weights, outer, step).gradient

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tolerance = 1e-8 if hypergradient == OneStep() else 1e-12
    close(found[0], hypergradient(Both(), weights, outer, step).gradient, tolerance)
    assert all(torch.equal(found[0][name], found[1][name]) for name in outer)
