"""Pictures as files."""

import doctest
import re
import sys

import pytest
import torch

import dnas
import dnas.report.draw
from dnas.report.draw import draw, layers

SMALL = dnas.Architecture({"op": "conv"})


def test_svg_needs_no_other_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    draw(SMALL, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text() == SMALL.to_svg()
    with pytest.raises(dnas.UserError, match="pip install"):
        draw(SMALL, tmp_path / "a.pdf")


@pytest.mark.parametrize(("suffix", "start"), [(".pdf", b"%PDF"), (".png", b"\x89PNG")])
def test_pdf_and_png_are_written_where_cairo_is_there(tmp_path, suffix, start):
    try:
        import cairosvg  # noqa: F401
    except OSError:
        pytest.skip("the library cairo is not installed")
    draw(SMALL, tmp_path / f"a{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes().startswith(start)


def test_a_network_is_drawn_above_its_cells(tmp_path):
    draw(dnas.formats.published("DARTS_V2"), tmp_path / "net.svg", cells=20)
    svg = (tmp_path / "net.svg").read_text()
    named = re.findall(r">(stem|normal|reduce|classifier)<", svg)
    assert named[:-2] == ["stem", *["normal"] * 6, "reduce", *["normal"] * 6, "reduce", *["normal"] * 6, "classifier"]
    assert named[-2:] == ["normal", "reduce"]  # the cells below
    assert doctest.testmod(dnas.report.draw) == (0, 2)


def test_a_stack_of_cells_is_refused_of_other_spaces_and_sizes():
    with pytest.raises(dnas.UserError, match="no stacks of cells"):
        layers(SMALL, 3)
    with pytest.raises(dnas.UserError, match="1 to 100 cells; got 0"):
        layers(SMALL, 0)
    cell = dnas.NasBench201Space().random(torch.Generator().manual_seed(0))
    assert layers(cell, 1) == ("stem", "cell", "residual", "cell", "residual", "cell", "classifier")


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(dnas.UserError, match="svg"):
        draw(SMALL, tmp_path / "a.gif")
