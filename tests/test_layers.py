"""Imports point down, and `import dnas` needs torch and numpy alone."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dnas"

# From the top down (docs/design.md, rooms). A room imports only those that come after it.
ROOMS = [
    "cli",
    "compare",
    "language",
    "jobs",
    "report",
    "shrinking",
    "shipping",
    "finalists",
    "training",
    "table",
    "searching",
    "method",
    "formats",
    "space",
    "kernels",
    "cost",
    "data",
    "task",
    "core",
    "picture",
    "distributed",
    "system",
    "version",
]
# May import everything; nothing imports it.
CONTRACTS = "testing"

FILES = ("__init__.py", "__main__.py", "public.py", "version.py", "language_sample.py")

# Asked for when called, long after everything is imported: which of its public names a class has.
EXCEPTIONS = {("system", ""), ("jobs", ""), ("cli", "")}

# What only the command, the hub, the export and kernels need; they are imported where they are used. Triton comes with
# torch for CUDA; files of kernels, named so, hold nothing else and are themselves imported where they are used.
OPTIONAL = (
    "PIL",
    "yaml",
    "rich",
    "jsonargparse",
    "tensorboard",
    "datasets",
    "sklearn",
    "scipy",
    "cairosvg",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "triton",
    "nats_bench",
    "ray",
    "numba",
    "llvmlite",
)
KERNELS = ("_triton", "_numba")


@cache
def imports(path: Path) -> tuple[tuple[str, ...], ...]:
    """The parts of every imported name, such as ('dnas', 'space', 'ops'); also of imports inside functions."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a relative import"
            base = tuple((node.module or "").split("."))
            # `from dnas.space import x` may mean the module x or a name that the package has.
            yield from (
                found if is_module(found := (*base, alias.name)) or base == ("dnas",) else base for alias in node.names
            )


def is_module(parts: tuple[str, ...]) -> bool:
    path = PACKAGE.parent.joinpath(*parts)
    return parts[0] == "dnas" and (path.is_dir() or path.with_suffix(".py").exists())


def modules() -> Iterator[tuple[tuple[str, ...], Path]]:
    """Every file of dnas, as ('dnas', 'space', 'ops'); a folder's __init__ is the folder."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield parts[:-1] if parts[-1] == "__init__" else parts, path


def room(parts: tuple[str, ...]) -> str:
    """The folder right below dnas; '' for dnas itself and for its public names."""
    return parts[1] if len(parts) > 1 and parts[1] in (*ROOMS, CONTRACTS) else ""


def inner_imports() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(importing module, imported module) for every import of one module of dnas by another."""
    for importer, path in modules():
        for parts in imports(path):
            if parts[0] == "dnas" and importer not in (("dnas",), ("dnas", "__main__")):
                yield importer, parts


def test_every_folder_is_a_room():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name not in ("__pycache__", "recipes")}
    assert folders == {*ROOMS, CONTRACTS} - {"version"}
    assert {path.name for path in PACKAGE.glob("*.py")} == {*FILES}


def test_the_table_in_the_design_lists_the_rooms_in_this_order():
    text = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)/` \|", text, flags=re.MULTILINE)
    assert listed == [*ROOMS[:-1], CONTRACTS, "recipes"]  # without version, which is a file


def test_tests_are_in_folders_of_the_same_names():
    root = PACKAGE.parent / "tests"
    folders = {path.parent.relative_to(root).as_posix() for path in root.rglob("test_*.py")} - {"."}
    assert [folder for folder in sorted(folders) if not (PACKAGE / folder).is_dir()] == []
    assert {folder.split("/")[0] for folder in folders} == {*ROOMS[:-1], CONTRACTS, "recipes"}


def test_every_room_says_first_what_is_in_it():
    silent = [
        str(path.relative_to(PACKAGE))
        for parts, path in modules()
        if path.name == "__init__.py" and not (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
    ]
    assert not silent


def test_no_room_imports_upward():
    rank = {name: index for index, name in enumerate(ROOMS)}
    upward = [
        f"{'.'.join(importer)} imports {'.'.join(imported)}"
        for importer, imported in inner_imports()
        if room(importer) in rank
        and (room(importer), room(imported)) not in EXCEPTIONS
        and rank.get(room(imported), -1) < rank[room(importer)]
    ]
    assert not upward, "\n".join(upward)


def test_files_of_a_room_can_be_put_in_an_order():
    """Inside a room too imports go one way: there is an order of its files in which each imports earlier ones."""
    graph: dict[str, set[str]] = {}
    for importer, imported in inner_imports():
        if room(importer) == room(imported) and importer != imported:
            graph.setdefault(".".join(importer), set()).add(".".join(imported))
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from error


def test_the_parts_of_a_method_never_import_each_other():
    mixed = [
        f"{'.'.join(importer)} imports {'.'.join(imported)}"
        for importer, imported in inner_imports()
        if room(importer) == room(imported) == "method" and len(imported) > 2 and imported[2] != importer[2]
    ]
    assert not mixed, "\n".join(mixed)


def test_hypergradients_serve_any_bilevel_problem_and_import_torch_alone():
    own = ("dnas", "method", "hypergradient")
    foreign = {
        ".".join(parts)
        for name, path in modules()
        if name[:3] == own
        for parts in imports(path)
        if parts[0] not in sys.stdlib_module_names
        and parts[0] != "torch"
        and parts[:3] not in (own, ("dnas", "system", "errors"), ("dnas", "system", "accepted"))
    }
    assert not foreign


def top_level_imports(path: Path) -> Iterator[str]:
    """The packages that importing the file imports: not those in functions or under TYPE_CHECKING."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_only_the_command_imports_optional_packages_when_it_is_imported():
    allowed = {*sys.stdlib_module_names, "torch", "numpy", "dnas"}
    found = {(name, package) for name, path in modules() for package in top_level_imports(path)}
    optional = {(name, package) for name, package in found if package not in allowed}
    assert {(room(name), package) for name, package in optional if not name[-1].endswith(KERNELS)} <= {
        ("cli", "jsonargparse")
    }
    assert {package for name, package in optional if name[-1].endswith(KERNELS)} <= {
        "triton",
        "numba",
        "llvmlite",
    }


def test_only_the_command_line_knows_jsonargparse():
    assert {room(name) for name, path in modules() for parts in imports(path) if parts[0] == "jsonargparse"} == {"cli"}


def test_dnas_and_its_parts_can_be_imported_with_torch_and_numpy_alone():
    names = [
        ".".join(name)
        for name, path in modules()
        if room(name) != "cli" and name != ("dnas", "__main__") and not path.stem.endswith(KERNELS)
    ]
    code = f"""
import importlib, sys
for name in {OPTIONAL!r}:
    sys.modules[name] = None
import dnas
for name in {names!r}:
    importlib.import_module(name)
"""
    answer = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(
    "statement", ["import dnas.method.relaxation", "from dnas import Penalty", "from dnas.space.ops import x"]
)
def test_the_reader_of_imports_sees_every_form(tmp_path, statement):
    path = tmp_path / "module.py"
    path.write_text(f"def f():\n    {statement}\n")
    ((root, name, *_),) = imports(path)
    assert (root, name) in {("dnas", "method"), ("dnas", "Penalty"), ("dnas", "space")}
