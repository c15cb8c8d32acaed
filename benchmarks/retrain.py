"""Time and memory of one retraining step (36 channels, 20 cells, batch 96, auxiliary head, drop-path 0.2), in one run.

For the table of issue 3, on one GPU:

    python benchmarks/retrain.py --device cuda --precision tf32 --repeats 20
    python benchmarks/retrain.py --device cuda --precision bf16 --repeats 20

Ours is `dnas.retrain` (channels-last, our depthwise convolutions, on a GPU recorded as a CUDA graph unless
`--no-capture`); plain is a loop of the usual lines over the same network (DARTS_V2) with `nn.Conv2d` for its depthwise
convolutions, in contiguous memory, one kernel at a time, with TF32 products where ours has tf32 or bf16. `--kernels
auto` adds a third form, ours trained by compiled kernels (on a CPU, with `--precision float32`). First it
proves in float64, for the same channels and cells on a small batch and with the same draws of drop-path, that losses
and weights of both agree over two steps. Then each runs in a process of its own, and their steps take turns. Batches
are noise and lie on the device, so loading is in neither. Needs torch and numpy.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs where dnas is not installed

from benchmarks.in_turns import machine, measure, requests, table  # noqa: E402
from benchmarks.search_step import in_words, relative  # noqa: E402
from dnas.core.batch import Batch  # noqa: E402
from dnas.core.schedule import Constant  # noqa: E402
from dnas.data.batches import Batches  # noqa: E402
from dnas.formats import published  # noqa: E402
from dnas.kernels.compiled import why_not  # noqa: E402
from dnas.method.hypergradient.precision import in_precision  # noqa: E402
from dnas.searching.settings import WeightSGD  # noqa: E402
from dnas.space import DartsSpace  # noqa: E402
from dnas.space.depthwise import DepthwiseConv  # noqa: E402
from dnas.space.drop_path import set_drop_path  # noqa: E402
from dnas.space.kernel_network import train_by_kernels  # noqa: E402
from dnas.space.skeleton import Skeleton  # noqa: E402
from dnas.system.random_state import seeded  # noqa: E402
from dnas.training.retrain import retrain  # noqa: E402
from dnas.training.settings import RetrainSettings  # noqa: E402

VARIANTS = ("plain", "ours", "kernels")
NUM_CLASSES = 10
RATE, CLIP, AUXILIARY_WEIGHT, DROP_PATH = 0.025, 5.0, 0.4, 0.2
# Largest difference in float64, relative to the largest entry of what is compared: 20 cells with batch norm over a
# small batch raise what rounding leaves to 2e-10.
TOLERANCE = 1e-8
# Steps of each that are not counted; the graph is recorded at the fourth.
WARMUP = 6


@dataclass(frozen=True)
class Setup:
    """What is measured; `size` is the height and width of the images in pixels."""

    device: str
    threads: int
    batch: int
    channels: int
    cells: int
    size: int
    precision: Literal["float32", "tf32", "bf16"]
    capture: bool
    kernels: Literal["auto", "plain"] = "plain"

    @property
    def variants(self) -> tuple[str, ...]:
        return VARIANTS[:2] if self.kernels == "plain" else VARIANTS

    def settings(self, precision: Literal["float32", "tf32", "bf16"], *, capture: bool, epochs: int) -> RetrainSettings:
        """Of two epochs, drop-path is 0 in the first and 0.2 in the second."""
        return RetrainSettings(
            epochs=epochs,
            weights=WeightSGD(lr=Constant(RATE), clip=CLIP),
            auxiliary_weight=AUXILIARY_WEIGHT,
            drop_path=2 * DROP_PATH,
            precision=precision,
            capture=capture,
            log_every=10**9,
        )


class PlainNetwork(nn.Module):
    """An evaluation network with its layers one after another, in whatever memory format comes in."""

    def __init__(self, network: Skeleton):
        super().__init__()
        self.network = copy.deepcopy(network)
        plain_convolutions(self.network)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        s0, s1 = self.network.stem(x)
        auxiliary = None
        for index, block in enumerate(self.network.blocks):
            s0, s1 = s1, block(s0, s1)
            if index == self.network.auxiliary_after:
                assert self.network.auxiliary_head is not None
                auxiliary = self.network.auxiliary_head(s1)
        assert auxiliary is not None
        return self.network.classifier(s1.mean((2, 3))), auxiliary


def plain_convolutions(model: nn.Module) -> None:
    """Put an `nn.Conv2d` of the same weight in the place of each of our depthwise convolutions."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, DepthwiseConv):
                setattr(module, name, _plain_convolution(child))


