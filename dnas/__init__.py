"""Differentiable neural architecture search for PyTorch.

The public names are the parts of a search (choices, relaxations, hypergradients, penalties, discretizations), the
search itself, and what is done with its result. `docs/design.md` says how they fit together.

They are those of `dnas.public`, which is imported when the first of them is asked for: so `dnas --help` and
`import dnas.cli` need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dnas.version import __version__ as __version__

if TYPE_CHECKING:
    from dnas.public import *  # noqa: F403
    from dnas.public import __all__ as __all__


def __getattr__(name: str) -> Any:
    if name.startswith("__") and name != "__all__":  # asked for by inspect and the like, not by a user
        raise AttributeError(f"module 'dnas' has no attribute {name!r}")
    public = import_module("dnas.public")
    if name == "__all__" or name in public.__all__:
        return getattr(public, name)
    if name in globals():  # a room, such as dnas.space: it has come with the public names
        return globals()[name]
    raise AttributeError(f"module 'dnas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("dnas.public").__all__})
