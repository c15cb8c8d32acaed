"""The language model of DARTS around a recurrent cell, and the cell's nodes.

Liu et al. 2019, https://arxiv.org/abs/1806.09055, section 3.1, appendix A.1.2 and A.2.2. Formulas and initial values
were checked with the official code, https://github.com/quark0/darts, rnn/model.py and rnn/model_search.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnas.core.architecture import CellArchitecture, Kept, KeptEdge
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture, uniform
from dnas.core.searchable import Searchable
from dnas.system.accepted import accept
from dnas.system.errors import UserError
from dnas.task.language import LanguageOutput

# Legend: T steps of time, B rows of a batch, H hidden units, V tokens of the vocabulary, N edges into one node.

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda h: h,
}
# Weights start uniformly in +- this (official code).
INITIAL_RANGE = 0.04


@dataclass(frozen=True)
class RecurrentDropout:
    """Probabilities, in [0, 1), of zeroing values in training; a mask is the same at all steps of a batch.

    Variational dropout (Gal and Ghahramani 2016, https://arxiv.org/abs/1512.05287); names of the official code of DARTS
    in brackets. The defaults are those of its evaluation on Penn Treebank.

    Args:
        output: units of the cell's output, before the decoder (dropout).
        hidden: units of the hidden state and of the nodes, where they enter a matrix (dropouth).
        inputs: units of the cell's input, where it enters the matrix (dropoutx).
        embedded: units of the embedded words (dropouti).
        words: whole words of the vocabulary (dropoute).
    """

    output: float = 0.75
    hidden: float = 0.25
    inputs: float = 0.75
    embedded: float = 0.2
    words: float = 0.1

    def __post_init__(self) -> None:
        accept(self)
        for field in fields(self):
            if not 0 <= getattr(self, field.name) < 1:
                raise UserError(f"dropout {field.name} must be from 0 to below 1; got {getattr(self, field.name)}.")


SEARCH_DROPOUT = RecurrentDropout(words=0.0)
NO_DROPOUT = RecurrentDropout(0.0, 0.0, 0.0, 0.0, 0.0)


def initial(*shape: int) -> nn.Parameter:
    """A new weight of this shape."""
    return nn.Parameter(torch.empty(shape).uniform_(-INITIAL_RANGE, INITIAL_RANGE))


def gated(s: Tensor, weight: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gate c and candidate h of an edge that leaves state s: (c, h) = split((s m) W), c = sigmoid(c).

    Args:
        s: (..., H).
        weight: W (H, 2 H).
        mask: m (B, H) of dropout; None for none.
    """
    c, h = ((s if mask is None else s * mask) @ weight).chunk(2, dim=-1)
    return c.sigmoid(), h


def normalise(s_BH: Tensor) -> Tensor:
    """Batch norm without learned scale and with the statistics of this batch."""
    if s_BH.shape[0] < 2:
        raise UserError("The states of a recurrent supernet are normalised over the batch: it needs 2 rows or more.")
    return F.batch_norm(s_BH, None, None, training=True)


class _Inputs(NamedTuple):
    """The inputs of one searchable node: N states, and the weights p of K activations of each."""

    sources: list[int]
    activations: list[Callable[[Tensor], Tensor]]
    weights_KN11: list[Tensor]
    total_N11: Tensor


def _span(indices: list[int]) -> list[int] | slice:
    """The same indices as a slice if they have no gaps: a list would have to be sent to the device."""
    whole = bool(indices) and indices == list(range(indices[0], indices[-1] + 1))
    return slice(indices[0], indices[-1] + 1) if whole else indices


def _node(states: Sequence[Tensor], weight: Tensor, into: _Inputs, mask_BH: Tensor | None) -> Tensor:
    """sum over i, k of p_ik (s_i + c_i (f_k(h_i) - s_i)) = sum over i of P_i s_i + c_i (sum_k p_ik f_k(h_i) - P_i s_i).

    P_i is the sum of p_ik over k.
    """
    if not into.sources:
        return torch.zeros_like(states[0])
    s_NBH = torch.stack([states[source] for source in into.sources])
    c_NBH, h_NBH = gated(s_NBH, weight, mask_BH)
    first, *rest = zip(into.weights_KN11, into.activations, strict=True)
    mixed_NBH = first[0] * first[1](h_NBH)
    for p_N11, activation in rest:
        mixed_NBH = torch.addcmul(mixed_NBH, p_N11, activation(h_NBH))
    return torch.lerp(into.total_N11 * s_NBH, mixed_NBH, c_NBH).sum(dim=0)


class RecurrentNodes(Searchable):
    """The searchable nodes of a recurrent cell, from state 0 to the new hidden state.

    With W_j shared by all edges into node j, p the mixture, and f_k the activations (DARTS, eq. 2; official code):

        (c_ij, h_ij) = split((s_i m) W_j),  c_ij = sigmoid(c_ij)
        s_j = norm(sum over i < j, k of p_ijk (s_i + c_ij (f_k(h_ij) - s_i))),  s_0 = norm(s_0)

    and the new hidden state is the mean of the nodes. 'none' adds nothing.

    Args:
        hidden: H.
        decision: a decision of kind 'operations', whose state 0 is the input.
    """

    def __init__(self, hidden: int, decision: Decision):
        super().__init__()
        self.decision = decision
        self.weights = nn.ParameterList(initial(hidden, 2 * hidden) for _ in decision.nodes)
        self._inputs: list[_Inputs] | None = None

    def decisions(self) -> tuple[Decision, ...]:
        return (self.decision,)

    def bind(self, mixtures: Mapping[str, Mixture] | None) -> None:
        # Done once for all steps of a sequence: at small sizes the number of operations determines a step's time.
        if mixtures is not None and mixtures[self.decision.name].adds_inactive:
            raise UserError(
                "The recurrent cell has no form in which undrawn candidates are added: leave out add_undrawn."
            )
        self._inputs = None if mixtures is None else self._inputs_of_nodes(mixtures[self.decision.name])

    def forward(self, s_BH: Tensor, mask_BH: Tensor | None = None) -> Tensor:
        inputs = self._inputs or self._inputs_of_nodes(uniform(self.decision.shape, s_BH))
        states = [normalise(s_BH)]
        for weight, into in zip(self.weights, inputs, strict=True):
            states.append(normalise(_node(states, weight, into, mask_BH)))
        return mean_of(states, self.decision.output)

    def _inputs_of_nodes(self, mixture: Mixture) -> list[_Inputs]:
        return [self._inputs_of(node, mixture) for node in self.decision.nodes]

    def _inputs_of(self, node: int, mixture: Mixture) -> _Inputs:
        """The edges into a node on which something other than 'none' is active, and their weights."""
        eligible = [k for k, name in enumerate(self.decision.candidates) if name in ACTIVATIONS]
        edges = [edge for edge in self.decision.incoming(node) if set(mixture.row(edge)) & set(eligible)]
        computed = [k for k in eligible if any(k in mixture.row(edge) for edge in edges)]
        p_NK = mixture.values[_span(edges)][:, _span(computed)]
        if mixture.active is not None:  # inactive candidates have no gradient
            p_NK = p_NK * p_NK.new_tensor([[k in mixture.row(edge) for k in computed] for edge in edges])
        return _Inputs(
            sources=[self.decision.edges[edge][0] for edge in edges],
            activations=[ACTIVATIONS[self.decision.candidates[k]] for k in computed],
            weights_KN11=list(p_NK.t()[..., None, None]),
            total_N11=p_NK.sum(dim=1)[:, None, None],
        )

    def plain(self, kept: Kept) -> nn.Module:
        assert isinstance(kept, CellArchitecture)
        return PlainRecurrentNodes(kept, self.weights, normalised=True)

    def extra_repr(self) -> str:
        return f"{self.decision.name!r}, nodes={len(self.weights)}, candidates={list(self.decision.candidates)}"


class PlainRecurrentNodes(nn.Module):
    """Nodes with one activation on each kept edge: s_j = sum over its edges of s_i + c_ij (f(h_ij) - s_i).

    Args:
        cell: the kept cell; its nodes are the states from 1 on.
        weights: W_j (H, 2 H) of each node.
        normalised: whether states are normalised over the batch, as in a search.
    """

    def __init__(self, cell: CellArchitecture, weights: nn.ParameterList, *, normalised: bool):
        super().__init__()
        self.cell = cell
        self.weights = weights
        self.normalised = normalised

    def forward(self, s_BH: Tensor, mask_BH: Tensor | None = None) -> Tensor:
        states = [normalise(s_BH) if self.normalised else s_BH]
        for node, weight in enumerate(self.weights, start=1):
            terms = [self._edge(edge, states, weight, mask_BH) for edge in self.cell.edges if edge.target == node]
            # In a supernet a node with only 'none' is 0; a kept 'none' adds no term.
            s = sum(terms[1:], start=terms[0]) if terms else torch.zeros_like(s_BH)
            states.append(normalise(s) if self.normalised else s)
        return mean_of(states, self.cell.output)

    def _edge(self, edge: KeptEdge, states: Sequence[Tensor], weight: Tensor, mask_BH: Tensor | None) -> Tensor:
        s = states[edge.source]
        c, h = gated(s, weight, mask_BH)
        return torch.lerp(s, ACTIVATIONS[edge.operation](h), c)  # s + c (f(h) - s)

    def extra_repr(self) -> str:
        edges = ", ".join(f"{edge.source}->{edge.target} {edge.operation}" for edge in self.cell.edges)
        return f"{edges}; mean of {list(self.cell.output)}, normalised={self.normalised}"


def mean_of(states: Sequence[Tensor], output: Sequence[int]) -> Tensor:
    """The mean of the output states (B, H)."""
    return torch.stack([states[index] for index in output]).mean(dim=0)


class RecurrentLanguageModel(nn.Module):
    """Embedding, one recurrent cell, and a decoder that shares the embedding's weights.

    At each step, with input x, hidden state h and masks m of dropout (DARTS, appendix A.1.2; official code):

        (c, h') = split((x m_x, h m_h) W_0),  s_0 = h + sigmoid(c) (tanh(h') - h),  h = nodes(s_0)

    `forward(tokens, carry)` takes tokens (T, B) int64 and the hidden state (B, H) that the batch before left, and gives
    `(LanguageOutput, hidden state)`; without a carry the state starts at 0, and the output comes alone.

    Args:
        nodes: maps s_0 (B, H) and mask (B, H) to the new hidden state (B, H).
        vocabulary: V.
        hidden: H, units of the hidden state and the embedding.
        dropout: probabilities of dropout in training.
    """

    def __init__(self, nodes: nn.Module, *, vocabulary: int, hidden: int, dropout: RecurrentDropout):
        super().__init__()
        self.encoder = nn.Embedding(vocabulary, hidden, _weight=initial(vocabulary, hidden).detach())
        self.gate = initial(2 * hidden, 2 * hidden)
        self.nodes = nodes
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.hidden = hidden
        self.dropout = dropout

    def forward(self, tokens_TB: Tensor, carry_BH: Tensor | None = None) -> Any:
        x_TBH = self._dropped(self._embedded(tokens_TB), self.dropout.embedded)
        start_BH = x_TBH.new_zeros(x_TBH.shape[1:]) if carry_BH is None else carry_BH
        states_TBH = self._states(x_TBH, start_BH)
        dropped_TBH = self._dropped(states_TBH, self.dropout.output)
        logits_TBV = F.linear(dropped_TBH, self.encoder.weight, self.bias)
        output = LanguageOutput(logits_TBV, *((states_TBH, dropped_TBH) if self.training else ()))
        return output if carry_BH is None else (output, states_TBH[-1])

    def _embedded(self, tokens_TB: Tensor) -> Tensor:
        weight_VH = self.encoder.weight
        if self.training and self.dropout.words:
            weight_VH = weight_VH * _mask(weight_VH[:, :1], self.dropout.words)
        return F.embedding(tokens_TB, weight_VH)

    def _states(self, x_TBH: Tensor, h_BH: Tensor) -> Tensor:
        mask_BH = _mask(h_BH, self.dropout.hidden) if self.training and self.dropout.hidden else None
        gate_x, gate_h = self.gate.chunk(2)
        # (x, h) W_0 in two parts: that of x needs no state, so it is one product for all steps.
        from_x_TBG = self._dropped(x_TBH, self.dropout.inputs) @ gate_x
        states = []
        for from_x_BG in from_x_TBG:
            c_BH, candidate_BH = (from_x_BG + (h_BH if mask_BH is None else h_BH * mask_BH) @ gate_h).chunk(2, dim=-1)
            h_BH = self.nodes(torch.lerp(h_BH, candidate_BH.tanh(), c_BH.sigmoid()), mask_BH)
            states.append(h_BH)
        return torch.stack(states)

    def _dropped(self, x_TBH: Tensor, probability: float) -> Tensor:
        """Dropout with one mask for all steps."""
        return x_TBH * _mask(x_TBH[0], probability) if self.training and probability else x_TBH

    def extra_repr(self) -> str:
        return f"hidden={self.hidden}, {self.dropout}"


def _mask(like: Tensor, probability: float) -> Tensor:
    """0 with this probability, else 1 / (1 - probability)."""
    return torch.empty_like(like).bernoulli_(1 - probability) / (1 - probability)
