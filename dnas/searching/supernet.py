"""A model with choices inside, its architecture parameters, and its loss as a pure function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Self

import torch
from torch import Tensor, nn

from dnas.core.architecture import Architecture
from dnas.core.batch import Batch
from dnas.core.decision import Decision
from dnas.core.derive import find_decisions
from dnas.core.functional import call_with, prefixes
from dnas.core.mixture import Active, Mixture
from dnas.core.searchable import Searchable
from dnas.distributed.ranks import ranks
from dnas.method.relaxation.base import Relaxation
from dnas.searching.notebook import supernet_html
from dnas.system.difference import first_difference
from dnas.system.errors import UserError
from dnas.system.tensor_file import tensors_in
from dnas.task.base import Task, logits_of

Criterion = Callable[[Any, Any], Tensor | Mapping[str, Tensor]]

# Alphas start at 1e-3 * N(0, 1), as in the code of DARTS.
ALPHA_SCALE = 1e-3


@dataclass(frozen=True)
class Aux:
    """What a loss returns besides its value.

    Args:
        outputs: the model's outputs.
        terms: the named parts of the loss, if the criterion returns a dict.
        carry: the recurrent state for the next batch, or None.
    """

    outputs: Any
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    carry: Any = None


class Supernet:
    """A model with choices, and one set of alphas for each of its decisions.

    The alphas are not parameters of the model, so neither optimizer can hold the other's variables.

    Args:
        model: any module that holds a `Choice`, `InputChoice` or `Cell`.
        criterion: `criterion(outputs, targets)` gives a scalar, or a dict of named scalars, which are added up.
        task: replaces the criterion, and also measures how good outputs are.
        seed: seed of the alphas, which start at 1e-3 N(0, 1).

    Raises:
        UserError: the model holds no choice, or two choices of the same name that differ.

    Example:
        >>> from dnas import Choice
        >>> model = nn.Sequential(Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(4, 2))
        >>> supernet = Supernet(model, nn.functional.cross_entropy)
        >>> supernet.alphas["act"].shape
        torch.Size([2])
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion = nn.functional.cross_entropy,
        *,
        task: Task | None = None,
        seed: int = 0,
    ):
        self.model = model
        self.task = task
        self.criterion = criterion if task is None else task.criterion
        self.decisions: dict[str, Decision] = find_decisions(model)
        self.alphas: dict[str, Tensor] = self._initial_alphas(seed)
        # Candidates that a stage of the search has ruled out are missing here; a decision without an entry allows all.
        self.allowed: dict[str, Active] = {}

    def _initial_alphas(self, seed: int) -> dict[str, Tensor]:
        like = next(self.model.parameters(), torch.empty(0))
        generator = torch.Generator().manual_seed(seed)
        return {
            name: (ALPHA_SCALE * torch.randn(decision.shape, generator=generator))
            .to(device=like.device, dtype=like.dtype)
            .requires_grad_()
            for name, decision in self.decisions.items()
        }

    @property
    def device(self) -> torch.device:
        """The device of the alphas."""
        return next(iter(self.alphas.values())).device

    def alpha_parameters(self) -> list[Tensor]:
        """The alphas, for an optimizer."""
        return list(self.alphas.values())

    def weights(self) -> dict[str, nn.Parameter]:
        """The model's trainable parameters by name."""
        found: dict[nn.Parameter, str] = {}
        for module, prefix in prefixes(self.model).items():
            for name, weight in module._parameters.items():
                if weight is not None and weight.requires_grad:
                    found.setdefault(weight, prefix + name)  # the first name of a weight with several
        return {name: weight for weight, name in found.items()}

    # Mixtures

    def sample(
        self, relaxation: Relaxation, progress: Tensor, generator: torch.Generator | None = None
    ) -> dict[str, Mixture]:
        """One draw of every decision's mixture, differentiable in the alphas."""
        return self.relaxed(self.alphas, lambda alpha: relaxation.sample(alpha, progress, generator))

    def expected(self, relaxation: Relaxation, progress: Tensor) -> dict[str, Mixture]:
        """The expected mixtures for evaluation, discretization and diagnostics, without gradient."""
        with torch.no_grad():
            return self.relaxed(self.alphas, lambda alpha: relaxation.expected(alpha, progress))

    def relaxed(self, alphas: Mapping[str, Tensor], relax: Callable[[Tensor], Mixture]) -> dict[str, Mixture]:
        """The mixtures that belong to these alphas; `relax` computes those of operations and choices.

        Only candidates that are `allowed` take part; a row without any is 0, and none of its candidates is computed.
        """
        return relaxed_mixtures(self.decisions, alphas, self.allowed, relax)

    @contextmanager
    def only(self, active: Mapping[str, Active]) -> Iterator[None]:
        """Within the block, only the given candidates of the named decisions are allowed."""
        before = self.allowed
        self.allowed = {**before, **active}
        try:
            yield
        finally:
            self.allowed = before

    def one_hot(self, architecture: Architecture) -> dict[str, Mixture]:
        """Mixtures under which the supernet computes what the derived network computes."""
        return architecture.one_hot(self.decisions, next(iter(self.alphas.values())).detach())

    # Forward passes

    @contextmanager
    def bound(self, mixtures: Mapping[str, Mixture]) -> Iterator[nn.Module]:
        """The model, which weighs its candidates by `mixtures` until the end of the block."""
        searchable = [module for module in prefixes(self.model) if isinstance(module, Searchable)]
        for module in searchable:
            module.bind(mixtures)
        try:
            yield self.model
        finally:
            for module in searchable:
                module.bind(None)

    def forward(
        self,
        weights: Mapping[str, Tensor],
        mixtures: Mapping[str, Mixture],
        batch: Batch,
        *,
        update_buffers: bool = False,
    ) -> Any:
        """The model's outputs with these weights and mixtures in place of its own.

        Buffers, such as running statistics, are left as they are unless `update_buffers`.
        """
        arguments, keywords = batch.arguments
        if batch.carry is not None:
            arguments = (*arguments, batch.carry)
        with self.bound(mixtures) as model:
            return call_with(model, weights, arguments, keywords, copy_buffers=not update_buffers)

    def loss(
        self,
        weights: Mapping[str, Tensor],
        mixtures: Mapping[str, Mixture],
        batch: Batch,
        *,
        update_buffers: bool = False,
    ) -> tuple[Tensor, Aux]:
        """The criterion on one batch, as a function of weights and mixtures.

        Of several ranks each computes its own rows. The value, and with it every derivative in weights and mixtures, is
        that of the whole batch, on all of them.

        Returns:
            A scalar, and the outputs with the named terms and the carried state.

        Raises:
            UserError: the criterion returned neither a scalar nor a dict of scalars, or one without a gradient.
        """
        weights, mixtures = _spread(weights, mixtures)
        outputs = self.forward(weights, mixtures, batch, update_buffers=update_buffers)
        carry = None
        if batch.carry is not None:
            outputs, carry = outputs
        value = self.criterion(self.read(outputs), batch.targets)
        terms = value if isinstance(value, Mapping) else {}
        total = sum_of_terms(terms) if terms else value
        if not isinstance(total, Tensor) or total.ndim != 0:
            raise UserError(f"The criterion must give a scalar tensor or a dict of them; got {_shape(value)}.")
        if not total.requires_grad and any(tensor.requires_grad for _, tensor in tensors_in(outputs)):
            raise UserError(
                f"The criterion's loss has no gradient (a tensor of {total.dtype}), so that the search would move "
                "nothing: leave out detach(), item(), argmax() and whole numbers on the way from outputs to loss."
            )
        share = self._num_samples(outputs, batch)
        terms = {name: ranks().mean(term, share) for name, term in terms.items()}
        return ranks().mean(total, share), Aux(outputs, terms, carry)

    def _num_samples(self, outputs: Any, batch: Batch) -> Tensor | float:
        """How many samples the criterion's mean is over, as the task weighs them."""
        if self.task is None or ranks().size == 1:
            return batch.num_samples
        return self.task.weights(self.task.read(outputs), batch.targets).sum()

    def read(self, outputs: Any) -> Any:
        """What the criterion looks at in the model's outputs."""
        if self.task is not None:
            return self.task.read(outputs)
        return logits_of(outputs) if self.criterion is nn.functional.cross_entropy else outputs

    # State

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move weights, buffers and alphas; call it before the optimizers are made."""
        self.model.to(device=device, dtype=dtype)
        self.alphas = {
            name: alpha.detach().to(device=device, dtype=dtype).requires_grad_() for name, alpha in self.alphas.items()
        }
        return self

    def _repr_html_(self) -> str:
        """What a notebook shows: a heat map of each decision."""
        return supernet_html(self.decisions, self.alphas)

    def state_dict(self) -> dict[str, Any]:
        """Weights, buffers, alphas and the decisions that they belong to; plain data and tensors only."""
        return {
            "model": self.model.state_dict(),
            "alphas": {name: alpha.detach().clone() for name, alpha in self.alphas.items()},
            "decisions": {
                name: {
                    "candidates": list(decision.candidates),
                    "edges": [list(edge) for edge in decision.edges],
                    "on_edges": [list(names) for names in decision.on_edges],
                }
                for name, decision in self.decisions.items()
            },
            "allowed": {name: [list(row) for row in active] for name, active in self.allowed.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state in place.

        Raises:
            UserError: the state belongs to another space; the message names the first difference.
        """
        own = self.state_dict()
        for part in own:
            if not isinstance(state.get(part), Mapping):
                raise UserError(f"Not the state of a supernet: {part!r} is missing or not a mapping.")
        for kind in ("decisions", "model", "alphas"):
            difference = first_difference(state[kind], own[kind], place=kind)
            if difference:
                raise UserError(f"The checkpoint is of another space: {difference}.")
        _check_allowed(state["allowed"], self.decisions)
        self.model.load_state_dict(state["model"])
        with torch.no_grad():
            for name, alpha in self.alphas.items():
                alpha.copy_(state["alphas"][name])
        self.allowed = {name: tuple(tuple(row) for row in rows) for name, rows in state["allowed"].items()}