def _plain_convolution(ours: DepthwiseConv) -> nn.Conv2d:
    plain = nn.Conv2d(
        ours.in_channels,
        ours.out_channels,
        (ours.kernel_size[0], ours.kernel_size[1]),
        (ours.stride[0], ours.stride[1]),
        tuple(ours.dilation[0] * (size // 2) for size in ours.kernel_size),  # type: ignore[arg-type]
        dilation=(ours.dilation[0], ours.dilation[1]),
        groups=ours.groups,
        bias=False,
    )
    plain.weight = ours.weight
    return plain


def evaluation_network(setup: Setup, dtype: torch.dtype) -> Skeleton:
    torch.manual_seed(0)
    network = DartsSpace().network(
        published("DARTS_V2"), channels=setup.channels, cells=setup.cells, num_classes=NUM_CLASSES, auxiliary=True
    )
    assert isinstance(network, Skeleton)
    return network.to(setup.device, dtype)


def noise(setup: Setup, batch: int, dtype: torch.dtype) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, setup.size, setup.size, generator=generator, dtype=torch.float64)
    targets = torch.randint(NUM_CLASSES, (batch,), generator=generator)
    return Batch(images.to(setup.device, dtype), targets.to(setup.device))


def plain_step(network: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
    """The usual lines of a training loop."""
    optimizer.zero_grad()
    logits, auxiliary = network(batch.inputs)
    loss = F.cross_entropy(logits, batch.targets) + AUXILIARY_WEIGHT * F.cross_entropy(auxiliary, batch.targets)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    optimizer.step()
    return loss.detach()


def weight_sgd(network: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, weight_decay=3e-4)


class OneBatch(Batches):
    """The same batch once per epoch."""

    def __init__(self, batch: Batch):
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        yield from [self.batch][start:]


def differences(setup: Setup, batch: int = 4) -> dict[str, float]:
    """Relative differences in float64 after two steps, the second with drop-path."""
    ours = evaluation_network(setup, torch.float64)
    plain = PlainNetwork(ours).train()
    if setup.kernels == "auto":
        train_by_kernels(ours)
    data = noise(setup, batch, torch.float64)
    settings = setup.settings("float32", capture=False, epochs=2)
    retrain(ours, OneBatch(data), settings=settings)
    optimizer = weight_sgd(plain)
    with seeded(settings.seed):
        for probability in (0.0, DROP_PATH):
            if probability:
                set_drop_path(plain, probability)
            plain_step(plain, optimizer, data)
    images = data.inputs
    for network in (ours, plain):
        set_drop_path(network.train(), 0.0)
    return {
        "weights": relative(list(ours.parameters()), list(plain.parameters())),
        "outputs": relative(ours(images), plain(images)),
        "statistics": relative(
            [buffer.double() for buffer in ours.buffers()], [buffer.double() for buffer in plain.buffers()]
        ),
    }


def worker(variant: str, setup: Setup) -> None:
    """Answer each line of standard input: 'step' with [seconds, processor seconds], 'end' with the peak memory."""
    torch.set_num_threads(setup.threads)
    batch = noise(setup, setup.batch, torch.float32)
    network = evaluation_network(setup, torch.float32)
    if variant != "plain":
        if variant == "kernels":
            train_by_kernels(network)
        settings = setup.settings(setup.precision, capture=setup.capture, epochs=1)
        retrain(network, Requests(batch, setup.device, network), settings=settings)
        return
    plain = PlainNetwork(network).train()
    optimizer = weight_sgd(plain)
    del network
    for given in Requests(batch, setup.device, plain).epoch(0):
        with in_precision("float32" if setup.precision == "float32" else "tf32", batch.inputs.device):
            plain_step(plain, optimizer, given)


class Requests(Batches):
    """Hands out the batch at each request on standard input, and answers how long whoever took it worked on it."""

    def __init__(self, batch: Batch, device: str, network: nn.Module):
        self.batch = batch
        self.device = device
        self.network = network

    def __len__(self) -> int:
        return 10**9

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        assert start == 0
        set_drop_path(self.network, DROP_PATH)  # after whoever begins the epoch has set it to 0
        yield from requests(self.device, itertools.repeat(self.batch))
        os._exit(0)  # in the middle of an epoch of whoever asks for batches


def ratios(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    plain, ours = found["plain"], found["ours"]
    result = {
        "times as fast as the plain loop": plain["median"] / ours["median"],
        "the same in CPU seconds": plain["processor_median"] / ours["processor_median"],
        "of its memory": ours["peak_mib"] / plain["peak_mib"],
    }
    if "kernels" in found:
        kernels = found["kernels"]
        result |= {
            "times as fast with kernels as without, in CPU seconds": ours["processor_median"]
            / kernels["processor_median"],
            "the same, minima": min(ours["processor_seconds"]) / min(kernels["processor_seconds"]),
        }
    return result


def report(setup: Setup, where: dict[str, str], equal: dict[str, float], found: dict[str, dict[str, Any]]) -> str:
    """The result as text."""
    lines = [
        f"Retraining step of DARTS_V2: batch {setup.batch}, {setup.size}x{setup.size}, {setup.channels} channels, "
        f"{setup.cells} cells, auxiliary head, drop-path {DROP_PATH}, {setup.precision}, {setup.threads} threads",
        ", ".join(f"{name} {value}" for name, value in where.items()),
        "equal in float64 after 2 steps, relative differences: " + in_words(equal),
        "",
    ]
    return "\n".join([*lines, *table(found, ratios(found))])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--channels", type=int, default=36)
    parser.add_argument("--cells", type=int, default=20, help="3 or more")
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument("--precision", choices=("float32", "tf32", "bf16"), default="tf32", help="of ours; see above")
    parser.add_argument("--capture", action=argparse.BooleanOptionalAction, default=True, help="on a GPU")
    parser.add_argument("--kernels", choices=("auto", "plain"), default="plain", help="auto: ours by compiled ones too")
    parser.add_argument("--repeats", type=int, default=5, help="measured steps of each, after those that warm up")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--setup", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.kernels == "auto" and (given.device != "cpu" or given.precision != "float32" or why_not()):
        parser.error(f"--kernels auto is for --device cpu and --precision float32: {why_not() or 'others have none'}")
    return given


def main() -> None:
    given = arguments()
    if given.worker:
        worker(given.worker, Setup(**json.loads(given.setup)))
        return
    setup = Setup(**{field.name: getattr(given, field.name) for field in fields(Setup)})
    where = machine(setup.device)
    torch.set_num_threads(1)  # of the proof, whose float64 operations are small
    equal = differences(setup)
    if max(equal.values()) > TOLERANCE:
        sys.exit(f"Ours and the plain loop do not compute the same steps: relative differences in float64 {equal}.")
    found = measure(
        __file__, asdict(setup), setup.variants, threads=setup.threads, warmup=WARMUP, repeats=given.repeats
    )
    print(report(setup, where, equal, found))
    if given.json:
        result = {"setup": asdict(setup), "machine": where, "differences": equal, "warm_up": WARMUP}
        given.json.write_text(json.dumps(result | {"measured": found, "ratios": ratios(found)}, indent=2))


if __name__ == "__main__":
    main()
