"""Pictures of architectures as files: SVG, PDF, PNG."""

from __future__ import annotations

from pathlib import Path

from dnas.core.architecture import Architecture
from dnas.picture.architecture import architecture_svg
from dnas.space.skeleton import reductions
from dnas.system.atomic import write, write_text
from dnas.system.errors import MissingPackage, UserError

FORMATS = (".svg", ".pdf", ".png")
_MOST_CELLS = 100


def draw(architecture: Architecture, path: Path | str, *, cells: int | None = None) -> None:
    """Write the picture of an architecture; the ending of the path says in which format.

    Args:
        architecture: what is drawn.
        path: a file that ends in .svg, .pdf or .png.
        cells: of a network of so many cells (per stage in NAS-Bench-201) all layers are drawn above the cells; None for
            the cells alone.

    Raises:
        MissingPackage: for .pdf and .png CairoSVG, or the library cairo, is not there.
        UserError: another ending, the architecture is too large to be drawn, or its networks are no stacks of cells.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise UserError(f"A picture must be called something.svg, .pdf or .png; got {str(path)!r}.")
    svg = (
        architecture.to_svg()
        if cells is None
        else architecture_svg(architecture.to_data(), layers(architecture, cells))
    )
    if path.suffix == ".svg":
        write_text(path, svg)
        return
    contents = converted(svg, path.suffix)
    write(path, lambda file: file.write(contents))


def layers(architecture: Architecture, cells: int) -> tuple[str, ...]:
    """What a network consists of, from stem to classifier.

    Args:
        architecture: one of the spaces of DARTS or NAS-Bench-201.
        cells: number of cells, in NAS-Bench-201 per stage.

    Raises:
        UserError: networks of its space are no stacks of cells, or there are too few or too many of them.

    Example:
        >>> from dnas.formats import published
        >>> layers(published("DARTS_V2"), 3)
        ('stem', 'normal', 'reduce', 'reduce', 'classifier')
    """
    if not 1 <= cells <= _MOST_CELLS:
        raise UserError(f"A picture has 1 to {_MOST_CELLS} cells; got {cells}.")
    if set(architecture.decisions) == {"normal", "reduce"}:
        kinds = ["reduce" if number in reductions(cells) else "normal" for number in range(cells)]
    elif set(architecture.decisions) == {"cell"}:
        stage = ["cell"] * cells
        kinds = [*stage, "residual", *stage, "residual", *stage]
    else:
        raise UserError(
            f"Networks of the space {architecture.space!r} are no stacks of cells; without the number of cells the "
            "picture shows all that was decided."
        )
    return ("stem", *kinds, "classifier")


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
