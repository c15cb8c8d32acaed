"""The report in a real browser: the slider moves the cell, nothing is loaded, nothing complains."""

import pytest

from dnas.report.facts import facts_of
from dnas.report.report import report
from tests.support.browser import CHROMIUM, browser
from tests.support.run_folder import MIXTURES, whole_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt install chromium)")

# Luminance of the ink on its paper, by WCAG 2.1 (https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio).
CONTRAST = """(() => {
  const part = (value) => { const c = value / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const frame = document.querySelector(".frame:not([hidden])");
  const ink = light(getComputedStyle(frame.querySelector("text.dnas-ink")).fill);
  const paper = light(getComputedStyle(frame.querySelector("rect.dnas-box")).fill);
  const words = light(getComputedStyle(document.body).color);
  const page = light(getComputedStyle(document.body).backgroundColor);
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  return [ratio(ink, paper), ratio(words, page), page];
})()"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    path = folder / "report.html"
    path.write_text(report([facts_of(whole_run(folder / "run"), MIXTURES)]))
    return path


@pytest.fixture(scope="module")
def page():
    with browser() as found:
        yield found


def test_the_slider_moves_the_cell(page, file):
    page.open(file)
    shown = "document.querySelector('.frame:not([hidden])')"
    last = page.evaluate(f"{shown}.textContent")
    page.evaluate("{ const s = document.querySelector('input'); s.value = 0; s.dispatchEvent(new Event('input')); }")
    assert page.evaluate("document.querySelector('output').textContent") == "epoch 1"
    assert page.evaluate(f"{shown}.dataset.label") == "epoch 1"
    assert page.evaluate(f"{shown}.textContent") != last
    assert page.evaluate("document.querySelectorAll('.frame:not([hidden])').length") == 1


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_a_page_of_any_width_loads_nothing_complains_of_nothing_and_can_be_read(page, file, width, dark):
    page.open(file, width=width, dark=dark)
    assert [url for url in page.requested if not url.startswith("data:")] == [file.resolve().as_uri()]
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    picture, text, background = page.evaluate(CONTRAST)
    assert picture > 7
    assert text > 7
    assert (background < 0.1) == dark
