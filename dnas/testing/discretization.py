"""The contract of every discretization."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import cast
from zlib import crc32

import torch

from dnas.core.architecture import Architecture, CellArchitecture, Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.method.discretization import Discretization
from dnas.testing.require import copies, require, same, unchanged

NAMES = ("none", "skip_connect", "conv")
EDGES = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
DECISIONS = {
    "act": Decision("act", "choice", NAMES, excluded=("none",)),
    "from": Decision("from", "inputs", ("a", "b", "c"), num_kept=2),
    "normal": Decision("normal", "operations", NAMES, EDGES, 2, ("none",), (2, 3)),
    "normal.edges": Decision("normal.edges", "edges", tuple(f"{i}->{j}" for i, j in EDGES), EDGES),
    "reduce": Decision("reduce", "operations", NAMES, ((0, 1), (0, 2), (1, 2)), None, (), (2,)),
}


def check_discretization(discretization: Discretization) -> None:
    """Check the contract of every discretization, on a choice, an input choice, and two kinds of cells.

    - It keeps something valid for each decision except edge decisions, no excluded or inactive candidate while there is
      another one, and no more than `num_kept` inputs of a node.
    - It asks for evaluations and training only if `needs_training`, and only with existing candidates.
    - It gives the same result when called again and after copying.
    - Mixtures and random states stay bit-identical.

    Args:
        discretization: the part to check; one that limits an operation finds 'skip_connect' in the cell 'normal'.

    Raises:
        AssertionError: names the first point that does not hold.

    Example:
        >>> from dnas import Argmax
        >>> check_discretization(Argmax())
    """
    generator = torch.Generator().manual_seed(0)
    for digits in (1, 6):  # one digit: with ties
        soft = {
            name: Mixture(torch.rand(decision.shape, generator=generator, dtype=torch.float64).round(decimals=digits))
            for name, decision in DECISIONS.items()
        }
        for mixtures in (soft, _pruned(soft)):
            _check_at(discretization, mixtures)


def _pruned(mixtures: Mapping[str, Mixture]) -> dict[str, Mixture]:
    """Rule out one candidate, a different one on each row, except on rows of edges and input choices."""
    found = dict(mixtures)
    for name in ("act", "normal", "reduce"):
        out = [(row + 1) % len(NAMES) for row in range(DECISIONS[name].num_rows)]
        values = mixtures[name].values.reshape(len(out), -1).clone()
        values[range(len(out)), out] = 0.0
        active = tuple(tuple(k for k in range(len(NAMES)) if k != ruled_out) for ruled_out in out)
        found[name] = Mixture(values.reshape(mixtures[name].values.shape), active)
    return found


def _check_at(discretization: Discretization, mixtures: Mapping[str, Mixture]) -> None:
    asked: list[str] = []

    def evaluate(active: Mapping[str, Active]) -> float:
        asked.append("evaluate")
        _check_active(discretization, active)
        return (crc32(repr(sorted(active.items())).encode()) % 1000) / 1000

    def train(epochs: int, active: Mapping[str, Active] | None = None) -> None:
        asked.append("train")
        require(epochs >= 1, discretization, f"trains for {epochs} epochs")
        _check_active(discretization, active or {})

    def kept(part: object = discretization) -> dict[str, Kept]:
        return cast(Discretization, part)(DECISIONS, mixtures, evaluate=evaluate, train=train)

    with unchanged(discretization, {f"mixture {name}": mixture.values for name, mixture in mixtures.items()}):
        found = kept()
    allowed = discretization.needs_training or not asked
    require(allowed, discretization, "evaluates or trains, but says that it does not need training")
    try:
        Architecture(found).check(DECISIONS)
    except ValueError as error:
        raise AssertionError(f"{type(discretization).__name__} keeps what does not fit: {error}") from error
    for name, what in found.items():
        _check_kept(discretization, DECISIONS[name], what, mixtures[name])
    require(same(found, kept()), discretization, "keeps something else when called again")
    for kind, copied in copies(discretization).items():
        require(same(found, kept(copied)), discretization, f"differs from its {kind} copy")


def _check_active(discretization: Discretization, active: Mapping[str, Active]) -> None:
    for name, rows in active.items():
        decision = DECISIONS.get(name)
        fits = decision is not None and len(rows) == decision.num_rows
        fits = fits and all(set(row) <= set(range(len(decision.candidates))) for row in rows)  # type: ignore[union-attr]
        require(fits, discretization, f"asks about the candidates {rows} of {name!r}")


def _check_kept(discretization: Discretization, decision: Decision, kept: Kept, mixture: Mixture) -> None:
    if isinstance(kept, CellArchitecture):
        places = [(decision.edges.index((edge.source, edge.target)), edge.operation) for edge in kept.edges]
        for node, count in Counter(edge.target for edge in kept.edges).items():
            fits = decision.num_kept is None or count <= decision.num_kept
            require(fits, discretization, f"keeps {count} inputs of state {node} of {decision.name!r}")
    else:
        places = [(0, name) for name in ((kept,) if isinstance(kept, str) else kept)]
    for row, name in places:
        require(name not in decision.excluded, discretization, f"keeps {name!r} of {decision.name!r}, excluded there")
        active = [decision.names(row)[k] for k in mixture.row(row)]
        possible = name in active or set(active) <= set(decision.excluded)
        require(possible, discretization, f"keeps {name!r} of {decision.name!r}, which is not active there")
