"""YAML as plain data: every key once, aliases bounded, no tags but those of numbers, text, lists and mappings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dnas.system.errors import MissingPackage, UserError
from dnas.system.reading.files import read_bytes
from dnas.system.reading.refusal import refusing, shortened

LARGEST = 2 * 2**20  # bytes; PyYAML reads about a megabyte in ten seconds
MOST_ENTRIES = 100_000  # with every alias written out
LONGEST_NUMBER = 100  # characters; Python's integers of a million digits take minutes

_PLAIN = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge")
)


def parse_yaml(text: str, source: object = "the text") -> Any:
    """YAML as dicts, lists, text, numbers, true, false and null.

    Raises:
        UserError: no YAML, a key that is set twice, other tags (such as dates), or more than 100,000 entries with its
            aliases written out.
        MissingPackage: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingPackage('Reading YAML needs PyYAML: pip install ".[cli]" in a clone of dnas') from error
    with refusing(source, "is not readable YAML"):
        if len(text) > LARGEST:
            raise ValueError(f"it has {len(text):,} characters; at most {LARGEST:,} are read")
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_nodes(node, source)
            return loader.construct_document(node)
        finally:
            loader.dispose()


def read_yaml(path: Path | str) -> Any:
    """A file of YAML as plain data.

    Raises:
        FileNotFoundError: there is none.
        UserError: as `read_bytes` and `parse_yaml`; the message names the file.
        MissingPackage: PyYAML is not installed.
    """
    content = read_bytes(path, most=LARGEST)
    with refusing(path, "is not readable YAML"):
        text = content.decode("utf-8")
    return parse_yaml(text, path)


def _check_nodes(root: Any, source: object) -> None:
    """Walk a document as it will be after its aliases are written out."""
    import yaml

    todo: list[tuple[str, Any, tuple[int, ...]]] = [("", root, ())]
    entries = 0
    while todo:
        place, node, above = todo.pop()
        entries += 1
        if entries > MOST_ENTRIES or id(node) in above:
            raise UserError(
                f"{source} is not readable YAML: written out, its aliases make more than {MOST_ENTRIES:,} entries."
            )
        if node.tag not in _PLAIN:
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            raise UserError(
                f"{source} is not readable YAML: line {node.start_mark.line + 1} holds a {kind!r}; expected text (in "
                "quotes where it looks like a date), numbers, lists and mappings."
            )
        if isinstance(node, yaml.MappingNode):
            inner = [(f"{name}.", value) for name, value in _named_once(node, place, source)]
            inner += [(place, key) for key, _ in node.value if not isinstance(key, yaml.ScalarNode)]
        elif isinstance(node, yaml.SequenceNode):
            inner = [(place, item) for item in node.value]
        else:
            _check_number(node, source)
            continue
        todo += [(name, item, (*above, id(node))) for name, item in inner]


def _named_once(node: Any, place: str, source: object) -> list[tuple[str, Any]]:
    """The entries of a mapping by their full names: of a key that is there twice only the last would count."""
    lines: dict[str, int] = {}
    found: list[tuple[str, Any]] = []
    for key, value in node.value:
        name, line = f"{place}{key.value}", key.start_mark.line + 1
        if name in lines:
            raise UserError(
                f"{source}: {shortened(name)} is set twice, on lines {lines[name]} and {line}, and only the last would "
                "count: write it once, with all that is under it."
            )
        lines[name] = line
        found.append((name, value))
    return found


def _check_number(node: Any, source: object) -> None:
    if node.tag.endswith((":int", ":float")) and len(node.value) > LONGEST_NUMBER:
        raise UserError(
            f"{source} is not readable YAML: line {node.start_mark.line + 1} has a number that is too long."
        )
