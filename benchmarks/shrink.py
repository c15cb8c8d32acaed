"""Shrinking a trained ResNet of 8 layers on CIFAR-10 at 16x16, beside uniform, random, new and otherwise pruned ones.

    python benchmarks/cifar16.py CIFAR10 cifar16.npz
    python benchmarks/shrink.py OUT.jsonl --data cifar16.npz --folder RUNS [--seeds 0 1 2] [--limits 50 25 10]

For each seed the network is trained once, on 45,000 images; the other 5,000 decide the widths. For each budget, a share
of its FLOPs in percent, come three ways of `dnas.shrink`: `one-shot`, `finalists` (eight candidates, fine-tuned for a
quarter or three quarters of an epoch) and `masked` (a search of one epoch), each with what was found; with the first of
them the uniform network and random ones; and the uniform network from scratch with the compute of the original and the
fine-tuning. All are fine-tuned alike for 5 epochs, with distillation from the original. Where Torch-Pruning 1.6 is
installed (`pip install torch-pruning`; MIT), its magnitude pruning by one ratio for all layers is a row as well, and
where NVIDIA ModelOpt 0.47 is (`pip install nvidia-modelopt torchprofile==0.0.4 requests`; Apache-2.0), its FastNAS.
Rows are measured on the 10,000 test images. A row is a line of JSON; rows that are there are not made again, and
finished trainings in RUNS are taken as they are.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rows import complete
from torch import Tensor, nn

from dnas import (
    Cosine,
    RetrainSettings,
    Run,
    ShrinkSettings,
    Silent,
    WeightSGD,
    evaluate,
    retrain,
    shrink,
)
from dnas.cost import count_flops, count_parameters
from dnas.cost.budget import Budget
from dnas.data import Batches, ImageBatches, SampleSet, load_source, measure_normalization, standard_augmentation
from dnas.data.split import stratified_split
from dnas.shrinking.budget import limits_of
from dnas.shrinking.rivals import uniform_widths
from dnas.shrinking.scratch import with_new_weights, with_same_compute
from dnas.shrinking.searchable import make_searchable
from dnas.shrinking.statistics import reestimate

WIDTHS, BATCH = (16, 32, 64), 128
FINALISTS = 8
# In this order: all of what is compared first, then what takes longest.
WAYS = ("one-shot", "finalists", "torch-pruning", "fastnas", "from scratch", "masked")
SAMPLE = torch.zeros(1, 3, 16, 16)


class Block(nn.Module):
    """relu(x + two 3x3 convolutions); a 1x1 convolution where the shape changes (He et al. 2016)."""

    def __init__(self, old: int, new: int) -> None:
        super().__init__()
        stride = 1 if old == new else 2
        self.conv1, self.bn1 = nn.Conv2d(old, new, 3, stride, padding=1, bias=False), nn.BatchNorm2d(new)
        self.conv2, self.bn2 = nn.Conv2d(new, new, 3, padding=1, bias=False), nn.BatchNorm2d(new)
        projection = nn.Sequential(nn.Conv2d(old, new, 1, stride, bias=False), nn.BatchNorm2d(new))
        self.shortcut = nn.Identity() if old == new else projection

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


def resnet8() -> nn.Module:
    """A stem, three blocks and a classifier: 8 layers with weights."""
    first, second, third = WIDTHS
    stem = (nn.Conv2d(3, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
    blocks = Block(first, first), Block(first, second), Block(second, third)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(third, 10))


@dataclass(frozen=True)
class Data:
    """Images in three parts."""

    train: Batches
    held_out: Batches
    test: Batches


@dataclass(frozen=True)
class Sizes:
    """Lengths in epochs, the number of images (None for all) and of random networks."""

    training: int
    fine_tuning: int
    images: int | None
    random: int

    @property
    def trained(self) -> RetrainSettings:
        return self._settings(self.training, 0.1)

    @property
    def tuned(self) -> RetrainSettings:
        return self._settings(self.fine_tuning, 0.01)

    def _settings(self, epochs: int, lr: float) -> RetrainSettings:
        weights = WeightSGD(lr=Cosine(lr, 0.0), weight_decay=5e-4)
        return RetrainSettings(epochs=epochs, weights=weights, auxiliary=False, drop_path=0.0, cutout=0)


def data_of(path: Path, seed: int, images: int | None) -> Data:
    source = load_source(str(path))
    assert source.test is not None, f"{path} has no test part"
    whole, test = _first(source.train, images), _first(source.test, images)
    held, kept = stratified_split(whole.strata, [0.1, 0.9], seed=seed, class_names=whole.strata_names)
    train = whole.subset(kept, name="train")
    normalization = measure_normalization(train)

    def batches(part: SampleSet, stream: int, *, augmented: bool) -> ImageBatches:
        return ImageBatches(
            part,
            batch_size=BATCH,
            augmentation=standard_augmentation(whole) if augmented else None,
            normalization=normalization,
            seed=3 * seed + stream,
            shuffle=True,
            drop_last=augmented,
            merge_last=not augmented,
        )

    held_out = whole.subset(held, name="held out")
    return Data(
        batches(train, 0, augmented=True), batches(held_out, 1, augmented=False), batches(test, 2, augmented=False)
    )


def _first(images: SampleSet, count: int | None) -> SampleSet:
    return images if count is None else images.subset(torch.arange(min(count, len(images))), name=images.name)


def trained(data: Data, sizes: Sizes, folder: Path, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    settings = replace(sizes.trained, seed=seed)
    return retrain(resnet8(), data.train, settings=settings, run=Run(folder / f"seed-{seed}"), display=Silent())


def shrunk_rows(model: nn.Module, data: Data, sizes: Sizes, limit: int, way: str, folder: Path) -> list[dict[str, Any]]:
    """Rows of `dnas.shrink`; rivals come with the one-shot way only."""
    rivals = way == "one-shot"
    settings = ShrinkSettings(fine_tuning=sizes.tuned, random=sizes.random if rivals else 0, onnx=False)
    if way == "finalists":
        settings = replace(settings, finalists=replace(settings.finalists, num=FINALISTS))
    small = shrink(
        model,
        data.train,
        data.held_out,
        budget=f"flops<={limit}%",
        test=data.test,
        example=SAMPLE,
        search_epochs=1 if way == "masked" else 0,
        settings=settings,
        run=Run(folder / f"{way}-{limit}"),
        display=Silent(),
    )
    report: Any = small.shrink_report
    whole = report.row("original").flops
    rows = [row for row in report.rows if row.name == "found" or rivals]
    return [
        {
            "kind": f"{way}, found" if row.name == "found" else row.name,
            "top1": row.score.value,
            "use": 100 * row.flops / whole / limit,
            "flops": row.flops,
            "parameters": row.parameters,
            "milliseconds": row.milliseconds,
            "seconds": row.seconds,
            "widths": row.values,
        }
        for row in rows
    ]


def scratch_row(model: nn.Module, data: Data, sizes: Sizes, limit: int, folder: Path) -> dict[str, Any]:
    """The uniform network with new weights and as much compute as the original and the fine-tuning took."""
    started = time.perf_counter()
    searchable = make_searchable(model, SAMPLE)
    bounds = limits_of(Budget((f"flops<={limit}%",)), searchable, searchable.program()).bounds
    values = uniform_widths(searchable, bounds)
    assert values is not None
    ranking = {group.name: range(len(group)) for group in searchable.structure.groups}
    network = searchable.derive(searchable.selection(values, ranking))
    with_new_weights(network, 0)
    settings = with_same_compute(
        sizes.trained,
        epochs=sizes.training,
        fine_tuning=sizes.fine_tuning,
        original_flops=count_flops(model, SAMPLE),
        flops=count_flops(network, SAMPLE),
    )
    run = Run(folder / f"from-scratch-{limit}")
    network = retrain(network, data.train, settings=settings, run=run, display=Silent(), teacher=model)
    return {**_measured("uniform from scratch", network, model, data, limit, started), "epochs": settings.epochs}


def tuned_row(
    name: str, pruned: nn.Module, started: float, model: nn.Module, data: Data, sizes: Sizes, limit: int, folder: Path
) -> dict[str, Any]:
    """A network that another tool made, statistics measured anew and fine-tuned as all are."""
    reestimate(pruned, [batch for _, batch in zip(range(8), data.train.epoch(0), strict=False)])
    run = Run(folder / f"{name}-{limit}")
    network = retrain(pruned, data.train, settings=sizes.tuned, run=run, display=Silent(), teacher=model)
    return _measured(name, network, model, data, limit, started)


def _measured(
    name: str, network: nn.Module, model: nn.Module, data: Data, limit: int, started: float
) -> dict[str, Any]:
    return {
        "kind": name,
        "top1": evaluate(network, data.test, display=Silent()).score.value,
        "use": 100 * count_flops(network, SAMPLE) / count_flops(model, SAMPLE) / limit,
        "flops": count_flops(network, SAMPLE),
        "parameters": count_parameters(network),
        "seconds": time.perf_counter() - started,
        "weights": [list(weight.shape) for weight in network.parameters() if weight.ndim > 1],
    }


def plain_copy(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval().to(memory_format=torch.contiguous_format)  # pyright: ignore


def by_magnitude(model: nn.Module, limit: int) -> nn.Module:
    """Torch-Pruning (Fang et al. 2023, https://arxiv.org/abs/2301.12900): the largest network that keeps the budget."""
    import torch_pruning  # pyright: ignore[reportMissingImports]

    def cut(ratio: float) -> nn.Module:
        copied: Any = plain_copy(model)
        pruner = torch_pruning.pruner.MagnitudePruner(
            copied,
            SAMPLE,
            importance=torch_pruning.importance.MagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=[copied[-1]],
        )
        pruner.step()
        return copied

    ratios = [step / 64 for step in range(64)]
    most = count_flops(model, SAMPLE) * limit / 100
    return next(one for one in map(cut, ratios) if count_flops(one, SAMPLE) <= most)


def by_fastnas(model: nn.Module, data: Data, limit: int) -> nn.Module:
    """FastNAS of NVIDIA ModelOpt, in sixteenths of all widths instead of its multiples of 32; judged by held-out top-1.

    It counts FLOPs in its own way, so the network is the largest that it gives within the budget as counted here.
    """
    import modelopt.torch.prune as pruning  # pyright: ignore[reportMissingImports]

    shares = tuple(step / 16 for step in range(1, 17))
    convolution = {"channels_ratio": shares, "kernel_size": (), "channel_divisor": 1}
    features = {"features_ratio": shares, "feature_divisor": 1}
    spaces = {
        "nn.Conv2d": {"*": convolution},
        "nn.BatchNorm2d": {"*": features},
        "nn.Linear": {"*": features},
    }
    batches = [(batch.inputs, batch.targets) for _, batch in zip(range(8), data.train.epoch(0), strict=False)]

    def pruned(percent: float) -> nn.Module:
        found, _ = pruning.prune(
            plain_copy(model),
            mode=[("fastnas", spaces)],
            constraints={"flops": f"{percent}%"},
            dummy_input=SAMPLE,
            config={
                "data_loader": batches,
                "collect_func": lambda batch: batch[0],
                "score_func": lambda network: evaluate(network, data.held_out, display=Silent()).score.value,
                "verbose": False,
            },
        )
        return found

    most = count_flops(model, SAMPLE) * limit / 100
    return next(
        one for one in (pruned(limit - step * limit / 20) for step in range(19)) if count_flops(one, SAMPLE) <= most
    )


def is_there(way: str) -> bool:
    """Whether the other tool that a way needs is installed."""
    module = {"torch-pruning": "torch_pruning", "fastnas": "modelopt"}.get(way)
    return module is None or importlib.util.find_spec(module) is not None


def estimated_minutes(data: Data, sizes: Sizes, ways: Sequence[str], seeds: int, limits: int) -> float:
    """From the time of a few steps of the original network, in which every network is taken to be as large."""
    network, batches = resnet8(), data.train.epoch(0)
    network(next(batches).inputs).sum().backward()
    started = time.perf_counter()
    for _, batch in zip(range(5), batches, strict=False):
        network(batch.inputs).sum().backward()
    epoch = (time.perf_counter() - started) / 5 * len(data.train)
    # The teacher's forward pass is a third more; a training from scratch takes as much as the original and the tuning.
    tuned = sizes.fine_tuning * 4 / 3
    each = {
        "one-shot": (2 + sizes.random) * tuned,
        "finalists": 2 * tuned,
        "masked": 3 + tuned,
        "from scratch": (sizes.training + sizes.fine_tuning) * 4 / 3,
    }
    return epoch * seeds * (sizes.training + limits * sum(each.get(way, tuned) for way in ways)) / 60


def report(rows: list[dict[str, Any]]) -> str:
    """The mean over seeds of each kind, beside the first way's found network on the same seeds."""
    lines = []
    for limit in sorted({row["limit"] for row in rows}, reverse=True):
        lines.append(f"{limit} % of the FLOPs")
        these = [row for row in rows if row["limit"] == limit]
        for kind in dict.fromkeys(row["kind"] for row in these):
            own = [row for row in these if row["kind"] == kind]
            tops = [row["top1"] for row in own]
            spread = f" +- {statistics.stdev(tops):.4f}" if len(tops) > 1 else ""
            uses = ", ".join(f"{row['use']:.1%}" for row in own)
            lines.append(f"  {kind}: top1 {statistics.mean(tops):.4f}{spread} ({len(tops)} seeds); use {uses}")
    return "\n".join(lines)


def options_of(limits: list[int]) -> argparse.ArgumentParser:
    """The options of every benchmark of this network; `limits` are the budgets where none are given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--limits", type=int, nargs="+", default=limits)
    parser.add_argument("--training", type=int, default=30, help="epochs of the original's training")
    parser.add_argument("--fine_tuning", type=int, default=5, help="epochs of fine-tuning")
    parser.add_argument("--images", type=int, default=None, help="of the training and of the test part; by default all")
    return parser


def main() -> None:
    parser = options_of(limits=[50, 25, 10])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--random", type=int, default=3, help="random networks for each budget and seed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = Sizes(options.training, options.fine_tuning, options.images, options.random)
    ways = [way for way in options.ways if is_there(way)]
    wanted = [(way, limit, seed) for seed in options.seeds for limit in options.limits for way in ways]
    first = data_of(options.data, 0, sizes.images)
    minutes = estimated_minutes(first, sizes, ways, len(options.seeds), len(options.limits))

    def made(way: str, limit: int, seed: int) -> list[dict[str, Any]]:
        data, folder = data_of(options.data, seed, sizes.images), options.folder / f"shrink-{seed}"
        model = trained(data, sizes, options.folder, seed)
        started = time.perf_counter()
        if way == "from scratch":
            rows = [scratch_row(model, data, sizes, limit, folder)]
        elif way in ("torch-pruning", "fastnas"):
            pruned = by_magnitude(model, limit) if way == "torch-pruning" else by_fastnas(model, data, limit)
            rows = [tuned_row(way, pruned, started, model, data, sizes, limit, folder)]
        else:
            rows = shrunk_rows(model, data, sizes, limit, way, folder)
        return [{"way": way, "limit": limit, "seed": seed, "images": sizes.images, **row} for row in rows]

    keys = ("way", "limit", "seed")
    print(report(complete(options.out, keys, wanted, made, minutes=minutes / max(len(wanted), 1))))


if __name__ == "__main__":
    main()
