"""Pictures of points are SVG that can be read."""

import xml.etree.ElementTree as ElementTree

import pytest

from dnas.picture.axes import ticks
from dnas.picture.scatter import Point, scatter


@pytest.mark.parametrize("points", [[(1.0, 2.0)], [(0.0, 0.0)], [(3e6, 0.91), (1e6, 0.8), (2e6, 0.85)]])
def test_every_point_is_within_the_picture_with_its_label(points):
    picture = scatter([Point(x, y, f"<{x}>") for x, y in points], title="a & b", x_axis="x", y_axis="y")
    root = ElementTree.fromstring(picture)
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == len(points)
    for circle in circles:
        assert 0 < float(circle.attrib["cx"]) < 480
        assert 0 < float(circle.attrib["cy"]) < 330
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a & b", "x", "y", *(f"<{x}>" for x, _ in points)} <= set(texts)


def test_larger_numbers_are_further_right_and_higher():
    root = ElementTree.fromstring(scatter([Point(2, 5, ""), Point(1, 4, "")], title="", x_axis="", y_axis=""))
    left, right = root.findall("{http://www.w3.org/2000/svg}circle")
    assert float(left.attrib["cx"]) < float(right.attrib["cx"])
    assert float(left.attrib["cy"]) > float(right.attrib["cy"])


def test_whole_numbers_have_whole_ticks_around_them():
    assert ticks([0, 1, 2]) == [0, 1, 2]
    assert ticks([0.0, 0.5]) == [0, 0.1, 0.2, pytest.approx(0.3), 0.4, 0.5]
