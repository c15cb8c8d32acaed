"""What a search has found: which candidates are kept, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.picture.architecture import architecture_svg
from dnas.system.atomic import write_text
from dnas.system.digest import sealed_json, without_seal
from dnas.system.errors import UserError
from dnas.system.reading import parse_json, read_text, shortened

FORMAT = "dnas-architecture"
FORMAT_VERSION = 1
# Published architectures have 14 edges a cell and states up to 8; a file with more than these is damaged.
LARGEST = 10_000_000  # bytes
MOST_STATES = 1000
MOST_EDGES = 5000  # of a cell
MOST_DECISIONS = 10_000


class KeptEdge(NamedTuple):
    """One edge of a found cell: state `source` goes through `operation` into state `target`."""

    source: int
    target: int
    operation: str


@dataclass(frozen=True)
class CellArchitecture:
    """A found cell: its edges in order of target, and the states that its output concatenates."""

    edges: tuple[KeptEdge, ...]
    output: tuple[int, ...]


# A choice keeps a candidate's name, an input choice the names of its inputs, a cell its edges.
Kept = str | tuple[str, ...] | CellArchitecture


@dataclass(frozen=True)
class Architecture:
    """The part of each decision that is kept.

    Args:
        decisions: maps each decision's name to the kept part of it.
        space: name of the space that the architecture belongs to; 'module' for a user's own model.
        version: version of that space.
        arguments: the space's own arguments (numbers, strings, lists), which are enough to build it again.
    """

    decisions: Mapping[str, Kept]
    space: str = "module"
    version: int = 1
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Indented JSON with a format name and version."""
        return json.dumps(self.to_data(), indent=2)

    def to_data(self) -> dict[str, Any]:
        """Plain data as JSON holds it."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "space": self.space,
            "version": self.version,
            "arguments": dict(self.arguments),
            "decisions": {name: _kept_to_data(kept) for name, kept in self.decisions.items()},
        }

    @staticmethod
    def from_json(text: str, *, source: str = "the text") -> Architecture:
        """Parse the JSON text of an architecture and validate it.

        Raises:
            UserError: the text is not JSON, or not an architecture; the message names `source` and the place.
        """
        data = parse_json(text, source)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UserError(f'{source} is not an architecture: expected an object with "format": "{FORMAT}".')
        data = without_seal(data, text, source=source)
        if data.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"{source} has format_version {data.get('format_version')!r}; this dnas reads {FORMAT_VERSION}."
            )
        unknown = set(data) - {"format", "format_version", "space", "version", "arguments", "decisions"}
        if unknown:
            raise UserError(f"{source} has unknown entries {shortened(sorted(unknown))}.")
        _expect(isinstance(data.get("space"), str), source, "space", "a string", data.get("space"))
        _expect(type(data.get("version")) is int, source, "version", "a whole number", data.get("version"))
        _expect(isinstance(data.get("arguments"), dict), source, "arguments", "an object", data.get("arguments"))
        _expect(isinstance(data.get("decisions"), dict), source, "decisions", "an object", data.get("decisions"))
        count = len(data["decisions"])
        _expect(count <= MOST_DECISIONS, source, "decisions", f"at most {MOST_DECISIONS:,}", count)
        kept = {name: _kept_from_data(value, source, name) for name, value in data["decisions"].items()}
        return Architecture(kept, data["space"], data["version"], data["arguments"])

    def save(self, path: Path | str) -> None:
        """Write the architecture as JSON with its digest; if writing is interrupted, the old file stays."""
        write_text(Path(path), sealed_json(self.to_data()))

    @staticmethod
    def load(path: Path | str) -> Architecture:
        """Read a JSON file.

        Raises:
            FileNotFoundError: the file does not exist.
            UserError: the file is not an architecture.
        """
        return Architecture.from_json(read_text(path, most=LARGEST), source=str(path))

    def to_svg(self) -> str:
        """Its picture: cells as graphs, other decisions as a row of boxes.

        Raises:
            UserError: it decides nothing, or is too large to be drawn.
        """
        return architecture_svg(self.to_data())

    def _repr_svg_(self) -> str | None:
        """What a notebook shows; its text where there is no picture."""
        try:
            return self.to_svg()
        except UserError:  # too large, or empty: the text says it
            return None

    def check(self, decisions: Mapping[str, Decision]) -> None:
        """Check that this architecture answers exactly these decisions.

        Raises:
            UserError: names the first decision that does not fit.
        """
        wanted = {name: decision for name, decision in decisions.items() if decision.kind != "edges"}
        if set(wanted) != set(self.decisions):
            raise UserError(
                f"The architecture decides {sorted(self.decisions)}, the model needs {sorted(wanted)}: "
                "they belong to different spaces."
            )
        for name, decision in wanted.items():
            _check_kept(self.decisions[name], decision)

    def one_hot(self, decisions: Mapping[str, Decision], like: torch.Tensor) -> dict[str, Mixture]:
        """Mixtures that are 1 for kept candidates and 0 elsewhere, with the device and dtype of `like`.

        A supernet under these mixtures computes what the derived network computes.
        """
        self.check(decisions)
        return {
            name: _one_hot_edges(decision, like)
            if decision.kind == "edges"
            else _one_hot(self.decisions[name], decision, like)
            for name, decision in decisions.items()
        }


def _expect(fits: bool, source: str, place: str, expected: str, got: object) -> None:
    if not fits:
        raise UserError(f"{source}: {place} must be {expected}; got {shortened(got)}.")


def _kept_to_data(kept: Kept) -> Any:
    if isinstance(kept, CellArchitecture):
        return {"edges": [list(edge) for edge in kept.edges], "output": list(kept.output)}
    return kept if isinstance(kept, str) else list(kept)


def _kept_from_data(data: Any, source: str, name: str) -> Kept:
    place = f"decisions.{name}"
    if isinstance(data, str):
        return data
    if isinstance(data, list):
        _expect(all(isinstance(item, str) for item in data), source, place, "a list of names", data)
        return tuple(data)
    _expect(isinstance(data, dict) and set(data) == {"edges", "output"}, source, place, "a cell, list or name", data)
    edges, output = data["edges"], data["output"]
    _expect(isinstance(edges, list), source, f"{place}.edges", "a list", edges)
    _expect(len(edges) <= MOST_EDGES, source, f"{place}.edges", f"at most {MOST_EDGES:,}", len(edges))
    for edge in edges:
        fits = isinstance(edge, list) and len(edge) == 3 and [type(part) for part in edge] == [int, int, str]
        _expect(fits, source, f"{place}.edges", "a list of [source, target, operation]", edge)
        upward = 0 <= edge[0] < edge[1] < MOST_STATES
        _expect(upward, source, f"{place}.edges", f"edges that go upward, to states below {MOST_STATES:,}", edge)
    targets = [edge[1] for edge in edges]
    _expect(targets == sorted(targets), source, f"{place}.edges", "in order of their targets", edges)
    fits = isinstance(output, list) and 1 <= len(output) <= MOST_STATES
    fits = fits and all(type(index) is int and 0 <= index < MOST_STATES for index in output)
    _expect(fits, source, f"{place}.output", f"a list of state indices, each below {MOST_STATES:,}", output)
    return CellArchitecture(tuple(KeptEdge(*edge) for edge in edges), tuple(output))


def _check_kept(kept: Kept, decision: Decision) -> None:
    expected = {"choice": str, "inputs": tuple, "operations": CellArchitecture}[decision.kind]
    if not isinstance(kept, expected):
        raise UserError(f"Decision {decision.name!r} is of kind {decision.kind!r}; the architecture has {kept!r}.")
    if isinstance(kept, CellArchitecture):
        _check_cell(kept, decision)
        entries = [(decision.edges.index((edge.source, edge.target)), edge.operation) for edge in kept.edges]
    else:
        entries = [(0, name) for name in ((kept,) if isinstance(kept, str) else kept)]
    names = [name for _, name in entries]
    for row, name in entries:
        if name not in decision.names(row):
            where = f" from state {decision.edges[row][0]} to {decision.edges[row][1]}" if decision.on_edges else ""
            raise UserError(
                f"Decision {decision.name!r} has no candidate {name!r}{where}: {list(decision.names(row))}."
            )
    if decision.kind == "inputs" and not (names and len(set(names)) == len(names) <= (decision.num_kept or len(names))):
        raise UserError(
            f"Decision {decision.name!r} keeps 1 to {decision.num_kept} different inputs; "
            f"the architecture {list(names)}."
        )


def _check_cell(kept: CellArchitecture, decision: Decision) -> None:
    for edge in kept.edges:
        if (edge.source, edge.target) not in decision.edges:
            raise UserError(f"Cell {decision.name!r} has no edge from state {edge.source} to {edge.target}.")
    targets = [edge.target for edge in kept.edges]
    if targets != sorted(targets):  # a state would be used before it is complete
        raise UserError(f"Cell {decision.name!r}: edges must be in order of their targets; got {targets}.")
    missing = set(decision.nodes) - set(targets)
    if missing:
        raise UserError(f"Cell {decision.name!r}: the architecture keeps no edge into states {sorted(missing)}.")
    if kept.output != decision.output:
        raise UserError(
            f"Cell {decision.name!r} gives out states {list(decision.output)}; "
            f"the architecture {list(kept.output)}. space.network(architecture) can build it."
        )


def _one_hot(kept: Kept, decision: Decision, like: torch.Tensor) -> Mixture:
    if isinstance(kept, CellArchitecture):
        named = [(decision.edges.index((edge.source, edge.target)), edge.operation) for edge in kept.edges]
    else:
        named = [(0, name) for name in ((kept,) if isinstance(kept, str) else kept)]
    entries = [(row, decision.names(row).index(name)) for row, name in named]
    values = torch.zeros(decision.num_rows, len(decision.candidates))
    for row, k in entries:
        values[row, k] += 1  # NASNet keeps the same operation on the same edge twice
    active = tuple(tuple(row.nonzero().flatten().tolist()) for row in values)
    return Mixture(values.reshape(decision.shape).to(device=like.device, dtype=like.dtype), active)


def _one_hot_edges(decision: Decision, like: torch.Tensor) -> Mixture:
    # The kept operations say which edges are kept; a kept edge has its full weight.
    return Mixture(torch.ones(decision.shape, device=like.device, dtype=like.dtype))
