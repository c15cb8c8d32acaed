"""What a stage of a search takes over from the stage before: tensors by name, widened, pruned or dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.data.keyed_random import stream_key
from dnas.method.relaxation.base import Relaxation
from dnas.searching.supernet import Supernet, active_mask
from dnas.system.errors import UserError


def check_num_candidates(decisions: Mapping[str, Decision], num_candidates: int) -> None:
    """Check that each row still has a candidate that may be kept after it is pruned to `num_candidates`.

    Raises:
        UserError: no row has so many candidates, or a row could be left with excluded ones only.
    """
    pruned = [decision for decision in decisions.values() if decision.kind in ("operations", "choice")]
    most = max((len(decision.candidates) for decision in pruned), default=0)
    if num_candidates > most:
        raise UserError(
            f"num_candidates of a stage is {num_candidates}, but there are no more than {most} candidates to choose "
            "from; give fewer."
        )
    for decision in pruned:
        for row in range(decision.num_rows):
            excluded = [name for name in decision.names(row) if name in decision.excluded]
            if num_candidates <= len(excluded) < len(decision.names(row)):
                raise UserError(
                    f"num_candidates of a stage is {num_candidates}, so {decision.name!r} could be left with nothing "
                    f"but {', '.join(map(repr, excluded))}, which may not be kept; give {len(excluded) + 1} or more, "
                    "or leave these out of the space."
                )


def pruned(
    decisions: Mapping[str, Decision], mixtures: Mapping[str, Mixture], num_candidates: int
) -> dict[str, Active]:
    """For each row of operations and choices, the candidates with the largest weights among the active ones.

    Each edge is pruned on its own, as in P-DARTS and DrNAS; at equal weights the first candidates stay. Decisions on
    edges and inputs are not pruned.
    """
    return {
        name: _strongest(decision, mixtures[name], num_candidates)
        for name, decision in decisions.items()
        if decision.kind in ("operations", "choice")
    }


def _strongest(decision: Decision, mixture: Mixture, count: int) -> Active:
    rows = mixture.values.reshape(decision.num_rows, -1).tolist()
    return tuple(
        tuple(sorted(sorted(mixture.row(index), key=lambda k: -row[k])[:count])) for index, row in enumerate(rows)
    )


def load_pruned(
    supernet: Supernet,
    alphas: Mapping[str, Tensor],
    allowed: Mapping[str, Active],
    *,
    num_candidates: int | None,
    relaxation: Relaxation,
    progress: Tensor,
    carry: bool,
) -> None:
    """Rule out candidates by the alphas of the stage before; with `carry` the alphas are taken over, and are 0 for
    candidates that are ruled out.

    They are 0 as in the official code of DrNAS (`utils.prune`), and penalties on alphas still see them. Decisions that
    the stage before did not have ('reduce' in a network of one cell) begin with all candidates and new alphas.

    Args:
        supernet: the supernet of the new stage.
        alphas, allowed: those of the stage before.
        num_candidates: number of candidates that stay in each row; None for all that are left.
        relaxation, progress: give the expected mixture at the end of the stage before.
        carry: whether the alphas are taken over; otherwise the new ones stay.

    Raises:
        UserError: the new stage has other candidates.
    """
    common = [name for name in supernet.alphas if name in alphas]
    for name in common:
        if alphas[name].shape != supernet.alphas[name].shape:
            raise UserError(
                f"All stages must decide the same, but the alphas of {name!r} have the shape "
                f"{tuple(alphas[name].shape)} in one and {tuple(supernet.alphas[name].shape)} in the next. Build "
                "models that differ only in depth and width."
            )
    new = {name: alpha.detach().clone() for name, alpha in supernet.alphas.items()}
    supernet.allowed = {name: tuple(tuple(row) for row in allowed[name]) for name in common if name in allowed}
    with torch.no_grad():
        for name in common:
            supernet.alphas[name].copy_(alphas[name])
        if num_candidates is not None:
            mixtures = supernet.expected(relaxation, progress)
            decisions = {name: supernet.decisions[name] for name in common}
            supernet.allowed = {**supernet.allowed, **pruned(decisions, mixtures, num_candidates)}
        for name in common:
            alpha = supernet.alphas[name]
            if not carry:
                alpha.copy_(new[name])
            elif name in supernet.allowed:
                alpha.masked_fill_(~active_mask(supernet.allowed[name], alpha), 0.0)


class Widening:
    """Fills the additional channels of a wider network with copies of old ones, drawn at random (Net2Net, Chen et al.
    2016, https://arxiv.org/abs/1511.05641; DrNAS, section 3.3, and its official code, net2wider.py).

    A tensor of old size n and new size N along its first or second dimension becomes `concat(x, x[index])` there;
    `index` holds N - n numbers below n. As in the official code, inputs are not divided by the number of their copies,
    since batch norm follows. There each convolution draws an index of its own; here all dimensions of the same sizes
    share one, so that a copied output meets the copied input of the next convolution.

    Args:
        seed: seed of the indices.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, old: Tensor, shape: Sequence[int]) -> Tensor | None:
        """`old` widened to a new shape; None if a dimension is smaller there, or more than two differ."""
        sizes = list(zip(old.shape, shape, strict=False))
        grows = all(new >= size for size, new in sizes[:2]) and all(new == size for size, new in sizes[2:])
        if old.ndim != len(shape) or not grows:
            return None
        for dimension in (1, 0):  # inputs, then outputs
            if dimension < old.ndim and shape[dimension] > old.shape[dimension]:
                index = self.index(old.shape[dimension], shape[dimension]).to(old.device)
                old = torch.cat([old, old.index_select(dimension, index)], dim=dimension)
        return old

    def index(self, size: int, new_size: int) -> Tensor:
        """The old channel that each additional one copies: shape (new_size - size,)."""
        generator = torch.Generator().manual_seed(stream_key(self.seed, size, new_size))
        return torch.randint(size, (new_size - size,), generator=generator)


def load_widened(supernet: Supernet, weights: Mapping[str, Tensor], widening: Widening) -> None:
    """Load weights and buffers by name; one that cannot be widened from an old one keeps its new value."""
    with torch.no_grad():
        for name, tensor in supernet.model.state_dict().items():
            wider = widening(weights[name], tensor.shape) if name in weights else None
            if wider is not None:
                tensor.copy_(wider)


def names_in(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of an optimizer's tensors in its order, which its parameter groups make."""
    names = {id(tensor): name for name, tensor in tensors.items()}
    return [names[id(tensor)] for group in optimizer.param_groups for tensor in group["params"]]


def load_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    names: Sequence[str],
    widening: Widening,
) -> None:
    """Load the state of an optimizer by the names of its tensors; momentum and moments are widened as the tensors are.

    Args:
        optimizer: the new optimizer, over `tensors`.
        tensors: the new tensors by name.
        state: `state_dict()` of the old optimizer.
        names: names of the old optimizer's tensors, in its order.
        widening: the widening that was used for the weights.
    """
    before = {names[index]: entry for index, entry in state["state"].items()}
    entries = {}
    for index, name in enumerate(names_in(optimizer, tensors)):
        tensor = tensors[name]
        entry = {key: _like(value, tensor, widening) for key, value in before.get(name, {}).items()}
        if entry and not any(value is None and before[name][key] is not None for key, value in entry.items()):
            entries[index] = entry
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})


def _like(value: Any, tensor: Tensor, widening: Widening) -> Any:
    """An optimizer's value, in the shape of a tensor; None if it cannot be widened to it. Counts stay as they are."""
    return widening(value, tensor.shape) if isinstance(value, Tensor) and value.ndim > 0 else value
