"""Perplexity of a language model on a text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnas.data.batches import Batches
from dnas.data.carried import ContinuedBatches
from dnas.data.text import TextBatches
from dnas.task.language import LanguageModelling
from dnas.training.evaluate import evaluate

# Legend: T steps of a batch, B rows.


def whole_text(
    tokens: Tensor, *, batch_size: int = 1, bptt: int = 35, device: torch.device | str = "cpu"
) -> TextBatches:
    """Batches for evaluation: every token of `tokens` but the first of each row is predicted once.

    With one row, as in the paper's test, no token is left out. More rows are faster, but the tokens that do not fill a
    row are left out, and each row begins without context.

    Args:
        tokens: one part of a corpus, shape (length of the text,).
        batch_size: rows of text that are read side by side.
        bptt: steps of a batch.
        device: device of the batches.
    """
    return TextBatches(tokens, batch_size=batch_size, bptt=bptt, whole=True, device=device)


def perplexity(network: nn.Module, batches: Batches) -> float:
    """exp of the mean cross entropy per token, in evaluation mode; the hidden state is carried from batch to batch.

    The mean is over the predicted tokens; the official code divides by one more for each row.

    Args:
        network: `network(tokens, carry)` returns `(LanguageOutput, carry)`.
        batches: (tokens, next tokens), both (T, B), in order, as `whole_text` gives them.

    Raises:
        NonFiniteLoss: an output is NaN.

    Example:
        >>> from dnas.space.recurrent import RecurrentSpace
        >>> network = RecurrentSpace(nodes=1).model(vocabulary=7, hidden=4)
        >>> _ = network.encoder.weight.data.zero_()
        >>> f"{perplexity(network, whole_text(torch.arange(40) % 7, batch_size=2)):.3f}"
        '7.000'
    """
    continued = continued_text(batches, network)
    return evaluate(network, continued, task=LanguageModelling(), intervals=False).value("perplexity")


def continued_text(batches: Batches, network: nn.Module) -> ContinuedBatches:
    """Batches of a text that hand on the network's hidden state, zeros of shape (B, hidden) at its beginning."""
    first = next(batches.epoch(0)).inputs
    like = next(network.parameters())
    start = like.new_zeros(first.shape[1], network.hidden)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return ContinuedBatches(batches, start.detach())
