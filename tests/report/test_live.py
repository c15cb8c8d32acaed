"""What a search shows while it runs."""

import pytest
import torch
from torch import nn

import dnas
from dnas.report.live import ShowArchitecture, in_one_line
from tests.support.run_folder import cell
from tests.support.tensorboard_pictures import first_picture


class Kept(dnas.Silent):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def status(self, text: str) -> None:
        self.shown.append(text)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search between two skip connections, which collapses at once; its display and its folder."""
    torch.manual_seed(0)
    run, display = dnas.Run(tmp_path_factory.mktemp("live") / "run"), Kept()
    op = dnas.Choice("op", {"skip_connect": nn.Identity(), "identity": nn.Identity()})
    data = [(torch.randn(6, 4), torch.randint(0, 2, (6,))) for _ in range(2)]
    settings = dnas.SearchSettings(epochs=2, warmup_epochs=0)
    show = ShowArchitecture(display, run, 2)
    result = dnas.search(
        nn.Sequential(op, nn.Linear(4, 2)), data, data, settings=settings, run=run, observers=[show], display=display
    )
    run.close()
    return run, display, result


def test_the_architecture_of_each_epoch_stands_in_a_line(searched):
    _, display, result = searched
    assert [line.split("  ")[0] for line in display.shown] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert display.shown[-1].endswith(result.architecture.decisions["op"])


def test_a_collapse_is_warned_of_once(searched):
    _, display, _ = searched
    assert [text for text in display.said if text.startswith("Warning")] == [
        "Warning: 100% of the kept operations are skip connections after epoch 1; the search may be collapsing "
        "(docs/choose.md says what helps)."
    ]


def test_tensorboard_has_a_picture_of_the_architecture(searched):
    assert first_picture(searched[0].path).startswith(b"\x89PNG")


def test_supernets_and_results_show_themselves_in_a_notebook(searched):
    result = searched[2]
    assert "op: softmax of alpha" in result.supernet._repr_html_()
    assert result._repr_html_().count("<svg") == 2


def test_a_cell_in_one_line_says_how_often_each_operation_is_kept():
    line = in_one_line(cell((0, 2, "conv"), (1, 2, "conv"), (1, 3, "pool")))
    assert line == "normal: conv x2, pool"
    assert len(in_one_line(dnas.Architecture({str(index): f"operation {index}" for index in range(99)}))) == 110
