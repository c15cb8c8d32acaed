"""Pictures of architectures: every operation is there, nothing is markup, what stays the same stays in its place."""

import xml.etree.ElementTree as ElementTree

import pytest
import torch

import dnas
from dnas.formats import published
from dnas.picture.cell import CellPicture, cell_pictures

SVG = "{http://www.w3.org/2000/svg}"


def words(svg):
    return [found.text for found in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", ["DARTS_V2", "NASNET", "DARTS_RNN_V2"])
def test_each_operation_of_a_cell_is_written_as_often_as_it_is_kept(name):
    architecture = published(name)
    shown = words(architecture.to_svg())
    kept = [edge.operation for cell in architecture.decisions.values() for edge in cell.edges]
    assert {word: shown.count(word) for word in kept} == {word: kept.count(word) for word in kept}


@pytest.mark.parametrize("space", [dnas.MobileSpace(), dnas.TransformerSpace(), dnas.NasBench201Space()])
def test_each_decision_of_a_space_is_drawn(space):
    architecture = space.random(torch.Generator().manual_seed(0))
    assert set(architecture.decisions) <= set(words(architecture.to_svg()))


def test_names_of_a_file_are_text_and_never_markup():
    name = "<script>alert(1)</script>&\"'"
    svg = dnas.Architecture({name: name}).to_svg()
    assert "<script" not in svg
    assert words(svg).count(name) == 2


def test_pictures_of_a_cell_over_time_keep_states_in_their_places():
    first = CellPicture(((0, 2, "conv"), (1, 3, "conv")), (2, 3), ("a", "b"))
    later = CellPicture(((0, 2, "pool"), (2, 3, "conv")), (2, 3), ("a", "b"))

    def places(svg):
        return {
            text.text: (text.get("x"), text.get("y"))
            for text in ElementTree.fromstring(svg).iter(f"{SVG}text")
            if text.text in {"a", "b", "2", "3", "output (concat)"}
        }

    one, other = map(places, cell_pictures("cell", [first, later]))
    assert one == other
    assert len(one) == 5


def test_a_cell_that_is_too_large_has_no_picture_in_a_notebook():
    edges = tuple(dnas.KeptEdge(0, target, "conv") for target in range(1, 200))
    architecture = dnas.Architecture({"cell": dnas.CellArchitecture(edges, (199,))})
    with pytest.raises(dnas.UserError, match="199 edges"):
        architecture.to_svg()
    assert architecture._repr_svg_() is None
