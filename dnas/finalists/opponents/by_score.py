"""Random architectures ranked by a score without training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from dnas.core.architecture import Architecture
from dnas.core.batch import to_device
from dnas.data.keyed_random import stream_key
from dnas.finalists.contest import Contest
from dnas.finalists.opponents.compute import Compute
from dnas.finalists.opponents.opponent import Opponent, random_training
from dnas.finalists.proposals import Proposal, Proposals
from dnas.finalists.scores.az_nas import AzNas
from dnas.finalists.scores.naswot import NasWot
from dnas.finalists.scores.score import Score, best_of_scores
from dnas.finalists.scores.size import Flops, Parameters
from dnas.finalists.scores.swap import Swap
from dnas.finalists.scores.synflow import SynFlow
from dnas.finalists.settings import FinalistSettings
from dnas.system.random_state import seeded
from dnas.training.evaluate import device_of

# A new score is one more entry here.
SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "parameters": Parameters(),
        "flops": Flops(),
        "synflow": SynFlow(),
        "naswot": NasWot(),
        "swap": Swap(),
        "az_nas": AzNas(),
    }
)
_SCORING = 4  # keeps its random stream apart from those of proposals


@dataclass(frozen=True)
class ByScore(Opponent):
    """Random architectures of different functions are scored until the compute is spent; the best by score is kept.

    Args:
        score: a name in `SCORES`.
        num: largest number of architectures.
    """

    score: str = "parameters"
    num: int = 1000

    def training(self, like: FinalistSettings) -> FinalistSettings:
        return random_training(like, epochs=1)  # nothing is trained

    def find(self, contest: Contest, proposals: Proposals, compute: Compute) -> Architecture:
        conditions, score = contest.conditions, SCORES[self.score]
        found: list[Proposal] = []
        scores: list[tuple[float, ...]] = []
        while not found or (len(found) < self.num and compute.is_left()):
            new = proposals.random(1)
            if not new:
                break
            with seeded(conditions.settings.seed):
                network = conditions.build(new[0].architecture)
            inputs = to_device(conditions.batch.inputs, device_of(network))
            generator = torch.Generator().manual_seed(stream_key(conditions.settings.seed, _SCORING))
            scores.append(score(network, inputs, generator))
            found += new
        return found[best_of_scores(scores)].architecture
