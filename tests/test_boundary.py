"""Files that are not the user's own code are read through `dnas.system.reading` alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dnas"
BOUNDARY = PACKAGE / "system" / "reading"

# Ways to read a file or data: the last two parts of what is called, or the last where any object may have it.
READERS = {
    *("Image.open", "np.load", "numpy.load", "np.fromfile", "np.loadtxt", "np.genfromtxt", "np.memmap"),
    *("torch.load", "jit.load", "json.load", "json.loads", "pickle.load", "pickle.loads", "pickle.Unpickler"),
    *("yaml.load", "yaml.safe_load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "yaml.safe_load_all"),
    *("yaml.compose", "yaml.parse", "os.open", "io.open", "zipfile.ZipFile", "marshal.loads", "shelve.open"),
}
METHODS = {"read_text", "read_bytes"}

# (file, call): why it may.
EXCEPTIONS = {
    ("system/memory.py", "read_text"): "files of the kernel, which have no size",
    ("shipping/exporters/state_dict.py", "read_bytes"): "what it has just written into a folder of its own",
    ("jobs/profile/profile.py", "read_text"): "a file of the kernel: the processor's name",
    ("testing/hypergradient.py", "pickle.loads"): "what it has just pickled: parts must survive it",
    ("testing/require.py", "pickle.loads"): "what it has just pickled: parts must survive it",
    ("testing/space.py", "json.loads"): "what it has just written: arguments must survive it",
    ("testing/observer.py", "torch.load"): "what it has just saved: memories must survive it",
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The last two parts of what is called, such as 'Image.open'; one part for a plain name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            yield f"{name}.{node.func.attr}", node


def writes(call: ast.Call, place: int) -> bool:
    """Whether a file is opened to be written."""
    modes = [*call.args[place : place + 1], *(word.value for word in call.keywords if word.arg == "mode")]
    return any(isinstance(mode, ast.Constant) and set(str(mode.value)) & set("wax") for mode in modes)


def readers(source: str) -> Iterator[str]:
    """The calls in a text of code that read a file or data."""
    for name, call in calls(ast.parse(source)):
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
    ],
)
def test_the_walk_sees_every_way_to_read(code):
    assert len(list(readers(code))) == 1


@pytest.mark.parametrize(
    "code", ["open(p, 'w')", "p.open('ab')", "Run.open(p)", "os.open(os.devnull, 1)", "read_text(p)"]
)
def test_writing_and_the_boundary_itself_are_let_through(code):
    assert not list(readers(code))
