"""What is printed in a terminal and into a file."""

import io

import pytest

from dnas.system.display import PartOfBar, RichDisplay, Silent, TerminalLine


@pytest.fixture
def terminal(monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")


def test_silent_shows_nothing(capsys):
    Silent().update("search", 1, 2, {"loss": 0.5})
    Silent().say("hello")
    assert capsys.readouterr().out == ""


def test_into_a_file_goes_one_line_per_tenth_of_a_phase(capsys):
    with RichDisplay() as display:
        for done in range(1, 101):
            display.update("search", done, 100, {"loss": 1 / done})
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("search")]
    assert [line.split()[1] for line in lines] == ["1/100", *(f"{tenth}0/100" for tenth in range(1, 11))]
    assert lines[-1] == "search: 100/100  loss 0.01"


def test_phases_have_tenths_of_their_own(capsys):
    with RichDisplay() as display:
        display.update("search", 10, 10, {})
        display.update("retrain", 1, 10, {})
        display.update("search", 10, 10, {})
    lines = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if ":" in line]
    assert lines == ["search", "retrain"]


def test_what_is_said_is_printed_as_it_is_and_not_wrapped(capsys):
    text = "[bold]brackets[/bold] of a path [a/b] " + 100 * "x"
    with RichDisplay() as display:
        display.say(text)
    assert text in capsys.readouterr().out.splitlines()


def test_what_is_said_of_a_class_of_ones_own_is_no_picture(capsys):
    with RichDisplay() as display:
        display.say("Search in mymodel:One: about 8 s")
    assert "mymodel:One: about" in capsys.readouterr().out


def test_in_a_terminal_there_is_a_bar_with_count_and_numbers(terminal, capsys):
    with RichDisplay() as display:
        display.update("search", 1, 4, {"loss": 0.123456})
        display.update("search", 2, 4, {"loss": 0.5})
        display.say("a note")
    out = capsys.readouterr().out
    assert "a note" in out
    last = out.rsplit("search", 1)[1]
    assert "2/4" in last
    assert "loss 0.5" in last


def test_a_phase_without_steps_is_shown(capsys):
    with RichDisplay() as display:
        display.update("images", 0, 0, {})
    assert "images: 0/0" in capsys.readouterr().out


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_line_is_written_over_in_a_terminal_and_ends_with_the_phase(monkeypatch):
    monkeypatch.setattr("sys.stderr", screen := _Terminal())
    display = TerminalLine()
    display.update("search", 1, 2, {"loss": 0.5})
    display.say("Note: so.")
    display.update("search", 2, 2, {"loss": 0.25})
    first, note, last, _ = screen.getvalue().split("\n")
    assert "search 1/2" in first and first.endswith("loss 0.5\x1b[K")
    assert note == "Note: so."
    assert "search 2/2  0 s left  loss 0.25" in last


def test_the_line_of_a_terminal_is_shown_nowhere_else(capsys):
    TerminalLine().update("search", 1, 2, {"loss": 0.5})
    TerminalLine().say("hello")
    assert capsys.readouterr() == ("", "")


def test_one_of_several_runs_moves_its_part_of_the_bar(capsys):
    with RichDisplay() as display:
        for part in (0, 1):
            bar = PartOfBar(display, "search", shown_as="compare", unit="run", part=part, num=2)
            bar.update("images", 1, 1, {})
            bar.update("search", 5, 5, {"loss": 0.5})
            bar.finished("done")
    assert capsys.readouterr().out.splitlines() == [
        *("compare: 5/10  run 0  loss 0.5", "[1/2] done"),
        *("compare: 10/10  run 1  loss 0.5", "[2/2] done"),
    ]


def test_the_line_below_the_bar_of_several_runs_has_the_number_of_the_run(terminal, capsys):
    with RichDisplay() as display:
        PartOfBar(display, "search", unit="run", part=1, num=3).status("epoch 2 of 5")
    assert "[2/3] epoch 2 of 5" in capsys.readouterr().out


def test_in_a_terminal_a_line_below_the_bar_gives_way_to_the_next(terminal, capsys):
    with RichDisplay() as display:
        display.update("search", 1, 4, {})
        display.status("epoch 1 [bold]")
        display.update("search", 2, 4, {})
        display.status("epoch 2 [bold]")
    last = capsys.readouterr().out.rsplit("search", 1)[1]
    assert "epoch 2 [bold]" in last
    assert "epoch 1" not in last


def test_into_a_file_goes_no_line_of_the_moment(capsys):
    with RichDisplay() as display:
        display.status("epoch 1")
    assert "epoch" not in capsys.readouterr().out
