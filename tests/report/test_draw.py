"""Pictures as files."""

import sys

import pytest

import dnas
from dnas.report.draw import draw

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


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(dnas.UserError, match="svg"):
        draw(SMALL, tmp_path / "a.gif")
