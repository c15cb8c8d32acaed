"""The strings of NAS-Bench-201: `|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|...~0|...~1|...~2|`.

Dong and Yang 2020, https://arxiv.org/abs/2001.00326. Nodes follow one another, each with one `operation~state` for
every state before it; state 0 is the cell's input and state 3 its output.
"""

from __future__ import annotations

from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.space.nasbench201 import CANDIDATES, EDGES, NAME, OUTPUT, NasBench201Space
from dnas.system.errors import UserError
from dnas.system.reading import shortened

_EXAMPLE = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|avg_pool_3x3~1|nor_conv_1x1~2|"
_NODES = tuple(dict.fromkeys(target for _, target in EDGES))


def read_nasbench201(text: str, *, source: str = "the text") -> Architecture:
    """The architecture of one string; white space around it is ignored.

    Args:
        text: string of one architecture.
        source: name of the text in messages.

    Raises:
        UserError: it is not such a string; the message names the node.

    Example:
        >>> text = "|none~0|+|none~0|skip_connect~1|+|nor_conv_3x3~0|none~1|none~2|"
        >>> write_nasbench201(read_nasbench201(text)) == text
        True
    """
    nodes = text.strip().split("+")
    if len(nodes) != len(_NODES):
        raise UserError(
            f"{source} has {len(nodes)} nodes, expected {len(_NODES)}, such as {_EXAMPLE}; got {shortened(text)}."
        )
    edges = [edge for node, part in zip(_NODES, nodes, strict=True) for edge in _edges(node, part, source)]
    return NasBench201Space().architecture({NAME: CellArchitecture(tuple(edges), OUTPUT)})


def write_nasbench201(architecture: Architecture) -> str:
    """The string of an architecture.

    Raises:
        UserError: it does not belong to NAS-Bench-201, or lacks one of its operations on one of its six edges.
    """
    cell = architecture.decisions.get(NAME)
    if architecture.space != NasBench201Space.name or not isinstance(cell, CellArchitecture):
        raise UserError(f"Expected a cell of space {NasBench201Space.name!r}; got space {architecture.space!r}.")
    operations = {(edge.source, edge.target): edge.operation for edge in cell.edges}
    if len(cell.edges) != len(EDGES) or set(operations) != set(EDGES) or cell.output != OUTPUT:
        raise UserError(
            f"A NAS-Bench-201 string holds one operation on each of the edges {list(EDGES)} and gives out state "
            f"{OUTPUT[0]}; got edges {list(operations)} and states {list(cell.output)}."
        )
    unknown = [name for name in operations.values() if name not in CANDIDATES]
    if unknown:
        raise UserError(f"NAS-Bench-201 has the operations {', '.join(CANDIDATES)}; got {unknown[0]!r}.")
    nodes = ["|".join(f"{operations[i, node]}~{i}" for i in range(node)) for node in _NODES]
    return "+".join(f"|{node}|" for node in nodes)


def _edges(node: int, part: str, source: str) -> list[KeptEdge]:
    entries = [entry.partition("~") for entry in part.strip().strip("|").split("|")]
    if [state for _, _, state in entries] != [str(state) for state in range(node)] or part.strip()[:1] != "|":
        raise UserError(
            f"{source}: node {node} must have one operation from each of the states 0 to {node - 1}, such as "
            f"{_EXAMPLE.split('+')[node - 1]}; got {shortened(part)}."
        )
    for operation, _, _ in entries:
        if operation not in CANDIDATES:
            raise UserError(
                f"{source}: node {node} has an unknown operation {shortened(operation)}; "
                f"known are {', '.join(CANDIDATES)}."
            )
    return [KeptEdge(state, node, operation) for state, (operation, _, _) in enumerate(entries)]
