"""Pictures of architectures as files: SVG, PDF, PNG."""

from __future__ import annotations

from pathlib import Path

from dnas.core.architecture import Architecture
from dnas.system.atomic import write, write_text
from dnas.system.errors import MissingPackage, UserError

FORMATS = (".svg", ".pdf", ".png")


def draw(architecture: Architecture, path: Path | str) -> None:
    """Write the picture of an architecture; the ending of the path says in which format.

    Args:
        architecture: what is drawn.
        path: a file that ends in .svg, .pdf or .png.

    Raises:
        MissingPackage: for .pdf and .png CairoSVG, or the library cairo, is not there.
        UserError: another ending, or the architecture is too large to be drawn.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise UserError(f"A picture must be called something.svg, .pdf or .png; got {str(path)!r}.")
    svg = architecture.to_svg()
    if path.suffix == ".svg":
        write_text(path, svg)
        return
    contents = converted(svg, path.suffix)
    write(path, lambda file: file.write(contents))


def converted(svg: str, suffix: str) -> bytes:
    """A picture in another format.

    Args:
        svg: the picture.
        suffix: .pdf or .png.

    Raises:
        MissingPackage: CairoSVG, or the library cairo, is not there.
    """
    try:
        import cairosvg
    except ImportError as error:
        raise MissingPackage(
            f'{suffix} pictures need CairoSVG: pip install ".[pictures]" in a clone of dnas; .svg needs nothing'
        ) from error
    except OSError as error:  # the Python package is there, and the library that it calls is not
        raise MissingPackage(
            f"{suffix} pictures need the library cairo (Debian: apt install libcairo2); .svg needs nothing"
        ) from error
    if suffix == ".pdf":
        return cairosvg.svg2pdf(bytestring=svg.encode()) or b""
    return cairosvg.svg2png(bytestring=svg.encode(), scale=2) or b""
