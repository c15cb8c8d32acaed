"""The closed forms agree with autograd, and the contract finds what breaks it."""

import doctest
from dataclasses import dataclass, replace

import pytest
import torch
from torch.testing import assert_close

import dnas.method.hypergradient
import dnas.testing.hypergradient
from dnas.method.hypergradient import (
    BilevelProblem,
    ConjugateGradient,
    ExactProduct,
    FirstOrder,
    Hypergradient,
    HypergradientResult,
    InnerStep,
    Neumann,
    OneStep,
    Tensors,
    Unrolled,
)
from dnas.testing import QuadraticProblem, check_hypergradient
from tests.support.contracts import public_parts


def autograd(loss: torch.Tensor, variables: Tensors) -> Tensors:
    return dict(zip(variables, torch.autograd.grad(loss, list(variables.values())), strict=True))


@pytest.fixture
def problem() -> QuadraticProblem:
    return QuadraticProblem.random(seed=3)


@pytest.fixture
def point(problem: QuadraticProblem) -> tuple[Tensors, Tensors]:
    weights, outer = problem.point(seed=4)
    return weights, {name: tensor.requires_grad_() for name, tensor in outer.items()}


def test_the_optimum_has_no_gradient_of_the_decayed_training_loss(problem, point):
    weights = {n: w.detach().requires_grad_() for n, w in problem.optimum(point[1], weight_decay=0.3).items()}
    decay = sum(0.3 / 2 * weight.square().sum() for weight in weights.values())
    for gradient in autograd(problem.train(weights, point[1], 0) + decay, weights).values():
        assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-13)


def test_first_order_is_the_gradient_of_the_validation_loss(problem, point):
    weights, outer = point
    assert_close(
        problem.first_order(weights, outer), autograd(problem.val(weights, outer), outer), rtol=1e-13, atol=1e-13
    )


def test_one_step_is_autograd_through_a_step_of_sgd(problem, point):
    weights, outer = point
    weights = {name: weight.requires_grad_() for name, weight in weights.items()}
    names = list(weights)
    gradients = torch.autograd.grad(problem.train(weights, outer, 0), list(weights.values()), create_graph=True)
    moved = {n: weights[n] - 0.2 * (g + 0.1 * weights[n]) for n, g in zip(names, gradients, strict=True)}
    expected = autograd(problem.val(moved, outer), outer)
    assert_close(problem.one_step(weights, outer, lr=0.2, weight_decay=0.1), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_implicit_is_autograd_through_the_optimum(problem, point, weight_decay):
    _, outer = point
    loss = problem.val(problem.optimum(outer, weight_decay=weight_decay), outer)
    expected = autograd(loss, outer)
    assert_close(problem.implicit(outer, weight_decay=weight_decay), expected, rtol=1e-12, atol=1e-12)


def test_the_example_in_the_documentation_runs():
    assert doctest.testmod(dnas.testing.hypergradient).failed == 0


# Besides each as it is by default, or for those that have no default: what else they can do.
EXAMPLES = {
    OneStep: (OneStep(), OneStep(mixed=ExactProduct(), clip=0.1)),
    Unrolled: (Unrolled(steps=1), Unrolled(steps=3, clip=1.0)),
    Neumann: (
        Neumann(terms=1, rate=0.1),
        Neumann(terms=3, rate=0.1),
        Neumann(terms=3, rate=0.1, stochastic=True),
    ),
    ConjugateGradient: (
        ConjugateGradient(iterations=3),
        ConjugateGradient(iterations=3, damping=0.1, tolerance=0.5),
    ),
}


@pytest.mark.parametrize("hypergradient", public_parts(dnas.method.hypergradient, Hypergradient, EXAMPLES), ids=repr)
def test_every_hypergradient_keeps_the_contract(hypergradient):
    check_hypergradient(hypergradient)


@dataclass(frozen=True)
class Broken(Hypergradient):
    """FirstOrder with one fault."""

    fault: str

    @property
    def num_train_batches(self) -> int:
        return 1 if self.fault == "promises a batch" else 0

    @property
    def needs_step(self) -> bool:
        return self.fault == "takes no step"

    def __call__(
        self, problem: BilevelProblem, weights: Tensors, outer: Tensors, step: InnerStep | None
    ) -> HypergradientResult:
        result = FirstOrder()(problem, weights, outer, step)
        gradient = result.gradient
        match self.fault:
            case "moves a weight":
                weights["vector"] += 1e-9
            case "moves a variable":
                outer["gate"] += 1e-9
            case "uses random numbers":
                torch.rand(())
            case "leaves the gradient mode off":
                torch.set_grad_enabled(False)
            case "drops a variable":
                del gradient["gate"]
            case "flattens":
                gradient["mixture"] = gradient["mixture"].flatten()
            case "rounds":
                gradient["mixture"] = gradient["mixture"].float()
            case "is not finite":
                gradient["mixture"] = gradient["mixture"] * float("nan")
            case "is noisy":
                gradient["mixture"] = gradient["mixture"] + torch.rand((), generator=torch.Generator().manual_seed(0))
                gradient["gate"] = gradient["gate"] + next(NOISE)
            case "keeps the graph":
                gradient["mixture"] = gradient["mixture"].requires_grad_()
            case "invents a gradient":
                gradient["idle"] = gradient["idle"] + 1
            case "keeps the loss's graph":
                return replace(result, val_loss=result.val_loss.requires_grad_())
        return result


NOISE = iter(range(10**9))


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("moves a weight", "changed weights or outer"),
        ("moves a variable", "changed weights or outer"),
        ("uses random numbers", "changed the random state"),
        ("leaves the gradient mode off", "changed the gradient mode"),
        ("promises a batch", "promised"),
        ("takes no step", "raises no ValueError"),
        ("drops a variable", "returned gradients of"),
        ("flattens", "shape"),
        ("rounds", "float32"),
        ("is not finite", "not finite"),
        ("is noisy", "other numbers"),
        ("keeps the graph", "with a graph"),
        ("invents a gradient", "not used"),
        ("keeps the loss's graph", "val_loss"),
    ],
)
def test_the_contract_names_what_is_wrong(fault, complaint):
    with torch.enable_grad(), pytest.raises(AssertionError, match=complaint):
        check_hypergradient(Broken(fault))
