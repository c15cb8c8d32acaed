"""A small problem in float64 on which a recipe's search steps are compared with the method's formulas, written out.

Two edges (0 -> 2, 1 -> 2) into one node, three candidates on each (skip, scale, tanh); the inputs of the cell are x and
x * u. The weights are u, and for each edge a scale a and an inner factor b:

    y = sum over edges e of edge_e * sum over k of m[e, k] * f_k(x_e),   f = (x_e, a_e * x_e, tanh(b_e * x_e))
    L = mean (y - target)^2

A search of one epoch with three batches is three search steps of the recipe; `settings_of` gives its own settings, with
this length and nothing else changed. Nothing below the line 'the formulas' uses dnas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor, nn

from dnas import Batch, Cell, SearchResult, Supernet, search
from dnas.jobs.job import Job
from dnas.jobs.recipe import recipe_path
from dnas.searching.settings import SearchSettings

EDGES, CANDIDATES, SIZE, STEPS = ((0, 2), (1, 2)), ("skip_connect", "scale", "tanh"), 4, 3


class Scale(nn.Module):
    def __init__(self, a: Tensor) -> None:
        super().__init__()
        self.a = nn.Parameter(a)

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x


class Tanh(nn.Module):
    def __init__(self, b: Tensor) -> None:
        super().__init__()
        self.b = nn.Parameter(b)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.b * x)


class Net(nn.Module):
    """y of the problem; `edge_weights` as in `Cell`."""

    def __init__(self, weights: dict[str, Tensor], *, edge_weights: bool = False) -> None:
        super().__init__()
        self.u = nn.Parameter(weights["u"].clone())
        candidates = [
            {"skip_connect": nn.Identity(), "scale": Scale(weights[f"a{e}"]), "tanh": Tanh(weights[f"b{e}"])}
            for e in range(2)
        ]
        self.cell = Cell("cell", EDGES, candidates, num_inputs=2, output=(2,), edge_weights=edge_weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x, x * self.u)


# Names of the weights in the formulas, and in the model.
IN_MODEL = {
    "u": "u",
    "a0": "cell.operations.0.1.a",
    "b0": "cell.operations.0.2.b",
    "a1": "cell.operations.1.1.a",
    "b1": "cell.operations.1.2.b",
}


def initial_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: 1 + 0.5 * torch.randn(SIZE, generator=generator, dtype=torch.float64) for name in IN_MODEL}


def batches(seed: int) -> list[Batch]:
    """Three batches of five samples."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn(5, SIZE, generator=generator, dtype=torch.float64)

    return [Batch(draw(), draw()) for _ in range(STEPS)]


TRAIN, VAL = batches(2), batches(3)


