"""The plain DARTS supernet and its search step, to measure and to check against.

Frozen: it is made neither faster nor slower. Written from the paper (Liu et al. 2019,
https://arxiv.org/abs/1806.09055) and the structure of its published code: every edge computes each of its eight
operations by itself (ReLU and pooling as often as there are edges, `none` as x * 0), tensors are contiguous, batch norm
keeps running statistics, the alphas' softmax is part of the forward pass, and the architecture step calls
`loss.backward()` through everything, weight gradients included. Only torch is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_NODES = 4
NUM_OPERATIONS = 8
NUM_EDGES = sum(2 + node for node in range(NUM_NODES))


class ReLUConvNorm(nn.Module):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(), nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels, affine=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Halve(nn.Module):
    """Two 1x1 convolutions of stride 2, the second on the image shifted by a pixel; even image sizes only."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.relu = nn.ReLU()
        self.first = nn.Conv2d(in_channels, out_channels // 2, 1, stride=2, bias=False)
        self.second = nn.Conv2d(in_channels, out_channels // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        return self.norm(torch.cat([self.first(x), self.second(x[:, :, 1:, 1:])], dim=1))


class Nothing(nn.Module):
    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


def separable(channels: int, kernel_size: int, stride: int) -> nn.Module:
    def half(stride: int) -> list[nn.Module]:
        return [
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size, stride, padding=kernel_size // 2, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels, affine=False),
        ]

    return nn.Sequential(*half(stride), *half(1))


def dilated(channels: int, kernel_size: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel_size, stride, padding=kernel_size - 1, dilation=2, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=False),
    )


def pooled(pool: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False))


