"""A search in a training loop of your own: `dnas.search_step` in the place of `loss.backward(); optimizer.step()`.

Everything around the step is yours: the model, the data, the optimizers, the schedule, what is printed. The model is an
ordinary module with a `dnas.Choice` inside. Here it chooses the width of a filter: signals of 64 samples hide one of
four patterns of 9 samples in noise, so the wide filter is the right one.

    python examples/user_loop.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dnas

NUM_CLASSES, LENGTH, PATTERN = 4, 64, 9


class Detector(nn.Module):
    """Finds a pattern: a filter of a width to be chosen, then the largest response, then a linear layer."""

    def __init__(self, channels: int = 16):
        super().__init__()
        widths = (1, 3, PATTERN)
        self.filter = dnas.Choice("filter", {f"width {width}": self._filter(width, channels) for width in widths})
        self.head = nn.Linear(channels, NUM_CLASSES)

    def _filter(self, width: int, channels: int) -> nn.Module:
        # Every candidate is normalised by itself: otherwise the one with the largest initial weights has a head start.
        convolution = nn.Conv1d(1, channels, width, padding=width // 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm1d(channels, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.filter(x).amax(dim=2))


def signals(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Signals (count, 1, LENGTH) with one of four patterns somewhere in noise, and its class (count,)."""
    patterns = torch.randn(NUM_CLASSES, PATTERN, generator=torch.Generator().manual_seed(0)).sign()
    generator = torch.Generator().manual_seed(seed)
    inputs = 0.7 * torch.randn(count, 1, LENGTH, generator=generator)
    targets = torch.randint(0, NUM_CLASSES, (count,), generator=generator)
    starts = torch.randint(0, LENGTH - PATTERN, (count,), generator=generator)
    for signal, target, start in zip(inputs, targets.tolist(), starts.tolist(), strict=True):
        signal[0, start : start + PATTERN] += patterns[target]
    return inputs, targets


def find(epochs: int) -> tuple[nn.Module, dnas.Architecture]:
    """Search; the found network, with its searched weights, and what was kept."""
    supernet = dnas.Supernet(Detector(), F.cross_entropy)
    weight_optimizer = torch.optim.SGD(supernet.model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    alpha_optimizer = torch.optim.Adam(supernet.alpha_parameters(), lr=0.05, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(weight_optimizer, epochs)

    # Half of the data trains the weights, the other half, which the weights never see, the alphas.
    inputs, targets = signals(1024, seed=1)
    half = len(inputs) // 2
    scalars: dict[str, Tensor] = {}
    for epoch in range(epochs):
        order = torch.randperm(half)
        for chosen in order.split(64):
            others = half + chosen
            scalars = dnas.search_step(
                supernet,
                alpha_batch=(inputs[others], targets[others]),
                alpha_optimizer=alpha_optimizer,
                weight_batch=(inputs[chosen], targets[chosen]),
                weight_optimizer=weight_optimizer,
                hypergradient=dnas.OneStep(),  # second order; dnas.FirstOrder() is faster and takes any optimizer
                clip=5.0,
            ).scalars
        schedule.step()
        # Numbers stay on the device until somebody reads them: once per epoch, not once per step.
        numbers = {name: round(float(value), 3) for name, value in scalars.items()}
        mixture = supernet.expected(dnas.Softmax(), torch.tensor(1.0))["filter"].values
        print(f"epoch {epoch + 1:2}  {numbers}  mixture {[round(m, 2) for m in mixture.tolist()]}")

    mixtures = supernet.expected(dnas.Softmax(), torch.tensor(1.0))
    best = int(mixtures["filter"].values.argmax())
    architecture = dnas.Architecture({"filter": supernet.decisions["filter"].candidates[best]})
    return dnas.derive(supernet.model, architecture), architecture


def train(network: nn.Module, epochs: int) -> None:
    """Train a network as any other."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    inputs, targets = signals(1024, seed=1)
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()


def accuracy(network: nn.Module) -> float:
    """Share of new signals whose pattern is recognised."""
    inputs, targets = signals(1000, seed=2)
    with torch.no_grad():
        return float((network.eval()(inputs).argmax(1) == targets).float().mean())


def main(search_epochs: int = 15, train_epochs: int = 10) -> tuple[dnas.Architecture, float]:
    """Search, go on training what was found, and measure it."""
    torch.manual_seed(0)
    network, architecture = find(search_epochs)
    train(network, train_epochs)
    right = accuracy(network)
    print(f"kept: {architecture.decisions}; {right:.1%} of new signals are recognised")
    print(network)
    return architecture, right


if __name__ == "__main__":
    main()
