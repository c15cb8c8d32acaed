"""Whether a network needs everything that its architecture keeps."""

from __future__ import annotations

from collections.abc import Mapping

from dnas.core.architecture import CellArchitecture, Kept

NONE = "none"


def needs_all(kept: Mapping[str, Kept]) -> bool:
    """Whether no kept operation of a cell sees only zeros or gives its result to nobody.

    'none' makes zeros. onnxruntime leaves out what depends on zeros alone and what the output does not depend on, so
    such a network takes less time than the sum of its parts.

    Example:
        >>> from dnas.core.architecture import KeptEdge
        >>> edges = (KeptEdge(0, 1, "none"), KeptEdge(0, 2, "skip_connect"), KeptEdge(1, 2, "nor_conv_3x3"))
        >>> needs_all({"cell": CellArchitecture(edges, (2,))})
        False
    """
    return all(_cell_needs_all(cell) for cell in kept.values() if isinstance(cell, CellArchitecture))


def _cell_needs_all(cell: CellArchitecture) -> bool:
    edges = [edge for edge in cell.edges if edge.operation != NONE]
    targets = {edge.target for edge in cell.edges}
    filled = {edge.source for edge in cell.edges} - targets  # inputs of the cell
    for edge in sorted(edges, key=lambda edge: edge.target):
        if edge.source in filled:
            filled.add(edge.target)
    used = set(cell.output)
    for edge in sorted(edges, key=lambda edge: -edge.target):
        if edge.target in used:
            used.add(edge.source)
    return all(edge.source in filled and edge.target in used for edge in edges)
