"""Imports point down, and `import dnas` needs torch and numpy alone."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dnas"

# From the bottom up (docs/design.md, layout). A module or folder imports only those that come before it.
ORDER = [
    # Values that everything hands around.
    "version",
    "atomic",
    "interrupt",
    "display",
    "random_state",
    "memory",
    "peak",
    "threads",
    "allocator",
    "schedule",
    "mixture",
    "decision",
    "batch",
    "functional",
    "progress",
    # What is searchable, and what was found.
    "architecture",
    "choice",
    "derive",
    # The parts of a method; they do not know each other (see below).
    "relaxation",
    "hypergradient",
    "penalty",
    "discretization",
    "smoothing",
    "optim",
    # Supernets, spaces, what they cost.
    "supernet",
    "totals",
    "supernet_measures",
    "space",
    "cost",
    "data",
    # The search and what is done with its result.
    "run",
    "observer",
    "stage",
    "combination",
    "settings",
    "plain_data",
    "search_step",
    "capture",
    "execution",
    "handover",
    "search",
    "testing",
    "formats",
    "table",
    "describe",
    "describe_cell",
    "evaluate",
    "retrain",
    "language",
    "significance",
    "comparison",
    "baseline",
    "package",
    "load",
    "export",
    "predict",
    # The package's public names, then the command.
    "",
    "list_spaces",
    "job",
    "trial",
    "fit",
    "counts",
    "measure",
    "plan",
    "profile",
    "commands",
    "language_job",
    "language_table",
    "language_commands",
    "language_sample",
    "compare_row",
    "compare_table",
    "compare",
    "recipe",
    "cli_messages",
    "cli",
    "__main__",
]
PARTS = ("relaxation", "hypergradient", "penalty", "discretization", "smoothing")

# Asked for when called, long after everything is imported: which of its public names a class has.
EXCEPTIONS = {("plain_data", "")}

# What only the command, the hub and the export need; they are imported where they are used. Triton comes with torch for
# CUDA; files of kernels, named so, hold nothing else and are themselves imported where they are used.
OPTIONAL = (
    "PIL",
    "yaml",
    "rich",
    "jsonargparse",
    "tensorboard",
    "datasets",
    "sklearn",
    "scipy",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "triton",
    "nats_bench",
)
KERNELS = "_triton"


def unit(module: tuple[str, ...]) -> str:
    """The module or folder right below dnas; '' for dnas itself."""
    return module[0] if module else ""


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """The parts of every imported name, such as ('dnas', 'space', 'ops'); also of imports inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a relative import"
            base = tuple((node.module or "").split("."))
            # `from dnas import x` may mean the module x or a public name of the package.
            yield from ((*base, alias.name) for alias in node.names) if base == ("dnas",) else iter([base])


def modules() -> Iterator[tuple[str, Path]]:
    """Every file of dnas with the module or folder that it belongs to."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield unit(() if parts == ("__init__",) else parts), path


def inner_imports() -> Iterator[tuple[str, str, Path]]:
    """(importing unit, imported unit, file) for every import of one unit of dnas by another."""
    names = {name for name, _ in modules()}
    for importer, path in modules():
        for parts in imports(path):
            if parts[0] == "dnas":
                imported = parts[1] if len(parts) > 1 and parts[1] in names else ""
                if imported != importer:
                    yield importer, imported, path


def test_every_module_has_a_place_in_the_order():
    missing = {name for name, _ in modules()} - set(ORDER)
    assert not missing, f"Say in ORDER which layer these are in: {sorted(missing)}."


def test_no_module_imports_upward():
    rank = {name: index for index, name in enumerate(ORDER)}
    upward = [
        f"{path.relative_to(PACKAGE)} imports {'dnas.' + imported if imported else 'dnas'}"
        for importer, imported, path in inner_imports()
        if rank.get(imported, 0) >= rank.get(importer, len(ORDER)) and (importer, imported) not in EXCEPTIONS
    ]
    assert not upward, "\n".join(upward)


def test_the_parts_of_a_method_never_import_each_other():
    mixed = [
        f"{path.relative_to(PACKAGE)} imports dnas.{imported}"
        for importer, imported, path in inner_imports()
        if importer in PARTS and imported in PARTS
    ]
    assert not mixed, "\n".join(mixed)


def test_hypergradients_serve_any_bilevel_problem_and_import_torch_alone():
    foreign = {
        ".".join(parts)
        for name, path in modules()
        if name == "hypergradient"
        for parts in imports(path)
        if parts[0] not in sys.stdlib_module_names
        and parts[0] != "torch"
        and parts[:2] not in {("dnas", "hypergradient"), ("dnas", "optim")}
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
    found = {(path.stem, package) for _, path in modules() for package in top_level_imports(path)}
    optional = {(stem, package) for stem, package in found if package not in allowed}
    assert {one for one in optional if not one[0].endswith(KERNELS)} <= {("cli", "jsonargparse")}
    assert {package for stem, package in optional if stem.endswith(KERNELS)} <= {"triton"}


def test_only_the_command_line_knows_jsonargparse():
    assert {name for name, path in modules() for parts in imports(path) if parts[0] == "jsonargparse"} <= {"cli"}


def test_dnas_and_its_parts_can_be_imported_with_torch_and_numpy_alone():
    names = [
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for name, path in modules()
        if name not in ("cli", "__main__") and not path.stem.endswith(KERNELS)
    ]
    code = f"""
import importlib, sys
for name in {OPTIONAL!r}:
    sys.modules[name] = None
import dnas
for name in {names!r}:
    importlib.import_module("dnas." + name.removesuffix("__init__").rstrip(".") if name != "__init__" else "dnas")
"""
    answer = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(
    "statement", ["import dnas.relaxation", "from dnas import penalty", "from dnas.space.ops import x"]
)
def test_the_reader_of_imports_sees_every_form(tmp_path, statement):
    path = tmp_path / "module.py"
    path.write_text(f"def f():\n    {statement}\n")
    ((root, name, *_),) = imports(path)
    assert (root, name) in {("dnas", "relaxation"), ("dnas", "penalty"), ("dnas", "space")}
