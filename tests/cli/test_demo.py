"""The demo plans by what is measured, does less on a slower machine, and refuses where not even the least fits."""

import doctest
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import dnas.cli.demo
from dnas.cli.demo import PLANS, demo, main
from dnas.core.run import Run
from dnas.jobs.planning.time_budget import TooShort


class Machine:
    """Carries out commands in made-up seconds; a search of plan i is refused below `too_slow` plans."""

    def __init__(self, training: float, too_slow: int = 0, enough: str = "200s"):
        self.enough = enough
        self.training, self.too_slow, self.now, self.done = training, too_slow, 0.0, []

    def carry_out(self, words: Sequence[str]) -> None:
        self.done.append(list(words))
        if words[0] == "search":
            if len(self.done) <= self.too_slow:
                raise TooShort("150s is too short", self.enough)
            self.now += 100
        elif words[0] == "retrain":
            Run(Path(words[1])).child("retrain").save_json("retrain", {"seconds": self.training})
            self.now += self.training
        elif words[0] == "baseline":
            self.now += int(words[-1]) * self.training
        else:
            self.now += self.training

    def demo(self, run: Path, seconds: float = 300) -> list[list[str]]:
        Run(run).path.mkdir(exist_ok=True)
        demo(run, seconds, self.carry_out, lambda: self.now, begun=0.0)
        return self.done


def test_examples_hold():
    assert doctest.testmod(dnas.cli.demo).failed == 0


@pytest.mark.parametrize(("training", "num"), [(7, 8), (20, 4), (60, 1)])
def test_a_slower_machine_trains_fewer_random_networks_and_keeps_the_time(tmp_path: Path, training: float, num: int):
    machine = Machine(training)
    assert machine.demo(tmp_path)[2] == ["baseline", str(tmp_path), "--num", str(num)]
    assert [words[0] for words in machine.done] == ["search", "retrain", "baseline", "evaluate", "export"]


def test_a_machine_that_is_too_slow_searches_smaller_cells_and_then_larger_batches(tmp_path: Path):
    for too_slow, options in enumerate(PLANS):
        done = Machine(7, too_slow).demo(tmp_path / str(too_slow))
        assert done[too_slow][-len(options) :] == list(options) if options else done[0][-1] == "150s"


def test_a_machine_that_is_much_too_slow_goes_to_the_smallest_plan_at_once(tmp_path: Path):
    done = Machine(7, too_slow=1, enough="20min").demo(tmp_path)
    assert done[1][-len(PLANS[-1]) :] == list(PLANS[-1])


def test_below_the_smallest_plan_it_is_refused_with_what_would_do(tmp_path: Path):
    with pytest.raises(ValueError, match=r"The smallest plan .*150s is too short"):
        Machine(7, too_slow=len(PLANS)).demo(tmp_path)
    with pytest.raises(ValueError, match=r"needs one random network: give twice as much, --time 600s"):
        Machine(150).demo(tmp_path)


def test_a_time_that_is_none_is_told_in_one_line_and_an_earlier_demo_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(sys, "argv", ["demo", str(tmp_path / "run"), "--time", "soon"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("dnas: ")
    assert "soon" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
