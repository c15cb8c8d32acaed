"""Files that are not the user's own code are read through `dnas.system.reading` alone."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dnas"
BOUNDARY = PACKAGE / "system" / "reading"

# Ways to read a file or data: the last two parts of what is called, or the last where any object may have it.
READERS = {
    *("Image.open", "np.load", "numpy.load", "np.fromfile", "np.loadtxt", "np.genfromtxt", "np.memmap"),
    *(
        "torch.load",
        "jit.load",
        "export.load",
        "onnx.load",
        "onnxruntime.InferenceSession",
        "json.load",
        "json.loads",
        "pickle.load",
        "pickle.loads",
        "pickle.Unpickler",
    ),
    *("yaml.load", "yaml.safe_load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "yaml.safe_load_all"),
    *("yaml.compose", "yaml.parse", "os.open", "io.open", "zipfile.ZipFile", "marshal.loads", "shelve.open"),
}
METHODS = {"read_text", "read_bytes"}

# (file, call): why it may.
EXCEPTIONS = {
    ("system/memory.py", "read_text"): "files of the kernel, which have no size",
    ("kernels/compiled.py", "read_bytes"): "its own sources",
    ("shipping/predict.py", "onnxruntime.InferenceSession"): "bytes that the boundary has read",
    ("shipping/exporters/onnx_graph.py", "onnxruntime.InferenceSession"): "bytes that it has just made",
    ("shipping/exporters/torch_program.py", "export.load"): "bytes that it has just made",
    ("shipping/exporters/state_dict.py", "read_bytes"): "what it has just written into a folder of its own",
    ("system/processor.py", "read_text"): "a file of the kernel: the processor's name",
    ("system/lock.py", "os.open"): "a lock that it makes, and reads through the boundary's parser of JSON",
    ("cost/milliseconds.py", "json.loads"): "what it has just written: tuples become lists, as in a file",
    ("cost/stopwatch.py", "onnxruntime.InferenceSession"): "bytes that it has just made, or that the boundary has read",
    ("shipping/safetensors_file.py", "json.loads"): "the header of a file that it has just made",
    ("shipping/safetensors_file.py", "torch.load"): "bytes that the boundary has read, by a parser that runs nothing",
    ("shipping/int8.py", "onnx.load"): "what the same export has just written",
    ("testing/hypergradient.py", "pickle.loads"): "what it has just pickled: parts must survive it",
    ("testing/require.py", "pickle.loads"): "what it has just pickled: parts must survive it",
    ("testing/space.py", "json.loads"): "what it has just written: arguments must survive it",
    ("testing/observer.py", "torch.load"): "what it has just saved: memories must survive it",
}


def calls(nodes: Sequence[ast.AST], imported: Mapping[str, str]) -> Iterator[tuple[str, ast.Call]]:
    """The last two parts of what is called, such as 'Image.open'; one part for a plain name of this file.

    Names count as what they were imported as: `from json import loads as l` makes of `l(...)` 'json.loads'.
    """
    for node in nodes:
        if isinstance(node, ast.Call):
            yield last_two(node.func, imported), node


def names_of_imports(nodes: Sequence[ast.AST]) -> Iterator[tuple[str, str]]:
    """A name in the file, and what it stands for: ('l', 'json.loads'); also `load = json.loads`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("dnas"):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def last_two(called: ast.expr, imported: Mapping[str, str]) -> str:
    if isinstance(called, ast.Name):
        return ".".join(imported.get(called.id, called.id).split(".")[-2:])
    if isinstance(called, ast.Attribute):
        owner = last_two(called.value, imported) if isinstance(called.value, ast.Name | ast.Attribute) else ""
        return f"{owner.rpartition('.')[2]}.{called.attr}"
    return ""


def mentioned(nodes: Sequence[ast.AST], imported: Mapping[str, str]) -> Iterator[str]:
    """Readers that are handed on without being called, such as `load = json.loads` or `map(json.loads, lines)`."""
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in called and isinstance(node.ctx, ast.Load):
            name = last_two(node, imported)
            if name in READERS or name == "open":
                yield name


def writes(call: ast.Call, place: int) -> bool:
    """Whether a file is opened to be written."""
    modes = [*call.args[place : place + 1], *(word.value for word in call.keywords if word.arg == "mode")]
    return any(isinstance(mode, ast.Constant) and set(str(mode.value)) & set("wax") for mode in modes)


def readers(source: str) -> Iterator[str]:
    """The calls in a text of code that read a file or data."""
    nodes = list(ast.walk(ast.parse(source)))
    imported = dict(names_of_imports(nodes))
    yield from mentioned(nodes, imported)
    for name, call in calls(nodes, imported):
        owner, _, last = name.rpartition(".")
        if name in READERS and not (name == "os.open" and "os.devnull" in ast.unparse(call)):
            yield name
        elif (
            (last in METHODS and "." in name)
            or (name in ("open", "fdopen") and not writes(call, 1))
            or (last == "open" and "." in name and owner not in ("Run", "os") and not writes(call, 0))
        ):
            yield last


def test_files_are_read_through_the_boundary_alone():
    found = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in PACKAGE.rglob("*.py")
        if BOUNDARY not in path.parents
        for name in readers(path.read_text(encoding="utf-8"))
    }
    assert found - set(EXCEPTIONS) == set(), "read it with dnas.system.reading, or say here why not"
    assert set(EXCEPTIONS) - found == set(), "exceptions that are not needed any more"


@pytest.mark.parametrize(
    "code",
    [
        "open(p)",
        "open(p, 'rb')",
        "p.open()",
        "p.open('rb')",
        "p.read_text()",
        "Path(p).read_bytes()",
        "Image.open(p)",
        "PIL.Image.open(p)",
        "np.load(p)",
        "torch.load(p, weights_only=True)",
        "json.loads(text)",
        "yaml.safe_load(text)",
        "pickle.Unpickler(f)",
        "os.open(p, os.O_RDONLY)",
        "from json import loads\nloads(text)",
        "from json import loads as parse\nparse(text)",
        "import json as j\nj.loads(text)",
        "import numpy\nnumpy.load(p)",
        "import torch as t\nt.load(p)",
        "from torch import load\nload(p)",
        "from os import open as o\no(p, 0)",
        "import PIL.Image as I\nI.open(p)",
        "from zipfile import ZipFile\nZipFile(p)",
        "parse = json.loads",
        "list(map(json.loads, lines))",
        "read = open",
        "onnxruntime.InferenceSession(p)",
        "torch.export.load(p)",
    ],
)
def test_the_walk_sees_every_way_to_read(code):
    assert len(list(readers(code))) == 1


@pytest.mark.parametrize(
    "code", ["open(p, 'w')", "p.open('ab')", "Run.open(p)", "os.open(os.devnull, 1)", "read_text(p)"]
)
def test_writing_and_the_boundary_itself_are_let_through(code):
    assert not list(readers(code))