def _spread(
    weights: Mapping[str, Tensor], mixtures: Mapping[str, Mixture]
) -> tuple[Mapping[str, Tensor], Mapping[str, Mixture]]:
    """The same, for this rank's rows: gradients through them are summed over ranks."""
    if ranks().size == 1:
        return weights, mixtures
    spread = iter(ranks().spread([*weights.values(), *(mixture.values for mixture in mixtures.values())]))
    weights = {name: next(spread) for name in weights}
    return weights, {name: mixture.with_values(next(spread)) for name, mixture in mixtures.items()}


def relaxed_mixtures(
    decisions: Mapping[str, Decision],
    alphas: Mapping[str, Tensor],
    allowed: Mapping[str, Active],
    relax: Callable[[Tensor], Mixture],
) -> dict[str, Mixture]:
    """The mixtures that belong to some alphas, as `Supernet.relaxed` gives them."""
    return {
        name: Mixture(normalized_edges(alphas[name], decision))
        if decision.kind == "edges"
        else _restricted(alphas[name], allowed.get(name), relax)
        for name, decision in decisions.items()
    }


def _restricted(alpha: Tensor, allowed: Active | None, relax: Callable[[Tensor], Mixture]) -> Mixture:
    if allowed is None:
        return relax(alpha)
    mask = active_mask(allowed, alpha)
    empty = ~mask.any(dim=-1, keepdim=True)
    mixture = relax(alpha.masked_fill(~(mask | empty), -torch.inf))
    active = allowed
    if mixture.active is not None:
        active = tuple(drawn if row else () for drawn, row in zip(mixture.active, allowed, strict=True))
    return replace(mixture, values=mixture.values.masked_fill(empty, 0.0), active=active)


