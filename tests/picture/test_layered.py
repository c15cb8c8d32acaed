"""Boxes of a graph: none over another, links around them, few crossings."""

from itertools import combinations

from dnas.picture.layered import Box, placed


def corners(box, centre):
    return centre[0] - box.width / 2, centre[1] - box.height / 2, centre[0] + box.width / 2, centre[1] + box.height / 2


def test_no_box_covers_another_and_no_link_runs_through_one():
    boxes = {name: Box(column, 40, 20) for name, column in zip("abcdefg", (0, 0, 1, 1, 1, 2, 3), strict=True)}
    links = [("a", "c"), ("b", "d"), ("b", "e"), ("c", "f"), ("a", "f"), ("a", "g"), ("b", "g"), ("f", "g")]
    layout = placed(boxes, links)
    areas = {name: corners(box, layout.centres[name]) for name, box in boxes.items()}
    for one, other in combinations(areas.values(), 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for route in layout.routes.values():
        for x, y in route:
            assert not any(left < x < right and top < y < bottom for left, top, right, bottom in areas.values())
    assert all(left >= 0 and right <= layout.width for left, _, right, _ in areas.values())
    assert all(top >= 0 and bottom <= layout.height for _, top, _, bottom in areas.values())


def test_two_links_that_need_not_cross_do_not():
    boxes = {"a": Box(0, 9, 9), "b": Box(0, 9, 9), "c": Box(1, 9, 9), "d": Box(1, 9, 9)}
    at = placed(boxes, [("a", "d"), ("b", "c")]).centres
    assert (at["a"][1] < at["b"][1]) == (at["d"][1] < at["c"][1])
