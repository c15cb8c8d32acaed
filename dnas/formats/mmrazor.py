"""The YAML in which MMRazor stores a subnet of DARTS.

OpenMMLab's model compression toolbox, https://github.com/open-mmlab/mmrazor (versions 0.x and 1.x). It maps names to
`{chosen: [...]}`: `normal_n3` names the kept edges of node 3 of the normal cell, `normal_n3_p2` the operation on its
edge from state 2. States 0 and 1 are the inputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.space.ops import OPERATIONS
from dnas.system.errors import MissingPackage, UserError
from dnas.system.reading import parse_yaml, shortened

SPACE = "darts"
VERSION = 1
NUM_INPUTS = 2
CELLS = ("normal", "reduce")

# MMRazor's names of operations that have another name here.
_OWN_NAMES = {"zero": "none"}
_ENTRY = re.compile(r"(normal|reduce)_n(\d{1,2})(?:_p(\d{1,2}))?")
_INSTALL = 'Reading and writing MMRazor\'s YAML needs pyyaml: pip install ".[cli]" in a clone of dnas.'


def read_mmrazor(text: str, *, source: str = "the text") -> Architecture:
    """The architecture of a subnet file, in the space of DARTS.

    Entries of edges that were not kept are checked and then ignored. The cells concatenate all nodes.

    Args:
        text: YAML, read as plain data.
        source: name of the text in messages.

    Raises:
        UserError: it is not such a file; the message names the entry.
        MissingPackage: pyyaml is not installed.
    """
    chosen = _chosen_by_name(_mapping(text, source), source)
    nodes = _num_nodes(chosen, source)
    cells = {cell: _cell(cell, nodes, chosen, source) for cell in CELLS}
    return Architecture(dict(cells), SPACE, VERSION, {"nodes": nodes})


def write_mmrazor(architecture: Architecture) -> str:
    """The YAML of an architecture, with entries for its kept edges only.

    Raises:
        UserError: it does not belong to the space of DARTS, or cannot be written in MMRazor's format.
        MissingPackage: pyyaml is not installed.
    """
    if architecture.space != SPACE or set(architecture.decisions) != set(CELLS):
        raise UserError(
            f"MMRazor's YAML describes the cells 'normal' and 'reduce' of space {SPACE!r}; got "
            f"{sorted(architecture.decisions)} of space {architecture.space!r}. Use architecture.json."
        )
    entries: dict[str, dict[str, list[str]]] = {}
    for name in CELLS:
        cell = architecture.decisions[name]
        if not isinstance(cell, CellArchitecture):
            raise UserError(f"{name!r} must be a cell; got {cell!r}.")
        entries |= _written(name, cell)
    return _yaml().safe_dump(entries, sort_keys=False)


def _yaml():
    try:
        import yaml
    except ImportError as error:
        raise MissingPackage(_INSTALL) from error
    return yaml


def _mapping(text: str, source: str) -> Mapping[object, object]:
    data = parse_yaml(text, source)
    if not isinstance(data, dict):
        raise UserError(
            f"{source} must be a map such as normal_n2: {{chosen: [normal_n2_p0]}}; got {type(data).__name__}."
        )
    return data


def _chosen_by_name(data: Mapping[object, object], source: str) -> dict[str, list[str]]:
    """Entry name -> its choice, after checking every entry's form."""
    found: dict[str, list[str]] = {}
    for name, entry in data.items():
        if not isinstance(name, str) or not _ENTRY.fullmatch(name):
            raise UserError(
                f"{source}: unknown entry {shortened(name)}; expected names such as normal_n3 and reduce_n3_p2."
            )
        chosen = entry.get("chosen") if isinstance(entry, dict) and set(entry) == {"chosen"} else None
        if isinstance(chosen, str):
            chosen = [chosen]
        if not isinstance(chosen, list) or not chosen or not all(isinstance(item, str) for item in chosen):
            raise UserError(
                f"{source}: {name} must be {{chosen: [...]}} with one or more names; got {shortened(entry)}."
            )
        found[name] = chosen
    return found