def sum_of_terms(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of named scalars.

    Raises:
        UserError: names the first term that is not a scalar tensor.
    """
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim != 0:
            raise UserError(f"The criterion's term {name!r} must be a scalar tensor; got {_shape(term)}.")
    return torch.stack(list(terms.values())).sum()


def _shape(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def active_mask(active: Active, like: Tensor) -> Tensor:
    """Boolean tensor of the shape of `like` that is true at the active candidates; it must not be written to."""
    return _mask(active, like.shape, like.device)


@lru_cache(maxsize=64)  # copying from the host at every step would wait, and cannot be part of a CUDA graph
def _mask(active: Active, shape: torch.Size, device: torch.device) -> Tensor:
    mask = torch.zeros(len(active), shape[-1], dtype=torch.bool)
    for row, candidates in enumerate(active):
        mask[row, list(candidates)] = True
    return mask.reshape(shape).to(device)


def normalized_edges(alpha: Tensor, decision: Decision) -> Tensor:
    """Softmax of edge alphas (E,) over the incoming edges of each node (PC-DARTS, Xu et al. 2020)."""
    # Edges are in order of their targets, so the incoming ones of a node are side by side.
    groups = alpha.split([len(decision.incoming(node)) for node in decision.nodes])
    return torch.cat([group.softmax(0) for group in groups])


def _check_allowed(allowed: Mapping[str, Any], decisions: Mapping[str, Decision]) -> None:
    """Check that each entry has one row of candidate numbers, none of them empty, for each row of its decision."""
    for name, rows in allowed.items():
        decision = decisions.get(name)
        fits = decision is not None and isinstance(rows, list | tuple) and len(rows) == decision.num_rows
        numbers = range(len(decision.candidates)) if decision is not None else ()
        if not fits or not all(isinstance(row, list | tuple) and row and set(row) <= set(numbers) for row in rows):
            raise UserError(
                f"The checkpoint is of another space: its allowed candidates of {name!r}, {rows!r}, do not fit "
                f"{'any decision' if decision is None else f'{decision.num_rows} rows of {len(numbers)} candidates'}."
            )
