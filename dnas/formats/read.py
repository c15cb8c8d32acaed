"""Reading an architecture from any source that may hold one, and writing it in its usual text form."""

from __future__ import annotations

from pathlib import Path

from dnas.core.architecture import FORMAT, Architecture
from dnas.core.run import Run
from dnas.formats.genotype import read_genotype, write_genotype
from dnas.formats.mmrazor import read_mmrazor
from dnas.formats.nasbench201 import read_nasbench201, write_nasbench201
from dnas.formats.published import PUBLISHED, published
from dnas.system.errors import UserError
from dnas.system.reading import parse_json, read_text

EXPECTED = (
    "a run folder, an architecture.json, a file or text with Genotype(...), a NAS-Bench-201 string, a subnet YAML of "
    f"MMRazor, or one of the published {', '.join(PUBLISHED)}"
)
# In bytes. Architectures take a few thousand; logs that contain genotypes take some more.
_LARGEST = 10_000_000


def read_architecture(
    path_or_text: Path | str, space_name: str | None = None, *, genotype_name: str | None = None
) -> Architecture:
    """The architecture in a run folder, a file or a text, recognised by its content.

    It is read as data: nothing in it is evaluated, and no import path in it is followed.

    Args:
        path_or_text: a run folder, an architecture.json, a file or text with a DARTS genotype, a NAS-Bench-201 string
            or a subnet YAML of MMRazor, or the name of a published architecture, such as 'DARTS_V2'.
        space_name: the space that it must belong to; None for any.
        genotype_name: NAME of the `NAME = Genotype(...)` to read, if a text holds several.

    Raises:
        FileNotFoundError: it is neither a path nor any of these texts; or it is a run whose search has not finished.
        UserError: it is recognised as none of these, not valid, or belongs to another space.
    """
    architecture = _read(path_or_text, genotype_name)
    if space_name is not None and architecture.space != space_name:
        raise UserError(
            f"{_called(path_or_text)} holds an architecture of space {architecture.space!r}; expected {space_name!r}."
        )
    return architecture


def architecture_text(architecture: Architecture) -> str:
    """The usual text form: the genotype, the NAS-Bench-201 string, or JSON if neither can describe it."""
    for write in (write_genotype, write_nasbench201):
        try:
            return write(architecture)
        except ValueError:
            continue  # not a swallowed error: the next form may fit, and JSON always does
    return architecture.to_json()


def _read(path_or_text: Path | str, genotype_name: str | None) -> Architecture:
    path = _existing(path_or_text)
    if path is not None and path.is_dir():
        return Run(path).load_architecture()
    if path is not None:
        return _from_text(_file_text(path), str(path), genotype_name)
    if isinstance(path_or_text, str) and path_or_text in PUBLISHED:
        return published(path_or_text)
    if isinstance(path_or_text, str) and any(mark in path_or_text for mark in ("{", "(", "|", ":\n")):
        return _from_text(path_or_text, "the text", genotype_name)
    raise FileNotFoundError(f"There is no {_called(path_or_text)}; expected {EXPECTED}.")


def _existing(path_or_text: Path | str) -> Path | None:
    """The path, if it exists."""
    try:
        path = Path(path_or_text)
        return path if path.exists() else None
    except (OSError, ValueError):  # too long for a path, or with a zero byte: it is a text
        return None


def _file_text(path: Path) -> str:
    try:
        return read_text(path, most=_LARGEST)
    except UserError as error:
        raise UserError(f"{error} Expected {EXPECTED}.") from error


def _from_text(text: str, source: str, genotype_name: str | None) -> Architecture:
    if "Genotype(" in text:
        return read_genotype(text, name=genotype_name, source=source)
    if genotype_name is not None:
        raise UserError(f"{source} holds no genotype, so none is named {genotype_name!r}.")
    if text.lstrip()[:1] == "|":
        return read_nasbench201(text, source=source)
    if f'"{FORMAT}"' in text:
        return Architecture.from_json(text, source=source)
    if "chosen" in text:
        return read_mmrazor(text, source=source)
    raise UserError(f"{source} holds no architecture{_near_miss(text)}; expected {EXPECTED}.")


def _near_miss(text: str) -> str:
    """What was found instead, if that helps."""
    try:
        data = parse_json(text)
    except UserError:
        return ""
    return (
        f' (it is JSON, but without "format": "{FORMAT}")'
        if isinstance(data, dict)
        else " (it is JSON of another kind)"
    )


def _called(path_or_text: Path | str) -> str:
    text = str(path_or_text)
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
