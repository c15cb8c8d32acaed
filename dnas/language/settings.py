"""Settings of a search for a recurrent cell and of a cell's training.

The defaults are those of DARTS (Liu et al. 2019, https://arxiv.org/abs/1806.09055, appendix A.1.2 and A.2.2) on Penn
Treebank, as in the official code, https://github.com/quark0/darts, rnn/train_search.py and rnn/train.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from dnas.core.schedule import Constant
from dnas.searching.settings import AlphaAdam, SearchSettings
from dnas.searching.weight_optimizer import WeightOptimizer, WeightSGD
from dnas.space.recurrent import RecurrentDropout
from dnas.space.recurrent_model import SEARCH_DROPOUT
from dnas.system.accepted import accept
from dnas.system.difference import free
from dnas.system.errors import UserError
from dnas.task.language import LanguageModelling
from dnas.training.settings import RetrainSettings

# torch.optim.Adam's own decay rates, as in the official code for text; for images it has (0.5, 0.999).
_SEARCH = SearchSettings(
    weights=WeightSGD(lr=Constant(20.0), momentum=0.0, weight_decay=5e-7, clip=0.25),
    alphas=AlphaAdam(lr=3e-3, betas=(0.9, 0.999), weight_decay=1e-3),
    epochs=50,
)


@dataclass(frozen=True)
class LanguageLoss:
    """How much the loss also keeps hidden states small and slow (`dnas.LanguageModelling`).

    The official search regularises only the weights' loss; here the alphas' loss holds the same terms.

    Args:
        activation: factor of the term for the size of the states.
        slowness: factor of the term for their change from step to step.
    """

    activation: float = 0.0
    slowness: float = 1e-3

    def __post_init__(self) -> None:
        accept(self)
        self.task  # raises for values out of their range  # noqa: B018

    @property
    def task(self) -> LanguageModelling:
        """The task of a language model with this loss."""
        return LanguageModelling(self.activation, self.slowness)


@dataclass(frozen=True)
class LanguageSearch:
    """Settings of a search for a recurrent cell; the defaults are those of DARTS on Penn Treebank.

    Args:
        hidden: units of the hidden state and of the embedding.
        dropout: probabilities of dropout in the supernet.
        batch_size: rows of text that are read side by side, for weights and alphas.
        validation_batch_size: rows of text that are read side by side when the supernet is measured; its states are
            normalised over them.
        bptt: number of steps through which a gradient goes back.
        loss: loss of weights and alphas.
        search: the method and its optimizers.
    """

    hidden: int = 300
    dropout: RecurrentDropout = SEARCH_DROPOUT
    batch_size: int = 256
    validation_batch_size: int = 10
    bptt: int = 35
    loss: LanguageLoss = LanguageLoss()
    search: SearchSettings = _SEARCH

    def __post_init__(self) -> None:
        accept(self)


@dataclass(frozen=True)
class LanguageTraining:
    """Settings of training a cell; the defaults are those of DARTS on Penn Treebank, except the number of epochs.

    Args:
        epochs: passes over the training part. The official code is stopped by hand, at up to 8000.
        hidden: units of the hidden state and of the embedding; the caller builds the network with them.
        dropout: probabilities of dropout; the caller builds the network with them.
        batch_size: rows of text that are read side by side.
        validation_batch_size: rows in which the validation part is measured after each epoch.
        test_batch_size: rows in which the caller measures the test part; with 1, as in the paper, nothing is left out,
            more rows are faster.
        bptt: steps through which a gradient goes back.
        weights: optimizer of the weights.
        loss: loss that is minimised.
        average_after: weights are averaged (ASGD, Polyak and Juditsky 1992) from the epoch on in which the validation
            loss is above the lowest of all but the last `average_after` epochs (Merity et al. 2017); None for never.
        seed: seed of initial weights, dropout, and the position in the text at which each epoch starts.
        skip_non_finite: steps that may be left out because their loss or gradient is NaN or infinite; the training
            stops at the next one.
    """

    epochs: int = 1600
    hidden: int = 850
    dropout: RecurrentDropout = RecurrentDropout()
    batch_size: int = 64
    validation_batch_size: int = 10
    test_batch_size: int = 1
    bptt: int = 35
    weights: WeightOptimizer = WeightSGD(lr=Constant(20.0), momentum=0.0, weight_decay=8e-7, clip=0.25)
    loss: LanguageLoss = LanguageLoss()
    average_after: int | None = 5
    seed: int = 0
    skip_non_finite: int = free(0)

    def __post_init__(self) -> None:
        accept(self)
        if self.epochs < 1:
            raise UserError(f"epochs must be 1 or more; got {self.epochs}.")
        if self.skip_non_finite < 0:
            raise UserError(f"skip_non_finite must be 0 (none) or more; got {self.skip_non_finite}.")
        if self.average_after is not None and self.average_after < 1:
            raise UserError(f"average_after must be 1 or more epochs, or None for never; got {self.average_after}.")

    @property
    def retraining(self) -> RetrainSettings:
        """The settings of the common training, in which the epoch that is best in validation is kept."""
        return RetrainSettings(
            epochs=self.epochs,
            weights=self.weights,
            batch_size=self.batch_size,
            auxiliary=False,
            drop_path=0.0,
            cutout=0,
            keep_best=True,
            precision="float32",
            seed=self.seed,
            skip_non_finite=self.skip_non_finite,
        )