class MixedOperation(nn.Module):
    """sum_k weights[k] * operation_k(x) (eq. 2), each operation computed from x by itself."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.operations = nn.ModuleList(
            [
                Nothing(stride),
                pooled(nn.MaxPool2d(3, stride, padding=1), channels),
                pooled(nn.AvgPool2d(3, stride, padding=1, count_include_pad=False), channels),
                nn.Identity() if stride == 1 else Halve(channels, channels),
                separable(channels, 3, stride),
                separable(channels, 5, stride),
                dilated(channels, 3, stride),
                dilated(channels, 5, stride),
            ]
        )

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(weight * operation(x) for weight, operation in zip(weights, self.operations, strict=True))  # type: ignore[return-value]


class ReferenceCell(nn.Module):
    def __init__(self, before: int, last: int, channels: int, reduction: bool, reduced: bool):
        super().__init__()
        self.reduction = reduction
        self.preprocess0 = Halve(before, channels) if reduced else ReLUConvNorm(before, channels)
        self.preprocess1 = ReLUConvNorm(last, channels)
        self.edges = nn.ModuleList(
            MixedOperation(channels, 2 if reduction and source < 2 else 1)
            for node in range(NUM_NODES)
            for source in range(2 + node)
        )

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor) -> Tensor:
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        offset = 0
        for _ in range(NUM_NODES):
            incoming = [self.edges[offset + j](state, weights[offset + j]) for j, state in enumerate(states)]
            offset += len(states)
            states.append(sum(incoming))  # type: ignore[arg-type]
        return torch.cat(states[2:], dim=1)


class ReferenceSupernet(nn.Module):
    """Images (batch, 3, height, width) to logits (batch, num_classes).

    `alphas` are the architecture parameters (14, 8) of normal and reduction cells; they are not `parameters()`.
    """

    def __init__(self, *, channels: int, cells: int, num_classes: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels))
        self.cells = nn.ModuleList()
        before, last, width, reduced = 3 * channels, 3 * channels, channels, False
        for index in range(cells):
            reduction = index in (cells // 3, 2 * cells // 3)
            width *= 2 if reduction else 1
            self.cells.append(ReferenceCell(before, last, width, reduction, reduced))
            before, last, reduced = last, NUM_NODES * width, reduction
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, num_classes)
        # Plain tensors in a tuple, so that they are no parameters of the module.
        self.alphas = tuple(
            (1e-3 * torch.randn(NUM_EDGES, NUM_OPERATIONS)).requires_grad_() for _ in ("normal", "reduce")
        )

    def forward(self, x: Tensor) -> Tensor:
        s0 = s1 = self.stem(x)
        for cell in self.cells:
            weights = F.softmax(self.alphas[1 if cell.reduction else 0], dim=-1)
            s0, s1 = s1, cell(s0, s1, weights)
        return self.classifier(self.pool(s1).flatten(1))

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self(images), targets)

    def load_from(self, model: nn.Module, alphas: Sequence[Tensor]) -> None:
        """Copy the weights of another supernet of the same structure, and its normal and reduction alphas.

        Device and dtype become those of `model`. Its parameters must come in the same order: stem, cells
        (preprocessing, then edges in order of their target, operations in the order of this file), classifier.

        Raises:
            ValueError: numbers or shapes of parameters differ.
        """
        theirs = list(model.parameters())
        self.to(device=theirs[0].device, dtype=theirs[0].dtype)
        mine = list(self.named_parameters())
        if len(mine) != len(theirs):
            raise ValueError(f"The model has {len(theirs)} parameters, the reference {len(mine)}.")
        with torch.no_grad():
            for (name, parameter), other in zip(mine, theirs, strict=True):
                if parameter.shape != other.shape:
                    raise ValueError(f"{name} is {tuple(parameter.shape)} here and {tuple(other.shape)} in the model.")
                parameter.copy_(other)
        self.alphas = tuple(
            alpha.detach().to(device=theirs[0].device, dtype=theirs[0].dtype).clone().requires_grad_()
            for alpha in alphas
        )


def search_step(
    model: ReferenceSupernet,
    val: tuple[Tensor, Tensor],
    train: tuple[Tensor, Tensor],
    *,
    alpha_optimizer: torch.optim.Optimizer,
    weight_optimizer: torch.optim.SGD,
    unrolled: ReferenceSupernet | None = None,
) -> Tensor:
    """One architecture step on `val`, then one step of the weights on `train`, as published (algorithm 1).

    With a second model `unrolled`, whose weights are overwritten, the architecture step is of second order.
    Returns the training loss.
    """
    alpha_optimizer.zero_grad()
    if unrolled is None:
        model.loss(*val).backward()
    else:
        second_order_gradient(model, unrolled, val, train, weight_optimizer)
    alpha_optimizer.step()

    weight_optimizer.zero_grad()
    loss = model.loss(*train)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    weight_optimizer.step()
    return loss.detach()


def second_order_gradient(
    model: ReferenceSupernet,
    unrolled: ReferenceSupernet,
    val: tuple[Tensor, Tensor],
    train: tuple[Tensor, Tensor],
    weight_optimizer: torch.optim.SGD,
    radius: float = 1e-2,
) -> None:
    """Set the alphas' gradients to eq. 7, its second term by the finite difference of eq. 8.

    The virtual step is SGD's with momentum and weight decay and is not clipped.
    """
    group = weight_optimizer.param_groups[0]
    rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
    weights = list(model.parameters())

    # w' = w - rate (momentum * buffer + d_w L_train(w, alpha) + decay w)
    gradients = torch.autograd.grad(model.loss(*train), weights)
    unrolled.load_state_dict(model.state_dict())
    unrolled.alphas = tuple(alpha.detach().clone().requires_grad_() for alpha in model.alphas)
    with torch.no_grad():
        for new, w, g in zip(unrolled.parameters(), weights, gradients, strict=True):
            buffer = weight_optimizer.state[w].get("momentum_buffer")
            moment = 0.0 if buffer is None else momentum * buffer
            new.copy_(w - rate * (moment + g + decay * w))

    # d_alpha L_val(w', alpha) and v = d_w' L_val(w', alpha)
    unrolled.zero_grad()
    unrolled.loss(*val).backward()
    direct = [_gradient(alpha) for alpha in unrolled.alphas]
    v = [_gradient(weight) for weight in unrolled.parameters()]

    # (d_alpha L_train(w+, alpha) - d_alpha L_train(w-, alpha)) / (2 eps), w+- = w +- eps v, eps = radius / |v|
    eps = radius / torch.cat([part.reshape(-1) for part in v]).norm()
    _shift(weights, v, eps)
    plus = torch.autograd.grad(model.loss(*train), model.alphas)
    _shift(weights, v, -2 * eps)
    minus = torch.autograd.grad(model.loss(*train), model.alphas)
    _shift(weights, v, eps)

    for alpha, d, p, m in zip(model.alphas, direct, plus, minus, strict=True):
        alpha.grad = d - rate * (p - m) / (2 * eps)


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad.detach().clone()


def _shift(weights: Sequence[Tensor], direction: Sequence[Tensor], scale: Tensor) -> None:
    with torch.no_grad():
        for w, v in zip(weights, direction, strict=True):
            w.add_(scale * v)
