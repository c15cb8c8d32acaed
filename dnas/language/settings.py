"""Settings of a search for a recurrent cell and of a cell's training, and the loss that both minimise.

The defaults are those of DARTS (Liu et al. 2019, https://arxiv.org/abs/1806.09055, appendix A.1.2 and A.2.2) on Penn
Treebank, as in the official code, https://github.com/quark0/darts, rnn/train_search.py and rnn/train.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from dnas.core.schedule import Constant
from dnas.searching.settings import AlphaAdam, SearchSettings, WeightSGD
from dnas.space.recurrent import RecurrentDropout
from dnas.space.recurrent_model import SEARCH_DROPOUT, LanguageOutput
from dnas.system.accepted import accept
from dnas.system.errors import UserError

# Legend: T steps of a batch, B rows.

# torch.optim.Adam's own decay rates, as in the official code for text; for images it has (0.5, 0.999).
_SEARCH = SearchSettings(
    weights=WeightSGD(lr=Constant(20.0), momentum=0.0, weight_decay=5e-7, clip=0.25),
    alphas=AlphaAdam(lr=3e-3, betas=(0.9, 0.999), weight_decay=1e-3),
    epochs=50,
)


@dataclass(frozen=True)
class LanguageLoss:
    """Mean cross entropy of the next tokens, plus in training two terms that keep the hidden states h_t small and slow.

    loss = -mean log p(target) + activation mean (m_t h_t)^2 + slowness mean (h_t - h_{t-1})^2, with the mask m_t of
    dropout (Merity et al. 2017, https://arxiv.org/abs/1708.01009). The official search regularises only the weights'
    loss; here the alphas' loss holds the same terms.

    Args:
        activation: factor of the term for the size of the states.
        slowness: factor of the term for their change from step to step.
    """

    activation: float = 0.0
    slowness: float = 1e-3

    def __post_init__(self) -> None:
        accept(self)

    def __call__(self, output: LanguageOutput, targets_TB: Tensor) -> dict[str, Tensor]:
        terms = {"cross_entropy": F.cross_entropy(output.logits.flatten(0, 1), targets_TB.flatten())}
        if self.activation and output.dropped is not None:
            terms["activation"] = self.activation * output.dropped.square().mean()
        if self.slowness and output.states is not None and len(output.states) > 1:
            terms["slowness"] = self.slowness * output.states.diff(dim=0).square().mean()
        return terms


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
    """

    epochs: int = 1600
    hidden: int = 850
    dropout: RecurrentDropout = RecurrentDropout()
    batch_size: int = 64
    validation_batch_size: int = 10
    test_batch_size: int = 1
    bptt: int = 35
    weights: WeightSGD = WeightSGD(lr=Constant(20.0), momentum=0.0, weight_decay=8e-7, clip=0.25)
    loss: LanguageLoss = LanguageLoss()
    average_after: int | None = 5
    seed: int = 0

    def __post_init__(self) -> None:
        accept(self)
        if self.epochs < 1:
            raise UserError(f"epochs must be 1 or more; got {self.epochs}.")
        if self.average_after is not None and self.average_after < 1:
            raise UserError(f"average_after must be 1 or more epochs, or None for never; got {self.average_after}.")
