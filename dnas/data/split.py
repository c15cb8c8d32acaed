"""Seeded splits in which every class is divided in the same proportions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dnas.data.keyed_random import permutation, stream_key
from dnas.data.sample_set import SampleSet
from dnas.data.source import Source
from dnas.system.errors import UserError
from dnas.system.words import number_of

# Numbers that keep the splits of one seed apart.
_TEST, _HALVES = 1, 2


def stratified_split(
    labels: Tensor,
    fractions: Sequence[float],
    *,
    seed: int,
    minimum: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
) -> list[Tensor]:
    """Divide indices into parts, every class in the same proportions.

    A part with fraction f gets floor(n f) or ceil(n f) of a class's n images, or more if its minimum requires it.
    Images left over by rounding go to the parts that are furthest behind, so that the parts' sizes are right as well.

    Args:
        labels: `(images,)` int64.
        fractions: share of each part, each above 0, with a sum of 1.
        seed: the parts depend only on labels, fractions and seed.
        minimum: the fewest images of each class in each part; None for one in each.
        class_names: names for messages; None names classes by number.

    Returns:
        For each part its indices, `(part,)` int64 on the CPU, in rising order.

    Raises:
        UserError: the fractions are not shares, or a class has fewer images than the minima add up to.
    """
    if not fractions or min(fractions) <= 0 or not math.isclose(sum(fractions), 1.0, abs_tol=1e-9):
        raise UserError(f"Fractions of a split must each be over 0 and add up to 1; got {list(fractions)}.")
    least = [1] * len(fractions) if minimum is None else list(minimum)
    if len(least) != len(fractions):
        raise UserError(f"{len(fractions)} fractions but {len(least)} minima; expected one for each part.")
    labels = labels.cpu()
    order = permutation(len(labels), stream_key(seed, len(labels)))
    behind = [0.0] * len(fractions)
    parts: list[list[Tensor]] = [[] for _ in fractions]
    for label in labels.unique().tolist():
        members = order[labels[order] == label]
        if len(members) < sum(least):
            name = class_names[label] if class_names is not None else str(label)
            raise UserError(
                f"Class {name!r} has {number_of(len(members), 'image')}, too few for {len(fractions)} parts "
                f"that need at least {', '.join(map(str, least))}. Add images to it or remove the class."
            )
        counts = _shares(len(members), fractions, behind, least)
        for part, piece in zip(parts, members.split(counts), strict=True):
            part.append(piece)
        behind = [b + len(members) * f - c for b, f, c in zip(behind, fractions, counts, strict=True)]
    return [torch.cat(part).sort().values if part else torch.empty(0, dtype=torch.int64) for part in parts]


def set_aside_test(source: Source, *, fraction: float = 0.15, seed: int) -> tuple[SampleSet, SampleSet]:
    """Training images and test images: the source's own test part, or a stratified part of the training images.

    Args:
        source: the result of `load_source`.
        fraction: share of the images to set aside if the source has no test part, between 0 and 1.
        seed: determines which images are set aside.

    Raises:
        UserError: a class has too few images to be in the test part and both halves of the rest.
    """
    if not 0 < fraction < 1:
        raise UserError(f"The test part must be a share between 0 and 1 of the images; got {fraction}.")
    train = source.train
    needed = 2 if source.test is not None else 3
    counts = torch.bincount(train.strata, minlength=len(train.strata_names))
    for name, count in zip(train.strata_names, counts, strict=True):
        if int(count) < needed:
            places = "the training and validation halves" if needed == 2 else "test, training and validation parts"
            raise UserError(
                f"{train.name}: class {name!r} has {number_of(int(count), 'image')}; a search needs at least {needed} "
                f"of each class, one for each of the {places}. Add images to it or remove the class."
            )
    if source.test is not None:
        return train, source.test
    test, rest = stratified_split(
        train.strata,
        [fraction, 1 - fraction],
        seed=stream_key(seed, _TEST),
        minimum=[1, 2],
        class_names=train.strata_names,
    )
    return train.subset(rest, name=f"{train.name} (rest)"), train.subset(test, name=f"{train.name} (test)")


def halves(images: SampleSet, *, seed: int) -> tuple[SampleSet, SampleSet]:
    """The training half (for weights) and the validation half (for alphas), stratified.

    Raises:
        UserError: a class has fewer than two images.
    """
    train, val = stratified_split(
        images.strata, [0.5, 0.5], seed=stream_key(seed, _HALVES), class_names=images.strata_names
    )
    return images.subset(train, name=f"{images.name} (train half)"), images.subset(
        val, name=f"{images.name} (val half)"
    )


def _shares(count: int, fractions: Sequence[float], behind: Sequence[float], least: Sequence[int]) -> list[int]:
    """Number of `count` images that each part gets, given how many each part is behind."""
    exact = [count * f for f in fractions]
    counts = [math.floor(e + 1e-9) for e in exact]
    by_need = sorted(range(len(fractions)), key=lambda p: -(behind[p] + exact[p] - counts[p]))
    fractional = [p for p in by_need if exact[p] - counts[p] > 1e-9]
    for p in fractional[: count - sum(counts)]:
        counts[p] += 1
    for p in range(len(counts)):
        while counts[p] < least[p]:
            giver = max((q for q in range(len(counts)) if counts[q] > least[q]), key=lambda q: counts[q] - least[q])
            counts[giver] -= 1
            counts[p] += 1
    return counts
