"""One search step equals autograd through an explicit graph, explicit formulas, and plain training."""

import copy
import math
import runpy
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from dnas import (
    Batch,
    BetaDecay,
    Cell,
    Choice,
    ConjugateGradient,
    Constant,
    ExactProduct,
    ExpectedCost,
    FiniteDifference,
    FirstOrder,
    GumbelSoftmax,
    Hypergradient,
    Linear,
    Mixture,
    Neumann,
    OneStep,
    Penalty,
    Relaxation,
    Sigmoid,
    Softmax,
    Supernet,
    Unrolled,
    Zero,
    search_step,
)
from dnas.searching.search_step import ArchitectureProblem, assign_alpha_grad

Tensors = dict[str, Tensor]
NUM_CLASSES = 3


# --- A small real supernet, and its forward pass by hand --------------------------------------------------------------


def conv_bn(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Softplus(), nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
    )


class Net(nn.Module):
    """Convolutions and batch norm with running statistics, a choice, and a cell of two nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.kernel = Choice(
            "kernel", {"3x3": nn.Conv2d(4, 4, 3, padding=1), "1x1": nn.Conv2d(4, 4, 1), "skip": nn.Identity()}
        )
        edges = [(0, 1), (0, 2), (1, 2)]
        candidates = [
            {"none": Zero(), "conv": conv_bn(4), "pool": nn.AvgPool2d(3, 1, 1), "skip": nn.Identity()} for _ in edges
        ]
        self.cell = Cell("cell", edges, candidates, num_inputs=1, output=(1, 2), num_kept=1, excluded=("none",))
        self.head = nn.Linear(8, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(self.kernel(self.stem(x))).mean(dim=(2, 3)))


def batch_norm(x: Tensor, w: Tensors, name: str) -> Tensor:
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean(dim=(0, 2, 3), keepdim=True)
    scale, shift = (w[f"{name}.{part}"].reshape(1, -1, 1, 1) for part in ("weight", "bias"))
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def forward_by_hand(w: Tensors, m: Tensors, x: Tensor) -> Tensor:
    """The outputs of `Net` in train mode, written out."""
    x = batch_norm(F.conv2d(x, w["stem.0.weight"], w["stem.0.bias"], padding=1), w, "stem.1")
    wide, narrow = (F.conv2d(x, *(w[f"kernel.candidates.{k}.{p}"] for p in ("weight", "bias")), padding=1 - k)
                    for k in range(2))  # fmt: skip
    states = [m["kernel"][0] * wide + m["kernel"][1] * narrow + m["kernel"][2] * x]

    def edge(index: int, state: Tensor) -> Tensor:
        name, mix = f"cell.operations.{index}.1", m["cell"][index]
        conv = batch_norm(F.conv2d(F.softplus(state), w[f"{name}.1.weight"], padding=1), w, f"{name}.2")
        return mix[1] * conv + mix[2] * F.avg_pool2d(state, 3, 1, 1) + mix[3] * state

    states.append(edge(0, states[0]))
    states.append(edge(1, states[0]) + edge(2, states[1]))
    pooled = torch.cat(states[1:], dim=1).mean(dim=(2, 3))
    return pooled @ w["head.weight"].T + w["head.bias"]


def loss_by_hand(w: Tensors, m: Tensors, batch: Batch) -> Tensor:
    return F.cross_entropy(forward_by_hand(w, m, batch.inputs), batch.targets)


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    found = Supernet(Net().double(), seed=3)
    with torch.no_grad():  # far enough from uniform to tell the candidates apart
        for alpha in found.alpha_parameters():
            alpha.mul_(500)
    return found


def images(seed: int, count: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 2, 5, 5, generator=generator, dtype=torch.float64)
    return Batch(inputs, torch.randint(0, NUM_CLASSES, (count,), generator=generator))


def test_the_supernet_computes_what_is_written_out_by_hand(supernet):
    mixtures = supernet.sample(Softmax(), torch.tensor(0.0))
    outputs = supernet.forward(supernet.weights(), mixtures, images(0))
    by_hand = forward_by_hand(supernet.weights(), {name: m.values for name, m in mixtures.items()}, images(0).inputs)
    assert_close(outputs, by_hand, rtol=0, atol=1e-12)


# --- Penalties --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quadratic(Penalty):
    """L + 0.3 sum of squared alphas."""

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        return loss + 0.3 * sum(alpha.square().sum() for alpha in alphas.values())


COST = ExpectedCost(
    {"kernel": [9.0, 1.0, 0.0], "cell": [[0.0, 5.0, 1.0, 0.5], [0.0, 4.0, 2.0, 0.1], [0.0, 3.0, 1.5, 0.2]]},
    target=4.0,
    exponent=0.6,
)
PROGRESS = 0.5


def penalized_by_hand(loss: Tensor, alphas: Tensors, m: Tensors, penalties: tuple[Penalty, ...]) -> Tensor:
    for penalty in penalties:
        if penalty == Quadratic():
            loss = loss + 0.3 * (alphas["kernel"] ** 2).sum() + 0.3 * (alphas["cell"] ** 2).sum()
        elif penalty == BetaDecay(Linear(0.0, 8.0)):
            rows = [*alphas["cell"].exp().sum(dim=1).log(), alphas["kernel"].exp().sum().log()]
            loss = loss + 8.0 * PROGRESS * torch.stack(rows).mean()
        elif penalty == COST:
            costs = {name: torch.tensor(cost, dtype=torch.float64) for name, cost in COST.costs.items()}
            expected = (m["kernel"] * costs["kernel"]).sum() + (m["cell"] * costs["cell"]).sum()
            loss = loss * (expected / 4.0) ** 0.6
        else:
            raise AssertionError(penalty)
    return loss


PENALTIES = [(), (Quadratic(), COST), (COST, BetaDecay(Linear(0.0, 8.0)))]


def softmax(alpha: Tensor) -> Tensor:
    return alpha.softmax(-1)


def unchanged(weight: Tensor, w: Tensor, g: Tensor) -> Tensor:
    return w.detach()


# --- The alphas' gradient equals autograd through an explicit one-step graph ------------------------------------------


def sgd_by_hand(optimizer: torch.optim.Optimizer, weight: Tensor, w: Tensor, g: Tensor) -> Tensor:
    """w - lr (mu b + g + wd w), with the settings of the weight's group."""
    (group,) = (group for group in optimizer.param_groups if any(weight is other for other in group["params"]))
    buffer = optimizer.state[weight]["momentum_buffer"]
    return w - group["lr"] * (group["momentum"] * buffer + g + group["weight_decay"] * w)


