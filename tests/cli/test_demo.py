"""The demo plans by what is measured, does less on a slower machine, and refuses where not even the least fits."""

import doctest
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import dnas.cli.demo
from dnas.cli.demo import DATA, FINALISTS, NETWORK, OPPONENT, RETRAINING, demo, main
from dnas.cli.parser import load, parse
from dnas.cli.shared import part_of
from dnas.core.run import Run
from dnas.finalists.opponents.named import named_opponents
from dnas.jobs.job import Job
from dnas.jobs.planning.time_budget import TooShort
from dnas.system.errors import UserError
from dnas.system.words import seconds_in


class Machine:
    """Carries out commands in made-up seconds: a search, two thirds of it for its finalists, and trainings.

    One second of compute takes 1.25 s, and the opponent finishes a training when its compute is spent.
    """

    def __init__(self, training: float, search: float = 100):
        self.training, self.search, self.now, self.done = training, search, 0.0, []

    def carry_out(self, words: Sequence[str]) -> None:
        self.done.append(list(words))
        if words[0] == "search":
            limit = seconds_in(words[-1])
            if limit < self.search:
                raise TooShort(f"{limit} s is too short", f"{self.search:.0f}s")
            run = Run(Path(words[words.index("--run") + 1]))
            run.save_json("compute", {"seconds": self.search / 1.25})
            run.child("finalists").save_json("result", {"seconds": self.search / 1.5, "compute": self.search / 1.875})
            self.now += self.search
        elif words[0] == "retrain":
            Run(Path(words[1])).child("retrain").save_json("retrain", {"seconds": self.training})
            self.now += self.training
        elif words[0] == "baseline":
            num = int(words[words.index("--num") + 1])
            self.now += self.search + (1.2 + 1 + num) * self.training
        else:
            self.now += self.training / 2

    def demo(self, run: Path, seconds: float = 300) -> list[list[str]]:
        Run(run).path.mkdir(exist_ok=True)
        demo(run, seconds, self.carry_out, lambda: self.now, begun=0.0)
        return self.done


def test_examples_hold():
    assert doctest.testmod(dnas.cli.demo).failed == 0


@pytest.mark.parametrize(("training", "num"), [(2, 8), (7, 3), (10, 1), (12, 1)])
def test_a_slower_machine_trains_fewer_random_networks_and_keeps_the_time(tmp_path: Path, training: float, num: int):
    machine = Machine(training)
    assert machine.demo(tmp_path)[2] == ["baseline", str(tmp_path), "--num", str(num), "--opponents", OPPONENT]
    assert [words[0] for words in machine.done] == ["search", "retrain", "baseline", "evaluate", "export"]
    assert machine.now < 300


def test_the_words_of_its_search_are_options_and_its_opponent_is_one():
    job = part_of(parse(load("search"), [*DATA, *NETWORK, *FINALISTS, *RETRAINING])[0], Job)
    assert (job.channels, job.cells, job.batch_size) == (4, 2, 32)
    assert (job.retrain.channels, job.retrain.cells, job.retrain.batch_size) == (4, 2, 32)
    assert job.retrain.weights == job.finalists.weights
    assert [rung.epochs for rung in job.finalists.schedule] == [3, 6, 12]  # as many as the opponent's
    assert list(named_opponents([OPPONENT])) == ["random_halving-epochs3-rungs3"]


def test_where_two_finalists_or_one_random_network_do_not_fit_it_is_refused_with_what_would_do(tmp_path: Path):
    with pytest.raises(UserError, match=r"5\.0 min are too short on this machine: give --time 572s"):
        Machine(7, search=200).demo(tmp_path)
    assert Machine(7, search=200).demo(tmp_path, 572)
    with pytest.raises(UserError, match=r"needs one random network: give twice as much, --time 600s"):
        Machine(30).demo(tmp_path)


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