def job_of_recipe(name: str) -> Job:
    """What a recipe file asks for."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Job, None, sub_configs=False)
    data = yaml.safe_load(recipe_path(name).read_text(encoding="utf-8"))
    return Job(**vars(parser.instantiate(parser.parse_object(data))))


def settings_of(name: str, epochs: int = 1) -> SearchSettings:
    """The settings of a recipe with one epoch and no warm-up, so that three batches are three full steps."""
    return replace(job_of_recipe(name).search, epochs=epochs, warmup_epochs=0)


def searched(settings: SearchSettings, supernet: Supernet | None = None) -> SearchResult:
    """The result of three search steps from the initial weights."""
    supernet = supernet or new_supernet()
    return search(supernet, TRAIN, VAL, settings=settings)


def new_supernet(*, edge_weights: bool = False) -> Supernet:
    """The problem before the first step; alphas far enough from 0 for mixtures to differ."""
    supernet = Supernet(Net(initial_weights(), edge_weights=edge_weights), nn.functional.mse_loss)
    with torch.no_grad():
        for name, alpha in supernet.alphas.items():
            alpha.copy_(initial_alphas()[name])
    return supernet


def initial_alphas() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return {
        "cell": torch.randn(2, 3, generator=generator, dtype=torch.float64),
        "cell.edges": torch.randn(2, generator=generator, dtype=torch.float64),
    }


def final(result: SearchResult) -> dict[str, Tensor]:
    """Alphas (by decision) and weights (by their names in the formulas) after the search."""
    weights = dict(result.supernet.model.named_parameters())
    found = {name: weights[place].detach() for name, place in IN_MODEL.items()}
    return found | {name: alpha.detach() for name, alpha in result.supernet.alphas.items()}


# ---- the formulas ----------------------------------------------------------------------------------------------------


def loss(w: dict[str, Tensor], m: Tensor, batch: Batch, edges: Tensor | None = None) -> Tensor:
    """L for a mixture m (2, 3) and weights of the edges (2,), 1 by default."""
    x = [batch.inputs, batch.inputs * w["u"]]
    y = torch.zeros_like(batch.inputs)
    for e in range(2):
        terms = (x[e], w[f"a{e}"] * x[e], torch.tanh(w[f"b{e}"] * x[e]))
        total = m[e, 0] * terms[0] + m[e, 1] * terms[1] + m[e, 2] * terms[2]
        y = y + (total if edges is None else edges[e] * total)
    return ((y - batch.targets) ** 2).mean()


def grad(value: Tensor, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    found = torch.autograd.grad(value, list(inputs.values()), materialize_grads=True)
    return dict(zip(inputs, found, strict=True))


def leaf(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in tensors.items()}


@dataclass
class SGD:
    """g <- clip(g), d = g + wd w, buffer = mu buffer + d, w <- w - lr buffer (Nesterov: - lr (d + mu buffer))."""

    lr: float
    momentum: float = 0.9
    weight_decay: float = 3e-4
    nesterov: bool = False
    clip: float | None = 5.0
    buffers: dict[str, Tensor] = field(default_factory=dict)

    def step(self, w: dict[str, Tensor], g: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.clip is not None:
            norm = torch.stack([(value**2).sum() for value in g.values()]).sum().sqrt()
            scale = (self.clip / (norm + 1e-6)).clamp(max=1.0)
            g = {name: value * scale for name, value in g.items()}
        new = {}
        for name, weight in w.items():
            d = g[name] + self.weight_decay * weight
            buffer = self.momentum * self.buffers[name] + d if name in self.buffers else d
            self.buffers[name] = buffer
            new[name] = weight - self.lr * (d + self.momentum * buffer if self.nesterov else buffer)
        return new


@dataclass
class Adam:
    """g <- g + wd a, first and second moment with bias correction, a <- a - lr m / (sqrt(v) + 1e-8)."""

    lr: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3
    count: int = 0
    moments: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def step(self, a: dict[str, Tensor], g: dict[str, Tensor]) -> dict[str, Tensor]:
        self.count += 1
        b1, b2 = self.betas
        new = {}
        for name, alpha in a.items():
            d = g[name] + self.weight_decay * alpha
            m, v = self.moments.get(name, (torch.zeros_like(d), torch.zeros_like(d)))
            m, v = b1 * m + (1 - b1) * d, b2 * v + (1 - b2) * d**2
            self.moments[name] = m, v
            m_hat, v_hat = m / (1 - b1**self.count), v / (1 - b2**self.count)
            new[name] = alpha - self.lr * m_hat / (v_hat.sqrt() + 1e-8)
        return new


def progress(step: int, total: int = STEPS) -> Tensor:
    """t = step / total. A search keeps it in single precision, so schedules have seven digits."""
    return torch.tensor(step / total, dtype=torch.float32)


def cosine(start: float, end: float, t: float) -> float:
    """end + (start - end) (1 + cos(pi t)) / 2."""
    return end + (start - end) * (1 + math.cos(math.pi * t)) / 2


def uniform(generator: torch.Generator) -> Tensor:
    """U(0, 1) for each candidate of the two edges: what a search draws first from `torch.Generator` with its seed."""
    return torch.rand(2, 3, generator=generator, dtype=torch.float64)


def gumbel(generator: torch.Generator) -> Tensor:
    """G = -log(-log U)."""
    return -torch.log(-torch.log(uniform(generator)))


def one_hot_of(scores: Tensor) -> Tensor:
    """1 at the largest of each row."""
    return (scores == scores.max(dim=-1, keepdim=True).values).double()


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Every expected tensor to 1e-10, relative to steps of about 1e-4 in the alphas."""
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value.detach(), rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )


def differs(found: dict[str, Tensor], other: dict[str, Tensor], *names: str) -> bool:
    """Whether a named tensor differs by more than a hundred times what `assert_same` allows."""
    return any(not torch.allclose(found[name], other[name], rtol=1e-8, atol=1e-10) for name in names)