def _num_nodes(chosen: Mapping[str, list[str]], source: str) -> int:
    """Number of nodes, which must be the same in both cells."""
    nodes: dict[str, set[int]] = {cell: set() for cell in CELLS}
    for name in chosen:
        match = _ENTRY.fullmatch(name)
        assert match is not None
        if match[3] is None:
            nodes[match[1]].add(int(match[2]))
        elif int(match[2]) < NUM_INPUTS or int(match[3]) >= int(match[2]):
            raise UserError(f"{source}: {name} is no edge: it must lead from a lower state into a node.")
    for cell, found in nodes.items():
        missing = set(range(NUM_INPUTS, max(found, default=NUM_INPUTS) + 1)) ^ found
        if missing:
            raise UserError(
                f"{source}: the nodes of a cell are n{NUM_INPUTS} and up without a gap; "
                f"missing or too low: {[f'{cell}_n{node}' for node in sorted(missing)]}."
            )
    if nodes["normal"] != nodes["reduce"]:
        raise UserError(
            f"{source}: 'normal' has {len(nodes['normal'])} nodes and 'reduce' {len(nodes['reduce'])}; "
            "expected as many."
        )
    return len(nodes["normal"])


def _cell(cell: str, num_nodes: int, chosen: Mapping[str, list[str]], source: str) -> CellArchitecture:
    states = range(NUM_INPUTS, NUM_INPUTS + num_nodes)
    edges = tuple(edge for node in states for edge in _edges(f"{cell}_n{node}", node, chosen, source))
    for name in chosen:
        match = _ENTRY.fullmatch(name)
        if match and match[1] == cell and match[3] is not None:
            _operation(name, chosen, source)
            if int(match[2]) not in states:
                raise UserError(f"{source}: {name} is an edge into a node that has no entry {cell}_n{match[2]}.")
    return CellArchitecture(edges, tuple(states))


def _edges(name: str, node: int, chosen: Mapping[str, list[str]], source: str) -> list[KeptEdge]:
    names = [f"{name}_p{state}" for state in range(node)]
    kept = chosen[name]
    for edge in kept:
        if edge not in names:
            raise UserError(f"{source}: {name} keeps {edge!r}; its edges are {', '.join(names)}.")
        if edge not in chosen:
            raise UserError(f"{source}: {name} keeps {edge}, but there is no entry {edge} with its operation.")
    if len(set(kept)) != len(kept):
        raise UserError(f"{source}: {name} keeps an edge twice: {kept}.")
    return [KeptEdge(names.index(edge), node, _operation(edge, chosen, source)) for edge in kept]


def _operation(name: str, chosen: Mapping[str, list[str]], source: str) -> str:
    if len(chosen[name]) != 1:
        raise UserError(f"{source}: {name} is an edge and must choose one operation; got {chosen[name]}.")
    operation = _OWN_NAMES.get(chosen[name][0], chosen[name][0])
    if operation not in OPERATIONS:
        raise UserError(f"{source}: {name} has an unknown operation {operation!r}; known are {', '.join(OPERATIONS)}.")
    return operation


def _written(name: str, cell: CellArchitecture) -> dict[str, dict[str, list[str]]]:
    targets = tuple(dict.fromkeys(edge.target for edge in cell.edges))
    edges = [(edge.source, edge.target) for edge in cell.edges]
    if cell.output != targets or targets != tuple(range(NUM_INPUTS, NUM_INPUTS + len(targets))) or not targets:
        raise UserError(
            f"In MMRazor's YAML a cell concatenates all of its nodes; {name!r} has nodes {list(targets)} and gives out "
            f"{list(cell.output)}. Use architecture.json."
        )
    if len(set(edges)) != len(edges):
        raise UserError(
            f"In MMRazor's YAML an edge has one operation; {name!r} has edges {edges}. Use architecture.json."
        )
    their_names = {own: theirs for theirs, own in _OWN_NAMES.items()}
    found: dict[str, dict[str, list[str]]] = {}
    for node in targets:
        kept = [edge for edge in cell.edges if edge.target == node]
        found[f"{name}_n{node}"] = {"chosen": [f"{name}_n{node}_p{edge.source}" for edge in kept]}
        for edge in kept:
            operation = their_names.get(edge.operation, edge.operation)
            found[f"{name}_n{node}_p{edge.source}"] = {"chosen": [operation]}
    return found
