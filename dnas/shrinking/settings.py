"""Settings of a shrinking."""

from __future__ import annotations

from dataclasses import dataclass

from dnas.core.schedule import Cosine
from dnas.finalists.settings import FinalistSettings
from dnas.searching.settings import SearchSettings, WeightSGD
from dnas.shrinking.masked_search import SEARCHING
from dnas.system.accepted import accept
from dnas.system.errors import UserError
from dnas.training.settings import RetrainSettings

# Fine-tuning starts from trained weights: a tenth of the epochs' usual number, at a lower rate.
FINE_TUNING = RetrainSettings(
    epochs=5, weights=WeightSGD(lr=Cosine(0.01, 0.0), weight_decay=5e-4), auxiliary=False, drop_path=0.0, cutout=0
)

# Two rungs, of a quarter and of half an epoch, with what enters in between: as long as the fine-tuning of one network.
FINALISTS = FinalistSettings(
    rungs=2, epochs=1, guided_share=0.0, random_share=0.0, weights=WeightSGD(lr=Cosine(0.01, 0.0), weight_decay=5e-4)
)

# Of new weights: as DARTS trains networks on CIFAR-10, without what is about its cells.
SCRATCH = RetrainSettings(auxiliary=False, drop_path=0.0, cutout=0)


@dataclass(frozen=True)
class ShrinkSettings:
    """How a smaller network is found and compared.

    Args:
        steps: widths are chosen in so many equal steps.
        batches: of training data for importance and statistics of batch norm, and of held-out data for sensitivity.
        statistics_batches: of training data for statistics of batch norm during sensitivity.
        search: method of the masked search, if there is one; its length is said elsewhere.
        finalists: candidates that are fine-tuned for a short time, of which the best is taken; num=0 for none, 8 cost
            about as much as five epochs of fine-tuning.
        finalist_pieces: an epoch of the finalists' trainings is one of so many pieces of an epoch.
        fine_tuning: how every network is trained afterwards, if `fine_tune` is not given.
        distill: whether every network learns from the original as well (`fine_tuning.distillation`).
        from_scratch: epochs that the original was trained for: adds the uniform network with new weights, trained with
            as much compute as the original and the fine-tuning took; 0 leaves it out.
        scratch: how that is trained; its length follows.
        random: number of random networks in the comparison.
        onnx: whether the sizes of ONNX files are measured, but for random networks.
        seed: of random networks.

    Raises:
        UserError: a value out of its range.
    """

    steps: int = 8
    batches: int = 8
    statistics_batches: int = 2
    search: SearchSettings = SEARCHING
    finalists: FinalistSettings = FINALISTS
    finalist_pieces: int = 4
    fine_tuning: RetrainSettings = FINE_TUNING
    distill: bool = True
    from_scratch: int = 0
    scratch: RetrainSettings = SCRATCH
    random: int = 3
    onnx: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        accept(self)
        for name, least in (
            ("steps", 2),
            ("batches", 1),
            ("statistics_batches", 1),
            ("random", 0),
            ("from_scratch", 0),
            ("finalist_pieces", 1),
        ):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}; got {getattr(self, name)}.")
        if self.search.epochs != SEARCHING.epochs:
            raise UserError(
                f"epochs = {self.search.epochs} of search has no effect: give the length of the masked search as "
                "search_epochs."
            )
        asked = self.finalists
        if (asked.channels, asked.cells, asked.begin_with) != (None, None, "new") or asked.alone or asked.guided_share:
            raise UserError(
                "channels, cells, begin_with, alone and guided_share of finalists have no effect in a shrinking, whose "
                "finalists are cut from the model; leave them out."
            )
        if self.search.budget is not None or self.search.stages:
            raise UserError("search of a shrinking has no budget and no stages of its own; leave both out.")

    @property
    def skips_non_finite(self) -> bool:
        """Whether batches may be left out whose inputs hold NaN or infinity."""
        return self.fine_tuning.skip_non_finite > 0
