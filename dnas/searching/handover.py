"""What a stage of a search takes over from the one before: by name, widened, pruned or dropped."""

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
    """See that pruning every row to so many candidates leaves one that may be kept.

    Raises:
        UserError: there are never so many candidates, or only excluded ones could be left.
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
    """For each row of operations and choices the candidates with the largest weights among those that are active.

    On each edge alone, as in P-DARTS and DrNAS. Ties: the first candidates. Weights of edges, and which inputs are
    taken, are left as they are.
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
    """Rule out what the alphas of the stage before say; with `carry` they go on, those that are ruled out at 0.

    At 0, as in the official code of DrNAS (`utils.prune`): penalties on alphas still see them. Decisions that the stage
    before did not have ('reduce' in a network of one cell) begin with all candidates and new alphas.

    Args:
        supernet: of the new stage.
        alphas, allowed: of the stage before.
        num_candidates: how many stay; None for all that are left.
        relaxation, progress: what the expected mixture is at the end of the stage before.
        carry: whether the alphas go on; otherwise the new ones stay.

    Raises:
        UserError: the new stage has other candidates.
    """
    common = [name for name in supernet.alphas if name in alphas]
    for name in common:
        if alphas[name].shape != supernet.alphas[name].shape:
            raise UserError(
                f"All stages must decide the same, but the alphas of {name!r} have the shape "
                f"{tuple(alphas[name].shape)} in one and {tuple(supernet.alphas[name].shape)} in the next. Build "
                "models that differ in depth and width alone."
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
    """Channels that a wider network has in addition are copies of old ones, drawn at random (Net2Net, Chen et al. 2016,
    https://arxiv.org/abs/1511.05641; DrNAS, section 3.3, and its official code, net2wider.py).

    A tensor of old size n and new size N along its first or second dimension becomes `concat(x, x[index])` there, with
    N - n numbers below n in `index`. Inputs are not divided by the number of their copies, as in the official code:
    batch norm follows. There each convolution draws its own; here all dimensions of the same sizes share one index, so
    that a copied output meets the copied input of the convolution after it.

    Args:
        seed: of the indices.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, old: Tensor, shape: Sequence[int]) -> Tensor | None:
        """`old` in a new shape; None where that is smaller somewhere, or differs in more than two dimensions."""
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
        """Which old channels the additional ones are copies of: (new_size - size,)."""
        generator = torch.Generator().manual_seed(stream_key(self.seed, size, new_size))
        return torch.randint(size, (new_size - size,), generator=generator)


def load_widened(supernet: Supernet, weights: Mapping[str, Tensor], widening: Widening) -> None:
    """Weights and buffers by name; one without a counterpart that it can be widened from stays as it is new."""
    with torch.no_grad():
        for name, tensor in supernet.model.state_dict().items():
            wider = widening(weights[name], tensor.shape) if name in weights else None
            if wider is not None:
                tensor.copy_(wider)


def load_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    names: Sequence[str],
    widening: Widening,
) -> None:
    """The state of an optimizer by the names of its tensors, momentum and moments widened as they are.

    Args:
        optimizer: new, over `tensors` in this order.
        tensors: by name.
        state: `state_dict()` of the optimizer before.
        names: of its tensors, in their order.
        widening: of the weights.
    """
    before = {names[index]: entry for index, entry in state["state"].items()}
    entries = {}
    for index, (name, tensor) in enumerate(tensors.items()):
        entry = {key: _like(value, tensor, widening) for key, value in before.get(name, {}).items()}
        if entry and not any(value is None and before[name][key] is not None for key, value in entry.items()):
            entries[index] = entry
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})


def _like(value: Any, tensor: Tensor, widening: Widening) -> Any:
    """A value of an optimizer's state for a tensor; None where its shape leads nowhere. Counts stay as they are."""
    return widening(value, tensor.shape) if isinstance(value, Tensor) and value.ndim > 0 else value
