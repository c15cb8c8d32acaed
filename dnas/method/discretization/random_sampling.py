"""Keep the best of several random architectures, evaluated with shared weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.method.discretization.base import Evaluate, Limits, Train, Trying
from dnas.method.discretization.pool import Pool
from dnas.system.accepted import accept
from dnas.system.errors import UserError


@dataclass(frozen=True)
class RandomSampling(Trying):
    """Random search with weight sharing: the most accurate of `samples` random architectures, without training them.

    Li and Talwalkar 2019, https://arxiv.org/abs/1902.07638, section 3.2; official code liamcli/randomNAS_release,
    `Random_NAS.get_eval_arch`. There 1000 architectures are evaluated on ten batches each, and the ten best of them on
    all batches; here each one is evaluated once, on all or on `images_each`. The official code on NAS-Bench-201
    (https://github.com/D-X-Y/AutoDL-Projects/blob/main/exps/NAS-Bench-201-algos/RANDOM-NAS.py, `search_find_best`)
    judges each of its 100 on one batch of 512 images, the next one for each. As there, a node's inputs are drawn
    without replacement and the operations uniformly, but here never a candidate that may not be kept ('none' in DARTS).
    The architectures are all different; a space that has no more than `samples` is evaluated completely. At equal
    accuracy the earlier one wins.

    Within a budget the random architectures use most of it (`dnas.cost.drawing`); of a tight one there may be fewer.
    The alphas are ignored. It is meant for a supernet that was trained on random single paths.

    Args:
        samples: number of architectures that are evaluated.
        seed: seed of the random draws; the seed of the search is added.
        images_each: smallest number of images on which each one is evaluated, in whole batches, the next ones each
            time; None for all.
    """

    samples: int = 100
    seed: int = 0
    images_each: int | None = None  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        accept(self)
        if self.images_each is not None and self.images_each < 1:
            raise UserError(f"images_each must be at least 1, or null for all; got {self.images_each}.")
        if self.samples < 1:
            raise UserError(f"samples must be at least 1; got {self.samples}.")

    def seeded(self, seed: int) -> RandomSampling:
        return replace(self, seed=self.seed + seed)

    def decide(
        self,
        decisions: Mapping[str, Decision],
        mixtures: Mapping[str, Mixture],
        *,
        evaluate: Evaluate,
        train: Train,
        limits: Limits,
    ) -> dict[str, Kept]:
        pool = Pool(decisions, mixtures, evaluate, limits)
        if pool.space_size <= self.samples:
            pool.add_all()
        else:
            pool.add_random(self.samples, Random(self.seed))
        return pool.kept()