def adam_by_hand(optimizer: torch.optim.Optimizer, weight: Tensor, w: Tensor, g: Tensor) -> Tensor:
    """w - lr m / (1 - beta1^t) / (sqrt(s / (1 - beta2^t)) + eps)."""
    (group,) = optimizer.param_groups
    (beta1, beta2), state = group["betas"], optimizer.state[weight]
    g = g + group["weight_decay"] * w
    t = float(state["step"]) + 1
    m = beta1 * state["exp_avg"] + (1 - beta1) * g
    s = beta2 * state["exp_avg_sq"] + (1 - beta2) * g**2
    return w - group["lr"] * (m / (1 - beta1**t)) / ((s / (1 - beta2**t)).sqrt() + group["eps"])


def two_groups(weights: Tensors) -> list[dict]:
    """Head and the rest, with their own settings."""
    head = [weight for name, weight in weights.items() if name.startswith("head")]
    rest = [weight for name, weight in weights.items() if not name.startswith("head")]
    return [{"params": rest}, {"params": head, "lr": 0.3, "momentum": 0.5, "weight_decay": 0.0}]


def sgd(weights: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(two_groups(dict(weights)), lr=0.1, momentum=0.9, weight_decay=0.03)


def adam(weights: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(weights.values(), lr=0.01, betas=(0.8, 0.9), weight_decay=0.02)


def warmed_up(supernet: Supernet, make: Callable[..., torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """A weight optimizer that has made two steps, so that it has a state."""
    optimizer = make(supernet.weights())
    for seed in (10, 11):
        search_step(supernet, weight_batch=images(seed), weight_optimizer=optimizer)
    return optimizer


def by_explicit_graph(
    supernet: Supernet,
    relax: Callable[[Tensor], Tensor],
    stepped: Callable[[Tensor, Tensor, Tensor], Tensor],
    penalties: tuple[Penalty, ...],
) -> tuple[Tensors, Tensor]:
    """Gradient of every alpha and the loss, by autograd through `w' = stepped(weight, w, g)`."""
    alphas = {name: alpha.detach().clone().requires_grad_() for name, alpha in supernet.alphas.items()}
    w = {name: weight.detach().clone().requires_grad_() for name, weight in supernet.weights().items()}
    m = {name: relax(alpha) for name, alpha in alphas.items()}
    g = torch.autograd.grad(loss_by_hand(w, m, images(1)), list(w.values()), create_graph=True)
    w_next = {
        name: stepped(weight, w[name], gradient)
        for (name, weight), gradient in zip(supernet.weights().items(), g, strict=True)
    }
    loss = penalized_by_hand(loss_by_hand(w_next, m, images(2)), alphas, m, penalties)
    gradients = torch.autograd.grad(loss, list(alphas.values()))
    return dict(zip(alphas, gradients, strict=True)), loss.detach()


def grads(supernet: Supernet) -> Tensors:
    return {name: alpha.grad.clone() for name, alpha in supernet.alphas.items() if alpha.grad is not None}


def close(a: Tensors, b: Tensors, tolerance: float = 1e-10) -> None:
    assert a.keys() == b.keys()
    for name in b:
        assert_close(a[name], b[name], rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


def one_search_step(supernet: Supernet, optimizer: torch.optim.Optimizer, **parts) -> Tensor:
    """A step on batches 1 and 2; the validation loss."""
    alpha_optimizer = torch.optim.SGD(supernet.alpha_parameters(), lr=0.1)
    result = search_step(
        supernet,
        weight_batch=images(1),
        weight_optimizer=optimizer,
        alpha_batch=images(2),
        alpha_optimizer=alpha_optimizer,
        progress=PROGRESS,
        **parts,
    )
    return result.scalars["val_loss"]


@pytest.mark.parametrize("penalties", PENALTIES, ids=["none", "quadratic then cost", "cost then beta decay"])
@pytest.mark.parametrize(
    ("relaxation", "relax"),
    [(Softmax(), softmax), (Sigmoid(), torch.sigmoid)],
    ids=["softmax", "gates"],
)
@pytest.mark.parametrize(("make", "by_hand"), [(sgd, sgd_by_hand), (adam, adam_by_hand)], ids=["SGD", "Adam"])
def test_the_exact_one_step_gradient_is_autograd_through_the_graph_written_out(
    supernet, make, by_hand, relaxation, relax, penalties
):
    optimizer = warmed_up(supernet, make)
    expected, val_loss = by_explicit_graph(supernet, relax, lambda *wg: by_hand(optimizer, *wg), penalties)
    still, _ = by_explicit_graph(supernet, relax, unchanged, penalties)
    # The virtual step that MMRazor 1.x never makes must be seen by this test.
    assert max(float((expected[name] - still[name]).abs().max()) for name in expected) > 1e-3

    hypergradient = OneStep(mixed=ExactProduct())
    found = one_search_step(
        supernet, optimizer, relaxation=relaxation, hypergradient=hypergradient, penalties=penalties
    )
    close(grads(supernet), expected)
    assert_close(found, val_loss, rtol=0, atol=1e-10)


@pytest.mark.parametrize("penalties", PENALTIES, ids=["none", "quadratic then cost", "cost then beta decay"])
def test_the_finite_difference_gradient_comes_near_on_a_smooth_net(supernet, penalties):
    optimizer = warmed_up(supernet, sgd)
    expected, _ = by_explicit_graph(supernet, softmax, lambda *wg: sgd_by_hand(optimizer, *wg), penalties)
    one_search_step(supernet, optimizer, hypergradient=OneStep(FiniteDifference(1e-4)), penalties=penalties)
    close(grads(supernet), expected, 1e-7)


@pytest.mark.parametrize("penalties", PENALTIES, ids=["none", "quadratic then cost", "cost then beta decay"])
def test_the_first_order_gradient_is_autograd_at_the_weights_as_they_are(supernet, penalties):
    optimizer = warmed_up(supernet, sgd)
    expected, val_loss = by_explicit_graph(supernet, softmax, unchanged, penalties)
    found = one_search_step(supernet, optimizer, penalties=penalties)
    close(grads(supernet), expected)
    assert_close(found, val_loss, rtol=0, atol=1e-10)


def test_a_ruled_out_candidate_has_no_gradient_and_the_others_share_the_rest(supernet):
    supernet.allowed = {"kernel": ((0, 2),)}
    optimizer = warmed_up(supernet, sgd)

    def relax(alpha: Tensor) -> Tensor:
        if alpha.ndim == 2:
            return alpha.softmax(-1)
        left, right = alpha[[0, 2]].softmax(0)
        return torch.stack([left, torch.zeros_like(left), right])

    expected, _ = by_explicit_graph(supernet, relax, unchanged, (Quadratic(),))
    one_search_step(supernet, optimizer, penalties=(Quadratic(),))
    close(grads(supernet), expected)


# --- Assigned, not added; the optimizers do their own work ------------------------------------------------------------


def test_the_alphas_gradient_is_assigned_and_adam_applies_its_own_decay(supernet):
    optimizer = warmed_up(supernet, sgd)
    gradient, _ = by_explicit_graph(supernet, softmax, unchanged, ())
    by_hand = [alpha.detach().clone().requires_grad_() for alpha in supernet.alpha_parameters()]
    settings = {"lr": 0.05, "betas": (0.5, 0.999), "weight_decay": 0.1}
    alpha_optimizer, expected = torch.optim.Adam(supernet.alpha_parameters(), **settings), {}
    for name, alpha in zip(supernet.alphas, by_hand, strict=True):
        supernet.alphas[name].grad = torch.full_like(alpha, 1e6)  # left over from something else
        # First step of Adam: m / (1 - 0.5) = g, s / (1 - 0.999) = g^2, with g = gradient + decay.
        g = gradient[name] + 0.1 * alpha.detach()
        expected[name] = alpha.detach() - 0.05 * g / (g.abs() + 1e-8)
        alpha.grad = gradient[name]
    torch.optim.Adam(by_hand, **settings).step()

    search_step(
        supernet,
        weight_batch=images(1),
        weight_optimizer=optimizer,
        alpha_batch=images(2),
        alpha_optimizer=alpha_optimizer,
        progress=PROGRESS,
    )
    close(grads(supernet), gradient)
    for (name, alpha), stepped in zip(supernet.alphas.items(), by_hand, strict=True):
        assert_close(alpha, expected[name], rtol=0, atol=1e-10)
        assert_close(alpha, stepped, rtol=0, atol=1e-10)


def test_the_weights_see_the_updated_alphas_and_their_gradient_is_assigned(supernet):
    optimizer = torch.optim.SGD(supernet.weights().values(), lr=0.1)
    before = {name: weight.detach().clone().requires_grad_() for name, weight in supernet.weights().items()}
    for weight in supernet.weights().values():
        weight.grad = torch.full_like(weight, 1e6)
    one_search_step(supernet, optimizer)
    m = {name: alpha.detach().softmax(-1) for name, alpha in supernet.alphas.items()}
    gradient = torch.autograd.grad(loss_by_hand(before, m, images(1)), list(before.values()))
    for (name, weight), g in zip(supernet.weights().items(), gradient, strict=True):
        assert_close(weight.grad, g, rtol=0, atol=1e-10)
        assert_close(weight, before[name] - 0.1 * g, rtol=0, atol=1e-10)


def test_clipping_holds_for_the_weight_step_alone(supernet):
    clip = 0.01
    reference = copy.deepcopy(supernet)
    optimizers = [torch.optim.SGD(net.weights().values(), lr=0.1) for net in (supernet, reference)]
    one_search_step(supernet, optimizers[0], clip=clip)
    one_search_step(reference, optimizers[1])
    close(grads(supernet), grads(reference), 0.0)
    unclipped = {name: weight.grad for name, weight in reference.weights().items()}
    norm = torch.stack([gradient.square().sum() for gradient in unclipped.values()]).sum().sqrt()
    for name, weight in supernet.weights().items():
        assert_close(weight.grad, unclipped[name] * clip / (norm + 1e-6), rtol=1e-10, atol=0)


# --- What an architecture step leaves alone ---------------------------------------------------------------------------


class WithEverything(nn.Module):
    """Batch norm with running statistics, dropout, a frozen weight, and a choice whose candidates have weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.choice = Choice("op", {"conv": nn.Conv2d(4, 4, 1), "skip": nn.Identity(), "drop": nn.Dropout(0.4)})
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(4, NUM_CLASSES)
        self.first.bias.requires_grad_(False)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.choice(F.softplus(self.norm(self.first(x))))).mean(dim=(2, 3)))


def everything_but_alpha_grads(supernet: Supernet, optimizer: torch.optim.Optimizer) -> dict[str, object]:
    return copy.deepcopy(
        {
            "weights and buffers": dict(supernet.model.state_dict()),
            "requires_grad": {name: weight.requires_grad for name, weight in supernet.model.named_parameters()},
            ".grad": {name: weight.grad for name, weight in supernet.model.named_parameters()},
            "alphas": {name: alpha.detach() for name, alpha in supernet.alphas.items()},
            "optimizer": optimizer.state_dict(),
            "modes": [module.training for module in supernet.model.modules()],
            "random state": torch.get_rng_state(),
        }
    )


def same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return a == b


METHODS = [
    FirstOrder(),
    OneStep(ExactProduct()),
    OneStep(FiniteDifference()),
    Unrolled(2),
    Neumann(3, rate=0.1),
    ConjugateGradient(3, damping=1.0),
]


@pytest.mark.parametrize("relaxation", [Softmax(), GumbelSoftmax()], ids=["softmax", "hard Gumbel"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_the_architecture_step_changes_nothing_but_the_alphas_gradient(method: Hypergradient, relaxation: Relaxation):
    torch.manual_seed(0)
    supernet = Supernet(WithEverything().double())
    optimizer = warmed_up(supernet, sgd)
    mixtures = supernet.sample(relaxation, torch.tensor(0.0), torch.Generator().manual_seed(0))
    problem = ArchitectureProblem(
        supernet, mixtures, images(2), [images(1), images(3)], (Quadratic(),), torch.tensor(PROGRESS)
    )
    before = everything_but_alpha_grads(supernet, optimizer)
    assign_alpha_grad(supernet, mixtures, problem, method, optimizer)
    after = everything_but_alpha_grads(supernet, optimizer)
    assert [name for name in before if not same(before[name], after[name])] == []
    assert supernet.alphas["op"].grad is not None


# --- Two whole DARTS steps as explicit formulas -----------------------------------------------------------------------


class Line(nn.Module):
    """y = sum_k m_k w_k x, with one weight per candidate."""

    def __init__(self) -> None:
        super().__init__()
        self.op = Choice("op", {"a": nn.Linear(1, 1, bias=False), "b": nn.Linear(1, 1, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def line_batch(x: list[float], t: list[float]) -> Batch:
    return Batch(*(torch.tensor(values, dtype=torch.float64).unsqueeze(1) for values in (x, t)))


WEIGHT_BATCHES = [([1.0, 2.0, -1.0], [0.5, 3.0, 1.0]), ([0.5, -2.0], [1.0, 1.0])]
ALPHA_BATCHES = [([1.5, -0.5], [2.0, 1.0]), ([2.0, 1.0, 0.5], [0.0, -1.0, 2.0])]
LR, MOMENTUM, DECAY = 0.1, 0.9, 0.03
ALPHA_LR, BETA1, BETA2, ALPHA_DECAY = 0.05, 0.5, 0.999, 0.1


def moments(batch: tuple[list[float], list[float]]) -> tuple[float, float]:
    """S = mean x^2, R = mean x t: the loss mean (m.w x - t)^2 is S q^2 - 2 R q + mean t^2 with q = m.w."""
    x, t = batch
    return sum(a * a for a in x) / len(x), sum(a * b for a, b in zip(x, t, strict=True)) / len(x)


def two_steps_by_formula(second_order: bool) -> tuple[list[float], list[float]]:
    """Weights and alphas after two steps of SGD with momentum and of Adam, in plain numbers."""
    w, alpha, buffer, m1, m2 = [0.7, -0.4], [0.2, -0.3], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
    for step in (1, 2):
        (S, R), (S_val, R_val) = moments(WEIGHT_BATCHES[step - 1]), moments(ALPHA_BATCHES[step - 1])
        e = [math.exp(a) for a in alpha]
        m = [value / sum(e) for value in e]
        q = m[0] * w[0] + m[1] * w[1]
        at = list(w)
        if second_order:  # w' = w - lr (mu b + dL/dw + wd w)
            at = [w[k] - LR * (MOMENTUM * buffer[k] + 2 * m[k] * (S * q - R) + DECAY * w[k]) for k in (0, 1)]
        q_val = m[0] * at[0] + m[1] * at[1]
        d_m = [2 * at[k] * (S_val * q_val - R_val) for k in (0, 1)]
        if second_order:
            v = [-LR * 2 * m[k] * (S_val * q_val - R_val) for k in (0, 1)]
            # d2L / dm_j dw_k = 2 m_k w_j S, and 2 (S q - R) more on the diagonal
            d_m = [
                d_m[j] + sum(v[k] * (2 * m[k] * w[j] * S + (2 * (S * q - R) if j == k else 0)) for k in (0, 1))
                for j in (0, 1)
            ]
        mean = m[0] * d_m[0] + m[1] * d_m[1]
        for k in (0, 1):
            g = m[k] * (d_m[k] - mean) + ALPHA_DECAY * alpha[k]
            m1[k] = BETA1 * m1[k] + (1 - BETA1) * g
            m2[k] = BETA2 * m2[k] + (1 - BETA2) * g * g
            alpha[k] -= ALPHA_LR * (m1[k] / (1 - BETA1**step)) / (math.sqrt(m2[k] / (1 - BETA2**step)) + 1e-8)
        e = [math.exp(a) for a in alpha]
        m = [value / sum(e) for value in e]
        q = m[0] * w[0] + m[1] * w[1]
        for k in (0, 1):
            g = 2 * m[k] * (S * q - R) + DECAY * w[k]
            buffer[k] = g if step == 1 else MOMENTUM * buffer[k] + g
            w[k] -= LR * buffer[k]
    return w, alpha


@pytest.mark.parametrize(
    ("method", "second_order"),
    [(FirstOrder(), False), (OneStep(ExactProduct()), True), (OneStep(FiniteDifference()), True), (Unrolled(1), True)],
    ids=str,
)
def test_two_steps_of_darts_are_their_formulas(method: Hypergradient, second_order: bool):
    supernet = Supernet(Line().double(), F.mse_loss)
    with torch.no_grad():
        supernet.alphas["op"].copy_(torch.tensor([0.2, -0.3], dtype=torch.float64))
        for weight, value in zip(supernet.weights().values(), (0.7, -0.4), strict=True):
            weight.fill_(value)
    weight_optimizer = torch.optim.SGD(supernet.weights().values(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    alpha_optimizer = torch.optim.Adam(
        supernet.alpha_parameters(), lr=ALPHA_LR, betas=(BETA1, BETA2), weight_decay=ALPHA_DECAY
    )
    for weight_batch, alpha_batch in zip(WEIGHT_BATCHES, ALPHA_BATCHES, strict=True):
        search_step(
            supernet,
            weight_batch=line_batch(*weight_batch),
            weight_optimizer=weight_optimizer,
            alpha_batch=line_batch(*alpha_batch),
            alpha_optimizer=alpha_optimizer,
            hypergradient=method,
        )
    weights, alphas = two_steps_by_formula(second_order)
    assert_close(torch.cat([w.flatten() for w in supernet.weights().values()]).tolist(), weights, rtol=0, atol=1e-10)
    assert_close(supernet.alphas["op"].tolist(), alphas, rtol=0, atol=1e-10)
    assert (second_order is False) == (two_steps_by_formula(False)[1] == alphas)


# --- Plain training (the contract of MMRazor's Darts.train_step, done right) ------------------------------------------


def test_with_one_batch_and_one_optimizer_it_is_plain_training_bit_for_bit():
    torch.manual_seed(0)
    model = WithEverything()
    plain = copy.deepcopy(model)
    supernet = Supernet(model)
    with torch.no_grad():
        supernet.alphas["op"].zero_()  # equal weights, as in the plain module
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}
    ours = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], **settings)
    theirs = torch.optim.SGD([weight for weight in plain.parameters() if weight.requires_grad], **settings)
    batches = [Batch(images(seed).inputs.float(), images(seed).targets) for seed in range(5)]

    torch.manual_seed(1)
    results = [search_step(supernet, weight_batch=batch, weight_optimizer=ours) for batch in batches]
    torch.manual_seed(1)
    for batch, result in zip(batches, results, strict=True):
        theirs.zero_grad()
        loss = F.cross_entropy(plain(batch.inputs), batch.targets)
        loss.backward()
        theirs.step()
        assert torch.equal(result.loss, loss.detach())
    assert same(dict(model.state_dict()), dict(plain.state_dict()))
    assert model.norm.num_batches_tracked == 5
    assert supernet.alphas["op"].grad is None


def test_plain_training_is_under_the_expected_mixture(supernet):
    expected = supernet.expected(Softmax(), torch.tensor(0.0))
    optimizer, w = torch.optim.SGD(supernet.weights().values(), lr=0.2), dict(supernet.weights())
    w = {name: weight.detach().clone().requires_grad_() for name, weight in w.items()}
    for seed in range(3):
        result = search_step(supernet, weight_batch=images(seed), weight_optimizer=optimizer)
        loss = loss_by_hand(w, {name: mixture.values for name, mixture in expected.items()}, images(seed))
        gradient = torch.autograd.grad(loss, list(w.values()))
        w = {
            name: (weight - 0.2 * g).detach().requires_grad_()
            for (name, weight), g in zip(w.items(), gradient, strict=True)
        }
        assert_close(result.loss, loss.detach(), rtol=0, atol=1e-10)
    close(dict(supernet.weights()), w)


def test_a_step_returns_the_loss_the_scalars_and_the_number_of_samples(supernet):
    optimizer = torch.optim.SGD(supernet.weights().values(), lr=0.1)
    result = search_step(supernet, weight_batch=images(0, count=5), weight_optimizer=optimizer)
    assert set(result.scalars) == {"train_loss", "gradient_norm"}
    assert result.num_samples == 5
    assert result.aux.outputs.shape == (5, NUM_CLASSES)
    norm = torch.cat([weight.grad.flatten() for weight in supernet.weights().values()]).norm()
    assert_close(result.scalars["gradient_norm"], norm)
    assert not any(value.requires_grad for value in (result.loss, result.aux.outputs, *result.scalars.values()))


def test_any_two_optimizers_of_torch_will_do_for_the_first_order(supernet):
    weight_optimizer = torch.optim.RMSprop(supernet.weights().values(), lr=1e-3, momentum=0.5)
    alpha_optimizer = torch.optim.Adagrad(supernet.alpha_parameters(), lr=0.1)
    before = {name: alpha.detach().clone() for name, alpha in supernet.alphas.items()}
    batches = [images(1), images(2)]
    losses = [
        search_step(
            supernet,
            weight_batch=batches[0],
            weight_optimizer=weight_optimizer,
            alpha_batch=batches[1],
            alpha_optimizer=alpha_optimizer,
        ).loss
        for _ in range(20)
    ]
    assert losses[-1] < 0.9 * losses[0]
    assert all((supernet.alphas[name] - before[name]).abs().max() > 0.1 for name in before)


def test_an_unrolled_step_of_another_optimizer_is_refused_before_anything_changes(supernet):
    optimizer = torch.optim.RMSprop(supernet.weights().values(), lr=1e-3)
    before = everything_but_alpha_grads(supernet, optimizer)
    with pytest.raises(ValueError, match=r"RMSprop.*SGD, Adam and AdamW.*FirstOrder"):
        one_search_step(supernet, optimizer, hypergradient=OneStep())
    assert same(before, everything_but_alpha_grads(supernet, optimizer))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.op = Choice("op", {"tanh": nn.Tanh(), "relu": nn.ReLU()})
        self.linear = nn.Linear(3, 2)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.op(left - 2 * right)
        return self.linear(hidden), hidden


def two_terms(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensors:
    return {"fit": F.cross_entropy(outputs[0], targets), "size": 0.1 * outputs[1].square().mean()}


@pytest.mark.parametrize("form", ["tuple", "list", "dict"])
def test_inputs_may_be_tuples_or_dicts_and_the_criterion_may_name_its_terms(form):
    torch.manual_seed(0)
    supernet = Supernet(TwoInputs().double(), two_terms)
    left, right = torch.randn(2, 5, 3, dtype=torch.float64)
    inputs = {"tuple": (left, right), "list": [left, right], "dict": {"right": right, "left": left}}[form]
    targets = torch.tensor([0, 1, 1, 0, 1])
    mixture = supernet.expected(Softmax(), torch.tensor(0.0))["op"].values
    hidden = mixture[0] * (left - 2 * right).tanh() + mixture[1] * (left - 2 * right).relu()
    terms = two_terms((supernet.model.linear(hidden), hidden), targets)

    result = search_step(
        supernet,
        weight_batch=[inputs, targets],
        weight_optimizer=torch.optim.SGD(supernet.weights().values(), lr=0.1),
        alpha_batch=(inputs, targets),
        alpha_optimizer=torch.optim.Adam(supernet.alpha_parameters(), lr=0.0),
        hypergradient=OneStep(ExactProduct()),
    )
    assert set(result.scalars) == {"val_loss", "train_loss", "gradient_norm", "fit", "size"}
    assert result.num_samples == 5
    for name, term in terms.items():
        assert_close(result.scalars[name], term.detach(), rtol=0, atol=1e-12)
    assert_close(result.loss, (terms["fit"] + terms["size"]).detach(), rtol=0, atol=1e-12)
    assert not any(output.requires_grad for output in result.aux.outputs)


class Recurrent(nn.Module):
    """A step of an LSTM: inputs and a state in, outputs and the new state out."""

    def __init__(self) -> None:
        super().__init__()
        self.op = Choice("op", {"tanh": nn.Tanh(), "skip": nn.Identity()})
        self.cell = nn.LSTMCell(3, 4)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        state = self.cell(self.op(x), state)
        return state[0], state


def test_a_carried_state_comes_back_without_its_graph():
    supernet = Supernet(Recurrent())
    state = (torch.zeros(2, 4), torch.zeros(2, 4))
    result = search_step(
        supernet,
        weight_batch=Batch(torch.randn(2, 3), torch.tensor([0, 1]), state),
        weight_optimizer=torch.optim.SGD(supernet.weights().values(), lr=0.1),
    )
    assert isinstance(result.aux.carry, tuple)
    assert all(not part.requires_grad and part.abs().sum() > 0 for part in result.aux.carry)


def test_the_example_of_a_users_own_loop_finds_the_filter_that_fits(capsys):
    path = Path(__file__).parents[2] / "examples" / "user_loop.py"
    architecture, right = runpy.run_path(str(path))["main"]()
    assert architecture.decisions == {"filter": "width 9"}
    assert right > 0.75
    assert "kept: {'filter': 'width 9'}" in capsys.readouterr().out


# --- Weights that take no part, and frozen ones -----------------------------------------------------------------------


class Drawn(nn.Module):
    """A choice between two linear maps and a skip, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.op = Choice("op", {"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "skip": nn.Identity()})
        self.head = nn.Linear(3, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.op(x))


def vectors(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    return Batch(inputs, torch.randint(0, NUM_CLASSES, (4,), generator=generator))


def draw_by_hand(alpha: Tensor, generator: torch.Generator, temperature: float) -> tuple[int, Tensor]:
    """Index and softened probabilities of a Gumbel-softmax draw."""
    noise = -torch.log(-torch.log(torch.rand(alpha.shape, generator=generator, dtype=alpha.dtype)))
    soft = ((alpha.log_softmax(0) + noise) / temperature).softmax(0)
    return int(soft.argmax()), soft


def test_a_weight_that_took_no_part_decays_and_keeps_its_momentum():
    torch.manual_seed(0)
    supernet = Supernet(Drawn().double())
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}
    copies = {name: nn.Parameter(weight.detach().clone()) for name, weight in supernet.weights().items()}
    optimizer, reference = (torch.optim.SGD(list(w.values()), **settings) for w in (supernet.weights(), copies))
    generator, same_draws = (torch.Generator().manual_seed(1) for _ in range(2))
    relaxation, drawn = GumbelSoftmax(Constant(1.0)), []
    for seed in range(10):
        index, _ = draw_by_hand(supernet.alphas["op"].detach(), same_draws, 1.0)
        drawn.append(index)
        x, targets, _ = vectors(seed)
        hidden = x if index == 2 else F.linear(x, *(copies[f"op.candidates.{index}.{p}"] for p in ("weight", "bias")))
        gradients = torch.autograd.grad(
            F.cross_entropy(F.linear(hidden, copies["head.weight"], copies["head.bias"]), targets),
            list(copies.values()),
            materialize_grads=True,
        )
        for weight, gradient in zip(copies.values(), gradients, strict=True):
            weight.grad = gradient
        reference.step()
        search_step(
            supernet,
            weight_batch=vectors(seed),
            weight_optimizer=optimizer,
            relaxation=relaxation,
            generator=generator,
        )
        unused = {0, 1} - {index}
        assert all(supernet.weights()[f"op.candidates.{k}.weight"].grad.eq(0).all() for k in unused)
    assert {0, 1} <= set(drawn)
    close(dict(supernet.weights()), copies, 1e-12)


def test_a_loss_that_reaches_no_weight_leaves_zero_gradients():
    supernet = Supernet(nn.Sequential(Choice("op", {"linear": nn.Linear(3, 3), "skip": nn.Identity()})))
    supernet.allowed = {"op": ((1,),)}
    optimizer = torch.optim.SGD(supernet.weights().values(), lr=0.1, weight_decay=0.5)
    before = {name: weight.detach().clone() for name, weight in supernet.weights().items()}
    batch = Batch(vectors(0).inputs.float(), vectors(0).targets)
    result = search_step(supernet, weight_batch=batch, weight_optimizer=optimizer)
    assert result.scalars["gradient_norm"] == 0
    close({name: weight.detach() for name, weight in supernet.weights().items()},
          {name: 0.95 * weight for name, weight in before.items()}, 1e-7)  # fmt: skip


class Shifted(nn.Module):
    """Adds the sum of a weight, whose gradient is one number, expanded."""

    def __init__(self) -> None:
        super().__init__()
        self.op, self.shift = Choice("op", {"tanh": nn.Tanh(), "skip": nn.Identity()}), nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x) + self.shift.sum()


def test_a_weight_that_enters_as_a_sum_is_clipped_as_any_other():
    supernet = Supernet(Shifted(), criterion=lambda outputs, targets: outputs.mean())
    batch = Batch(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
    optimizer = torch.optim.SGD(supernet.weights().values(), lr=1.0)
    search_step(supernet, weight_batch=batch, weight_optimizer=optimizer, clip=0.5)
    # Its gradient is (1, 1, 1, 1), of norm 2; clip_grad_norm_ adds 1e-6 to that.
    close({"shift": supernet.model.shift.detach()}, {"shift": torch.full((4,), -0.25)}, 1e-6)


def test_weights_frozen_before_or_during_a_search_stay_as_they_are():
    torch.manual_seed(0)
    supernet = Supernet(Drawn().double())
    supernet.model.head.bias.requires_grad_(False)
    optimizer = torch.optim.SGD(supernet.model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    alpha_optimizer = torch.optim.Adam(supernet.alpha_parameters())

    def step(seed: int) -> None:
        search_step(
            supernet,
            weight_batch=vectors(seed),
            weight_optimizer=optimizer,
            alpha_batch=vectors(seed + 1),
            alpha_optimizer=alpha_optimizer,
            hypergradient=OneStep(ExactProduct()),
        )

    bias = supernet.model.head.bias.detach().clone()
    step(0)
    assert torch.equal(supernet.model.head.bias, bias)
    supernet.model.head.weight.requires_grad_(False)  # with momentum and a gradient left over
    head = supernet.model.head.weight.detach().clone()
    moving = supernet.weights()["op.candidates.0.weight"].detach().clone()
    step(1)
    assert torch.equal(supernet.model.head.weight, head)
    assert not torch.equal(supernet.weights()["op.candidates.0.weight"], moving)


# --- Hard samples -----------------------------------------------------------------------------------------------------


def record_runs(supernet: Supernet) -> list[int]:
    """The candidates of `Drawn` that run from now on, in order."""
    runs: list[int] = []
    for index, candidate in enumerate(supernet.model.op.candidates):
        candidate.register_forward_hook(lambda *_, index=index: runs.append(index))
    return runs


@dataclass(frozen=True)
class Counted(Relaxation):
    """Another relaxation, counting its draws."""

    inner: Relaxation
    draws: list[Mixture] = field(default_factory=list)

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        self.draws.append(self.inner.sample(alpha, progress, generator))
        return self.draws[-1]

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        return self.inner.expected(alpha, progress)


@pytest.mark.parametrize(
    ("method", "passes"),
    [(FirstOrder(), 1), (OneStep(ExactProduct()), 2), (OneStep(FiniteDifference()), 4), (Unrolled(2), 5)],
    ids=str,
)
def test_all_passes_of_one_hypergradient_run_the_drawn_candidate_alone(method, passes):
    supernet = Supernet(Drawn().double())
    relaxation = Counted(GumbelSoftmax())
    runs = record_runs(supernet)
    generator = torch.Generator().manual_seed(1)
    both = set()
    for seed in range(8):
        runs.clear()
        relaxation.draws.clear()
        search_step(
            supernet,
            weight_batch=vectors(seed),
            weight_optimizer=torch.optim.SGD(supernet.weights().values(), lr=0.1),
            alpha_batch=vectors(seed + 1),
            alpha_optimizer=torch.optim.Adam(supernet.alpha_parameters()),
            relaxation=relaxation,
            hypergradient=method,
            generator=generator,
            inner_batches=[vectors(seed + 2)],
        )
        first, second = (mixture.active[0][0] for mixture in relaxation.draws)
        assert runs == [first] * passes + [second]
        both.add((first, second))
    assert any(first != second for first, second in both)


def test_the_gradient_of_a_hard_sample_is_straight_through_in_the_active_entry():
    torch.manual_seed(0)
    supernet = Supernet(Drawn().double())
    with torch.no_grad():
        supernet.alphas["op"].copy_(torch.tensor([0.3, -0.2, 0.1]))
    seen = set()
    for seed in range(10):
        alpha = supernet.alphas["op"].detach().clone().requires_grad_()
        temperature = 3.0 - 2.0 * PROGRESS
        index, soft = draw_by_hand(alpha, torch.Generator().manual_seed(seed), temperature)
        seen.add(index)
        # m_k = 1 + p_k - p_k.detach() for the drawn k; the others are left out.
        candidate = supernet.model.op.candidates[index](vectors(2).inputs)
        hidden = (1 + soft[index] - soft[index].detach()) * candidate
        loss = F.cross_entropy(supernet.model.head(hidden), vectors(2).targets)
        (expected,) = torch.autograd.grad(loss, alpha)
        search_step(
            supernet,
            weight_batch=vectors(1),
            weight_optimizer=torch.optim.SGD(supernet.weights().values(), lr=0.0),
            alpha_batch=vectors(2),
            alpha_optimizer=torch.optim.SGD(supernet.alpha_parameters(), lr=0.0),
            relaxation=GumbelSoftmax(Linear(3.0, 1.0)),
            progress=PROGRESS,
            generator=torch.Generator().manual_seed(seed),
        )
        close(grads(supernet), {"op": expected}, 1e-12)
    assert seen == {0, 1, 2}


def test_computing_all_candidates_gives_the_straight_through_gradient_in_all_entries():
    torch.manual_seed(0)
    supernet = Supernet(Drawn().double())
    alpha = supernet.alphas["op"].detach().clone().requires_grad_()
    index, soft = draw_by_hand(alpha, torch.Generator().manual_seed(0), 1.0)
    values = F.one_hot(torch.tensor(index), 3) + soft - soft.detach()
    hidden = sum(values[k] * supernet.model.op.candidates[k](vectors(2).inputs) for k in range(3))
    (expected,) = torch.autograd.grad(F.cross_entropy(supernet.model.head(hidden), vectors(2).targets), alpha)
    runs = record_runs(supernet)
    search_step(
        supernet,
        weight_batch=vectors(1),
        weight_optimizer=torch.optim.SGD(supernet.weights().values(), lr=0.0),
        alpha_batch=vectors(2),
        alpha_optimizer=torch.optim.SGD(supernet.alpha_parameters(), lr=0.0),
        relaxation=GumbelSoftmax(Constant(1.0), compute_all=True),
        generator=torch.Generator().manual_seed(0),
    )
    close(grads(supernet), {"op": expected}, 1e-12)
    assert Counter(runs) == {0: 2, 1: 2, 2: 2}


# --- Mistakes ---------------------------------------------------------------------------------------------------------


def test_mistakes_are_told_apart(supernet):
    weight_optimizer = torch.optim.SGD(supernet.weights().values(), lr=0.1)
    alpha_optimizer = torch.optim.Adam(supernet.alpha_parameters())

    def step(**changes):
        arguments = {
            "weight_batch": images(0),
            "weight_optimizer": weight_optimizer,
            "alpha_batch": images(1),
            "alpha_optimizer": alpha_optimizer,
        }
        search_step(supernet, **{**arguments, **changes})

    with pytest.raises(ValueError, match="both alpha_batch and alpha_optimizer"):
        step(alpha_optimizer=None)
    with pytest.raises(ValueError, match="both alpha_batch and alpha_optimizer"):
        step(alpha_batch=None)
    with pytest.raises(ValueError, match=r"pair \(inputs, targets\).*got a dict"):
        step(weight_batch={"inputs": images(0).inputs, "targets": images(0).targets})
    with pytest.raises(ValueError, match=r"pair \(inputs, targets\).*got a list of length 1"):
        step(alpha_batch=[images(0).inputs])
    with pytest.raises(ValueError, match="Unrolled takes 3 training batches per step; got 2"):
        step(hypergradient=Unrolled(3), inner_batches=[images(2)])
    with pytest.raises(ValueError, match="holds tensors that are not alphas"):
        step(alpha_optimizer=torch.optim.Adam(supernet.model.parameters()))
    supernet.to(dtype=torch.float64)
    with pytest.raises(ValueError, match=r"after supernet.to\(...\), which makes new alphas"):
        step()
