"""The text in which DARTS and its successors publish cells: `Genotype(normal=[('sep_conv_3x3', 1), ...], ...)`.

Liu et al. 2019, https://arxiv.org/abs/1806.09055, official code. Every node of a cell has two entries (operation,
source state), node after node; states 0 and 1 are the cell's inputs, so the first node is state 2.

FairDARTS (Chu et al. 2020, https://github.com/xiaomi-automl/FairDARTS, fairdarts/genotypes.py and utils.py) names the
node too, in triples (operation, node, source state), one or more for each node. Fields may be given by position, and
numbers may be written as NumPy prints them, `np.int64(1)`.

A recurrent cell is published as `Genotype(recurrent=[('relu', 0), ...], concat=range(1, 9))`: one entry (activation,
source state) for each node, the first of which is state 1.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from dnas.core.architecture import Architecture, CellArchitecture, Kept, KeptEdge
from dnas.space.base import MOST_NODES, check_count
from dnas.space.ops import OPERATIONS
from dnas.space.recurrent import RecurrentSpace
from dnas.space.recurrent_model import ACTIVATIONS
from dnas.system.errors import UserError
from dnas.system.reading import in_one_line, shortened

SPACE = "darts"
VERSION = 1
NUM_INPUTS = 2
EDGES_PER_NODE = 2
CELLS = ("normal", "reduce")
FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
RECURRENT = "recurrent"
RECURRENT_FIELDS = (RECURRENT, "concat")


def read_genotype(text: str, *, name: str | None = None, source: str = "the text") -> Architecture:
    """The architecture that a genotype text describes, in the space of DARTS or in its recurrent space.

    The text may hold other lines, such as those of a Python file or of a log; nothing in it is evaluated. Operations
    may be any of `dnas.space.ops.OPERATIONS`, the number of nodes and the concatenated states are free, and a node may
    take the same state twice, as in NASNet and AmoebaNet.

    Args:
        text: text with `Genotype(...)` or `NAME = Genotype(...)` in it.
        name: NAME of the genotype to read, if there are several.
        source: name of the text in messages.

    Raises:
        UserError: there is no genotype, several and none chosen, or an invalid one; the message names the place.

    Example:
        >>> cell = "[('skip_connect', 0), ('sep_conv_3x3', 1)]"
        >>> text = f"Genotype(normal={cell}, normal_concat=[2], reduce={cell}, reduce_concat=range(2, 3))"
        >>> read_genotype(text).decisions["reduce"]
        CellArchitecture(edges=(KeptEdge(source=0, target=2, operation='skip_connect'), \
KeptEdge(source=1, target=2, operation='sep_conv_3x3')), output=(2,))
    """
    chosen, call = _chosen(genotype_calls(text, source), name, source)
    place = f"{source}: {chosen}" if chosen else source
    parts = _parts(call, place)
    if RECURRENT in parts:
        return _recurrent(parts, place)
    cells = {cell: _cell(parts[cell], parts[f"{cell}_concat"], cell, place) for cell in CELLS}
    nodes = {cell: num_states(kept.edges) - NUM_INPUTS for cell, kept in cells.items()}
    if nodes["normal"] != nodes["reduce"]:
        raise UserError(
            f"{place}: 'normal' has {nodes['normal']} nodes and 'reduce' {nodes['reduce']}; expected as many."
        )
    return Architecture(dict(cells), SPACE, VERSION, {"nodes": nodes["normal"]})


def write_genotype(architecture: Architecture) -> str:
    """The genotype text of an architecture; edges keep their order.

    Raises:
        UserError: it belongs to neither space of DARTS, or cannot be written as a genotype (a node of a convolutional
            cell has only one edge).
    """
    if architecture.space == RecurrentSpace.name:
        return _written_recurrent(architecture)
    if architecture.space != SPACE or set(architecture.decisions) != set(CELLS):
        raise UserError(
            f"A genotype text describes the cells 'normal' and 'reduce' of space {SPACE!r}; got "
            f"{sorted(architecture.decisions)} of space {architecture.space!r}. Use architecture.json."
        )
    parts = [part for cell in CELLS for part in _written(cell, architecture.decisions[cell])]
    return f"Genotype({', '.join(parts)})"


def genotype_calls(text: str, source: str = "the text") -> list[tuple[str, str]]:
    """All `NAME = Genotype(...)` in a text as (NAME, 'Genotype(...)'); NAME is '' if there is none."""
    found, num_unclosed = [], 0
    start = text.find(_CALL)
    while start >= 0 and num_unclosed <= _MOST_UNCLOSED:
        line = text[text.rfind("\n", max(start - _LONGEST, 0), start) + 1 : start]
        end = _closing(text, start + len(_CALL) - 1)
        if end is None:
            num_unclosed += 1
        elif "#" not in line and not _is_name_part(line[-1:]):
            found.append((_assigned_name(line), text[start : end + 1]))
        start = text.find(_CALL, start + 1 if end is None else end + 1)
    if num_unclosed > _MOST_UNCLOSED:
        raise UserError(f"{source} holds more than {_MOST_UNCLOSED} genotypes whose brackets are not closed.")
    return list(dict.fromkeys(found))


_CALL = "Genotype("
# In characters. Published genotypes have about 600; a bracket that is open for longer counts as not closed.
_LONGEST = 20_000
# Each costs a look at so many characters. A log may be cut off in a few places.
_MOST_UNCLOSED = 100


def _assigned_name(line: str) -> str:
    """NAME of a line that begins like 'NAME = '; a log may have a time and date before it."""
    before, equals, after = line.rpartition("=")
    words = before.split()
    return words[-1] if equals and not after.strip() and words and words[-1].isidentifier() else ""


def _is_name_part(character: str) -> bool:
    return character.isalnum() or character == "_"


def _closing(text: str, opening: int) -> int | None:
    """Index of the bracket that closes the one at `opening`, skipping strings and comments; None if there is none."""
    depth, index = 0, opening
    while index < min(len(text), opening + _LONGEST):
        character = text[index]
        if character in "'\"":
            index = text.find(character, index + 1)
        elif character == "#":
            index = text.find("\n", index)
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth == 0:
                return index
        if index < 0:
            return None
        index += 1
    return None


def _chosen(calls: list[tuple[str, str]], name: str | None, source: str) -> tuple[str, str]:
    """The one genotype of this name, or the only one."""
    matching = [call for call in calls if name is None or call[0] == name]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(dict.fromkeys(call_name or "(unnamed)" for call_name, _ in calls))
    if not calls:
        raise UserError(
            f"{source} holds no complete genotype: expected Genotype(normal=[...], normal_concat=[...], reduce=[...], "
            "reduce_concat=[...]) with all brackets closed."
        )
    if not matching:
        raise UserError(f"{source} holds no genotype named {name!r}; it has {names}.")
    if name is None:
        raise UserError(f"{source} holds {len(calls)} genotypes: {names}. Name the one to read.")
    raise UserError(f"{source} holds {len(matching)} different genotypes named {name!r}; keep one of them.")


def _parts(call: str, place: str) -> dict[str, ast.expr]:
    """The fields of the call as syntax trees, not evaluated."""
    try:
        expression = ast.parse(call, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{place} is not a readable genotype: {in_one_line(error)}.") from error
    if not isinstance(expression, ast.Call):
        raise UserError(f"{place} is not a readable genotype: expected Genotype(...).")
    fields = RECURRENT_FIELDS if len(expression.args) == len(RECURRENT_FIELDS) else FIELDS
    by_position = dict(zip(fields, expression.args, strict=False))
    names = [*by_position, *(keyword.arg for keyword in expression.keywords)]
    names += ["another"] * (len(expression.args) - len(by_position))
    if sorted(map(str, names)) not in (sorted(FIELDS), sorted(RECURRENT_FIELDS)):
        raise UserError(
            f"{place}: a genotype has the fields {', '.join(FIELDS)}, or {' and '.join(RECURRENT_FIELDS)}, each once; "
            f"got {names}."
        )
    return by_position | {str(keyword.arg): keyword.value for keyword in expression.keywords}


def _cell(entries: ast.expr, concat: ast.expr, name: str, place: str) -> CellArchitecture:
    edges = tuple(_edges(_literal(entries, f"{place}: {name}"), name, place))
    states = num_states(edges)
    return CellArchitecture(edges, _output(concat, states, f"{place}: {name}_concat", first=_first_output(name)))


def num_states(edges: Sequence[KeptEdge]) -> int:
    """Number of states of a cell, its inputs included."""
    return max(edge.target for edge in edges) + 1


def _recurrent(parts: dict[str, ast.expr], place: str) -> Architecture:
    entries = _literal(parts[RECURRENT], f"{place}: {RECURRENT}")
    if not isinstance(entries, list | tuple) or not entries:
        raise UserError(f"{place}: {RECURRENT} must be a list of (activation, state) pairs; got {shortened(entries)}.")
    edges = []
    for node, entry in enumerate(entries, start=1):
        where = f"{place}: {RECURRENT}[{node - 1}]"
        if not (isinstance(entry, tuple | list) and len(entry) == 2 and [type(part) for part in entry] == [str, int]):
            raise UserError(f"{where} must be (activation, state), such as ('relu', 0); got {shortened(entry)}.")
        activation, state = entry
        if activation not in ACTIVATIONS:
            raise UserError(
                f"{where} has an unknown activation {shortened(activation)}; known are {', '.join(ACTIVATIONS)}."
            )
        if not 0 <= state < node:
            raise UserError(
                f"{where} goes from state {shortened(state)} into state {node}; it must come from 0 to {node - 1}."
            )
        edges.append(KeptEdge(state, node, activation))
    output = _output(parts["concat"], len(edges) + 1, f"{place}: concat", first=0)
    return RecurrentSpace(nodes=len(edges)).architecture({RECURRENT: CellArchitecture(tuple(edges), output)})


def _first_output(cell: str) -> int:
    """First possible output state: a reduction cell's inputs are too large to be concatenated with its nodes."""
    return NUM_INPUTS if cell == "reduce" else 0


