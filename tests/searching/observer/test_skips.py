"""Skip connections are counted, and too many of them end a search."""

import pytest
import torch

from dnas import Architecture, CellArchitecture, KeptEdge, SearchSettings, SkipStop, search
from dnas.core.decision import Decision
from dnas.searching.observer import skip_share
from tests.support.method import TRAIN, VAL, new_supernet, settings_of


def test_the_share_is_of_all_operations_kept_in_cells_and_choices():
    edges = tuple(KeptEdge(0, 1, name) for name in ("skip_connect", "conv", "none", "skip_connect"))
    cell = CellArchitecture(edges, (1,))
    assert skip_share(Architecture({"cell": cell})) == 0.5
    assert skip_share(Architecture({"cell": cell, "a": "skip", "b": "identity"})) == pytest.approx(4 / 6)
    assert skip_share(Architecture({"inputs": ("x", "y")})) is None


def steered(favoured: list[int], most: int, epochs: int = 3):
    """A search that favours these candidates (0 is the skip connection) on its two edges."""
    supernet = new_supernet()
    with torch.no_grad():
        for edge, candidate in enumerate(favoured):
            supernet.alphas["cell"][edge, candidate] += 10
    settings = SearchSettings(observers=(SkipStop(most=most, cell="cell"),), epochs=epochs)
    return search(supernet, TRAIN[:1], VAL[:1], settings=settings)


def test_the_search_ends_when_the_cell_keeps_so_many():
    assert len(steered([0, 0], most=2).metrics) == 1
    assert len(steered([0, 1], most=2).metrics) == 3
    assert len(steered([0, 1], most=1).metrics) == 1


def test_every_epoch_logs_the_share():
    assert [row["skip_share"] for row in steered([0, 1], most=2).metrics] == [0.5] * 3


def test_the_recipe_is_this_observer():
    assert settings_of("darts_plus").observers == (SkipStop(most=2, cell="normal"),)


def test_a_cell_that_is_not_there_is_named():
    with pytest.raises(
        ValueError, match="the cell 'normal', which this model does not have; its cells are \\['cell'\\]: set"
    ):
        search(new_supernet(), TRAIN[:1], VAL[:1], settings=SearchSettings(observers=(SkipStop(),), epochs=1))
    with pytest.raises(ValueError, match="the cell 'normal', which this model does not have"):
        search(new_supernet(), TRAIN[:1], VAL[:1], settings=SearchSettings(epochs=1), observers=[SkipStop()])


def test_a_model_without_cells_has_nothing_to_look_at():
    with pytest.raises(ValueError, match="which this model does not have; it has no cells: leave it out"):
        SkipStop().check({"act": Decision("act", "choice", ("relu", "skip"))})


# States 0 and 1 are inputs; two edges lead to node 2 and three to node 3.
EDGES = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


@pytest.mark.parametrize(
    ("cell", "most"),
    [
        (Decision("normal", "operations", ("skip_connect", "conv"), edges=EDGES), 5),
        (Decision("normal", "operations", ("skip_connect", "conv"), edges=EDGES, num_kept=2), 4),
        (Decision("normal", "operations", ("conv", "pool"), edges=EDGES), 0),
        (Decision("normal", "operations", ("skip_connect", "conv"), edges=EDGES, excluded=("skip_connect",)), 0),
        (
            Decision(
                "normal", "operations", ("0", "1"), EDGES, 2, on_edges=(("conv", "skip"), *[("conv", "pool")] * 4)
            ),
            1,
        ),
    ],
)
def test_more_skip_connections_than_the_cell_can_keep_are_refused(cell: Decision, most: int):
    if most:
        SkipStop(most=most).check({"normal": cell})
    with pytest.raises(
        ValueError, match=f"waits for {most + 1} skip .* which can keep {most}: {'lower' if most else 'lea'}"
    ):
        SkipStop(most=most + 1).check({"normal": cell})


def test_a_number_below_one_is_refused():
    with pytest.raises(ValueError, match="most must be at least 1"):
        SkipStop(most=0)
