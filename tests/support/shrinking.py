"""Small models of every shape that shrinking must handle, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.Sigmoid(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 10),
        nn.ReLU(),
        nn.Linear(10, 5),
    )


class ResidualBlock(nn.Module):
    def __init__(self, old: int, new: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(old, new, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(new)
        self.conv2 = nn.Conv2d(new, new, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(new)
        self.shortcut = nn.Sequential()
        if stride != 1 or old != new:
            self.shortcut = nn.Sequential(nn.Conv2d(old, new, 1, stride, bias=False), nn.BatchNorm2d(new))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.layers = nn.Sequential(ResidualBlock(8, 8, 1), ResidualBlock(8, 16, 2), ResidualBlock(16, 16, 1))
        self.classifier = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.layers(self.stem(x)).mean((2, 3)))


class PreActivationBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.relu(self.bn1(x)))
        return x + self.conv2(functional.relu(self.bn2(y)))


def pre_activation() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), PreActivationBlock(8), PreActivationBlock(8), nn.BatchNorm2d(8), nn.ReLU(), *head(8)
    )


def head(width: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4)


class InvertedResidual(nn.Module):
    def __init__(self, old: int, new: int) -> None:
        super().__init__()
        hidden = 2 * old
        self.skip = old == new
        self.layers = nn.Sequential(
            nn.Conv2d(old, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, new, 1, bias=False),
            nn.BatchNorm2d(new),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.skip else self.layers(x)


def mobile() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.Hardswish(), InvertedResidual(8, 8), InvertedResidual(8, 12), *head(12)
    )


class DenseLayer(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, growth, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(torch.relu(self.bn(x)))], dim=1)


def dense() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), DenseLayer(8, 4), DenseLayer(12, 4), nn.Conv2d(16, 8, 1), *head(8))


class ShuffleUnit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(
            nn.Conv2d(half, half, 1),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1, groups=half),
            nn.Conv2d(half, half, 1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        y = torch.cat([left, self.branch(right)], dim=1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shuffle() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), ShuffleUnit(8), ShuffleUnit(8), *head(8))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.SiLU())
        self.bottom = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.out = nn.Sequential(nn.Conv2d(19, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        high = self.down(x)
        return self.out(torch.cat([self.up(self.bottom(high)), high, x], dim=1))


def signal() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 8, 5),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.AvgPool1d(2),
        nn.Conv1d(8, 6, 3, padding=1),
        nn.Tanh(),
        nn.AdaptiveAvgPool1d(4),
        nn.Flatten(),
        nn.Linear(24, 1),
    )


def table() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1)
    )


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_size = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.projection(y.transpose(1, 2).reshape(n, length, -1))


class VisionBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, 4)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 5, width))
        self.blocks = nn.Sequential(VisionBlock(width), VisionBlock(width))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(len(y), -1, -1), y], dim=1) + self.position
        return self.classifier(self.norm(self.blocks(y))[:, 0])


class Gated(nn.Module):
    """A convolution with one output channel, whose result scales all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.gate = nn.Conv2d(8, 1, 1)
        self.excite = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1))
        self.head = nn.Sequential(*head(8))

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.head(y * torch.sigmoid(self.gate(y)) * torch.sigmoid(self.excite(y)))


class Shared(nn.Module):
    """One layer that is used twice, and two that share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.middle = nn.Linear(8, 8)
        self.first, self.second = nn.Linear(8, 10), nn.Linear(8, 10)
        self.second.weight = self.first.weight
        self.out = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.middle(torch.relu(self.middle(torch.relu(self.stem(x))))))
        return self.out(torch.relu(self.first(y)) + torch.tanh(self.second(y)))


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        self.label, self.place = nn.Sequential(*head(8)), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.body(x)
        return {"label": self.label(y), "place": self.place(y)}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(2, 8, 3), nn.ReLU(), nn.Conv1d(8, 6, 3))
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.out = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(self.body(x).transpose(1, 2))[0][:, -1])


class Router(nn.Module):
    """Takes one of two layers, by the values of what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(8, 6), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.high(x) if x.mean() > 0 else self.low(x)


def deciding() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 8), Router(), nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2)
    )


class Grouped(nn.Module):
    """Grouped convolutions, batch norm without weights, pixel shuffle and a reshape by a number that is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 8 * 4 * 4
        self.enter = nn.Linear(6, self.size)
        self.grouped = nn.Conv2d(8, 12, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(12, affine=False)
        self.mix = nn.Conv2d(12, 16, 1)
        self.out = nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.grouped(self.enter(x).view(-1, self.size // 16, 4, 4)))
        return self.out(functional.interpolate(functional.pixel_shuffle(self.mix(y), 2), scale_factor=2.0))


Maker = Callable[[], nn.Module]

# Every model by name, with the shape of an input.
MODELS: dict[str, tuple[Maker, tuple[int, ...]]] = {
    "plain": (plain, (2, 3, 8, 8)),
    "resnet": (ResNet, (2, 3, 8, 8)),
    "pre-activation": (pre_activation, (2, 3, 8, 8)),
    "mobile": (mobile, (2, 3, 9, 9)),
    "dense": (dense, (2, 3, 8, 8)),
    "shuffle": (shuffle, (2, 3, 8, 8)),
    "unet": (UNet, (2, 3, 8, 8)),
    "signal": (signal, (2, 2, 24)),
    "table": (table, (3, 6)),
    "vit": (VisionTransformer, (2, 3, 8, 8)),
    "gated": (Gated, (2, 3, 8, 8)),
    "shared": (Shared, (3, 6)),
    "two outputs": (TwoOutputs, (2, 3, 8, 8)),
    "recurrent": (Recurrent, (2, 2, 12)),
    "deciding": (deciding, (3, 6)),
    "grouped": (Grouped, (2, 6)),
}


def made(name: str) -> tuple[nn.Module, Tensor]:
    """A model in eval mode and an input, in float64, always the same."""
    maker, shape = MODELS[name]
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = maker().double().eval()
    disturb_statistics(model, generator)
    return model, torch.randn(shape, generator=generator, dtype=torch.float64)


def disturb_statistics(model: nn.Module, generator: torch.Generator) -> None:
    """Running means and variances as after training, so that each channel's own is needed."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for buffer in (module.running_mean, module.running_var):
                assert buffer is not None
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)


TRANSFORMERS = ("ResNet", "MobileNetV2", "ViT", "Bert")


def transformers_model(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """A model of `transformers` from a small configuration, in float64, and its input."""
    model, example = _transformers_model(name)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():  # the initial ones are so small that no output would show a difference
            weight += 0.2 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return model, example


def _transformers_model(name: str) -> tuple[nn.Module, dict[str, Any]]:
    import transformers

    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "ResNet":
            sizes: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2]}
            config = transformers.ResNetConfig(**sizes, layer_type="basic", num_labels=4)
            return transformers.ResNetForImageClassification(config).double().eval(), {"pixel_values": image}
        if name == "MobileNetV2":
            config = transformers.MobileNetV2Config(depth_multiplier=0.25, image_size=32, num_labels=4)
            return transformers.MobileNetV2ForImageClassification(config).double().eval(), {"pixel_values": image}
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
        if name == "ViT":
            config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=4)
            return transformers.ViTForImageClassification(config).double().eval(), {"pixel_values": image}
        config = transformers.BertConfig(**sizes, vocab_size=40, max_position_embeddings=12, num_labels=3)
        words = torch.randint(0, 40, (2, 9), generator=torch.Generator().manual_seed(1))
        return transformers.BertForSequenceClassification(config).double().eval(), {"input_ids": words}