def _edges(entries: Any, name: str, place: str) -> Iterator[KeptEdge]:
    """The edges of a cell, node after node."""
    if isinstance(entries, list | tuple) and entries and all(_is_entry(entry, [str, int, int]) for entry in entries):
        yield from _edges_of_triples(entries, name, place)
        return
    if not isinstance(entries, list | tuple) or not entries or len(entries) % EDGES_PER_NODE:
        raise UserError(
            f"{place}: {name} must be a list of (operation, state) pairs, {EDGES_PER_NODE} for each node; "
            f"got {shortened(entries)}."
        )
    for position, entry in enumerate(entries):
        where = f"{place}: {name}[{position}]"
        if not _is_entry(entry, [str, int]):
            raise UserError(f"{where} must be (operation, state), such as ('sep_conv_3x3', 0); got {shortened(entry)}.")
        operation, state = entry
        yield _edge(operation, state, NUM_INPUTS + position // EDGES_PER_NODE, where)


def _edges_of_triples(entries: Sequence[tuple[str, int, int]], name: str, place: str) -> list[KeptEdge]:
    """The edges of entries (operation, node, source state)."""
    edges = [
        _edge(operation, state, node, f"{place}: {name}[{position}]")
        for position, (operation, node, state) in enumerate(entries)
    ]
    without = sorted(set(range(NUM_INPUTS, num_states(edges))) - {edge.target for edge in edges})
    if without:
        raise UserError(f"{place}: {name} has no entry for node {without[0]}; every node needs one.")
    return sorted(edges, key=lambda edge: edge.target)


def _is_entry(entry: Any, types: list[type]) -> bool:
    return isinstance(entry, tuple | list) and [type(part) for part in entry] == types


def _edge(operation: str, state: int, node: int, where: str) -> KeptEdge:
    if node < NUM_INPUTS:
        raise UserError(f"{where} goes into state {shortened(node)}, which is an input of the cell.")
    check_count("nodes", node - NUM_INPUTS + 1, most=MOST_NODES)
    if operation not in OPERATIONS:
        raise UserError(f"{where} has an unknown operation {shortened(operation)}; known are {', '.join(OPERATIONS)}.")
    if not 0 <= state < node:
        raise UserError(
            f"{where} goes from state {shortened(state)} into state {node}; it must come from 0 to {node - 1}."
        )
    return KeptEdge(state, node, operation)


def _output(concat: ast.expr, num_states: int, where: str, *, first: int) -> tuple[int, ...]:
    states = _range(concat, where) if isinstance(concat, ast.Call) else _literal(concat, where)
    fits = isinstance(states, list | tuple) and bool(states) and all(type(state) is int for state in states)
    if not fits or len(set(states)) != len(states) or not all(first <= state < num_states for state in states):
        raise UserError(
            f"{where} must list states from {first} to {num_states - 1}, each once; got {shortened(states)}."
        )
    return tuple(states)


def _range(call: ast.Call, where: str) -> list[int]:
    """The numbers of `range(a, b)`; any other call is refused."""
    is_range = isinstance(call.func, ast.Name) and call.func.id == "range" and not call.keywords
    bounds = [_literal(argument, where) for argument in call.args] if is_range else []
    if len(bounds) not in (1, 2) or not all(type(bound) is int and 0 <= bound <= 1000 for bound in bounds):
        raise UserError(f"{where} must be a list of states or range(first, last + 1); got another call.")
    return list(range(*bounds))


def _literal(expression: ast.expr, where: str) -> Any:
    try:
        return ast.literal_eval(_NumpyScalars().visit(expression))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise UserError(f"{where} must be plain data, without names and calls.") from error


class _NumpyScalars(ast.NodeTransformer):
    """Puts x for `np.int64(x)` and other scalars that NumPy prints so; nothing is called."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        match node.func:
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=name) if name in _SCALARS:
                is_plain = len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and not node.keywords
                return node.args[0] if is_plain else node
        return node


_SCALARS = ("int8", "int16", "int32", "int64", "intp", "uint8", "uint16", "uint32", "uint64", "str_")


def _written(name: str, cell: Kept) -> list[str]:
    if not isinstance(cell, CellArchitecture):
        raise UserError(f"{name!r} must be a cell; got {cell!r}.")
    targets = [edge.target for edge in cell.edges]
    num_nodes = max(targets, default=NUM_INPUTS - 1) + 1 - NUM_INPUTS
    expected = [NUM_INPUTS + position // EDGES_PER_NODE for position in range(EDGES_PER_NODE * num_nodes)]
    if targets != expected or not targets:
        raise UserError(
            f"A genotype text holds exactly {EDGES_PER_NODE} edges for each node, from state {NUM_INPUTS} on; "
            f"the edges of {name!r} enter states {targets}. Use architecture.json."
        )
    entries = [(edge.operation, edge.source) for edge in cell.edges]
    return [f"{name}={entries}", f"{name}_concat={list(cell.output)}"]


def _written_recurrent(architecture: Architecture) -> str:
    RecurrentSpace().check(architecture)
    cell = architecture.decisions[RECURRENT]
    assert isinstance(cell, CellArchitecture)
    targets = [edge.target for edge in cell.edges]
    if len(set(targets)) != len(targets):
        raise UserError(
            f"A genotype text holds one edge for each node of a recurrent cell; got edges into {targets}. "
            "Use architecture.json."
        )
    entries = [(edge.operation, edge.source) for edge in cell.edges]
    return f"Genotype({RECURRENT}={entries}, concat={list(cell.output)})"
