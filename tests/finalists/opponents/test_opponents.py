"""Opponents spend the compute that they are given, and keep the best; a kill changes nothing that was trained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.finalists.contest import Contest, Finalist
from dnas.finalists.judgement import Judgement
from dnas.finalists.opponents.compute import Compute
from dnas.finalists.opponents.evolution import RegularizedEvolution
from dnas.finalists.opponents.guided import Guided
from dnas.finalists.opponents.opponent import Opponent
from dnas.finalists.opponents.random_halving import RandomHalving
from dnas.finalists.opponents.random_search import RandomSearch
from dnas.finalists.settings import Rung
from dnas.system.display import Silent
from dnas.system.errors import UserError
from dnas.system.interrupt import StopRequest
from tests.finalists.test_halving import SETTINGS, conditions, proposals

WIDTH = {"1": 1.0, "2": 2.0, "4": 4.0, "8": 8.0}


class Clockwork(Contest):
    """Trainings that take a second an epoch, and whose value is the width of the network."""

    now = 0.0
    log: list[tuple[int, int]]

    def train(self, finalist: Finalist, rung: Rung) -> None:
        self.log = [*getattr(self, "log", []), (finalist.number, rung.epochs)]
        self.now += rung.epochs
        self.compute += rung.epochs
        self.compute_now += rung.epochs
        if finalist.architecture.decisions["act"] == "power":
            finalist.failure = "diverged"
            return
        value = WIDTH[str(finalist.architecture.decisions["width"])]
        finalist.judgements.append(Judgement("r2", "higher", value, -finalist.number, None, None))


def found(opponent: Opponent, seconds: float, run: Path) -> tuple[Architecture, Clockwork]:
    contest = Clockwork(conditions(opponent.training(SETTINGS)), Run(run), Silent(), StopRequest())
    compute = Compute(seconds, contest, lambda: contest.now)
    return opponent.find(contest, proposals(knows=False), compute), contest


def test_random_search_trains_until_the_compute_is_spent_and_keeps_the_best(tmp_path):
    architecture, contest = found(RandomSearch(epochs=2), 7.0, tmp_path)
    assert contest.log == [(0, 2), (1, 2), (2, 2), (3, 2)]  # the last one begins at 6 s and is finished
    best = min((one for one in contest.finalists if one.judgements), key=lambda one: one.last.order)
    assert architecture == best.architecture
    # Three forward passes for each of 60 samples of two epochs; one that diverged is not counted.
    judged = [one.flops for one in contest.finalists if one.judgements]
    assert contest.training_flops == 3 * 60 * 2 * sum(judged) > 0


def test_each_rung_of_halving_has_the_same_share(tmp_path):
    architecture, contest = found(RandomHalving(epochs=1, rungs=2, factor=2), 12.0, tmp_path)
    first, second = ([n for n, epochs in contest.log if epochs == e] for e in (1, 2))
    assert first[:6] == [0, 1, 2, 3, 4, 5]
    good = sorted(
        (contest.finalists[n] for n in first[:6] if contest.finalists[n].judgements),
        key=lambda o: o.judgements[0].order,
    )
    half = (len(good) + 1) // 2
    assert second[:half] == [one.number for one in good[:half]]
    assert architecture == good[0].architecture


def test_halving_goes_on_with_new_networks_until_the_compute_is_spent(tmp_path):
    _, contest = found(RandomHalving(epochs=1, rungs=2, factor=4), 19.0, tmp_path)
    # The best quarter of ten networks, of which some diverge, leaves a part of the second rung's share.
    assert [epochs for _, epochs in contest.log] == [1] * 10 + [4, 4, 1]
    assert contest.now == 19.0
    # Who goes on later was among the best quarter of the first rung at that time.
    for place, (number, epochs) in enumerate(contest.log):
        before = [contest.finalists[n] for n, e in contest.log[:place] if e == 1]
        judged = sorted((one for one in before if one.judgements), key=lambda one: one.judgements[0].order)
        assert epochs == 1 or number in [one.number for one in judged[: -(-len(judged) // 4)]]


def test_a_call_that_goes_on_is_told_the_same_of_its_compute(tmp_path):
    now, kept = iter([0.0, 1.0, 3.0, 9.0, 9.0, 11.0]), tmp_path / "opponent" / "spent.txt"
    contest = Clockwork(conditions(SETTINGS), Run(tmp_path), Silent(), StopRequest())
    first = Compute(10.0, contest, lambda: next(now), kept)
    assert [first.is_left(0.25), first.is_left(0.25)] == [True, False]  # 1 s and 3 s
    with kept.open("a") as file:
        file.write("7.")  # a kill
    again = Compute(10.0, contest, lambda: next(now), kept)
    assert [again.is_left(0.25), again.is_left(0.25), again.is_left(0.5)] == [True, False, True]
    assert kept.read_text() == "1.0\n3.0\n3.0\n"  # no time has passed in this call
    kept.write_text("soon\n")
    with pytest.raises(UserError, match="a number a line"):
        Compute(10.0, contest, lambda: next(now), kept)


def test_evolution_changes_one_decision_of_the_best_of_a_sample_and_the_oldest_dies(tmp_path):
    architecture, contest = found(RegularizedEvolution(epochs=1, population=3, sample=3), 10.0, tmp_path)
    assert len(contest.log) == 10
    assert {one.source for one in contest.finalists[:3]} == {"random"}
    assert all(one.source.startswith("a change in ") for one in contest.finalists[3:4])
    assert len({one.architecture.to_json() for one in contest.finalists}) == 10
    assert architecture.decisions["width"] == "8"


def test_guided_trainings_follow_random_ones_when_their_share_of_the_compute_is_spent(tmp_path):
    architecture, contest = found(Guided(epochs=2, percent=50), 12.0, tmp_path)
    assert [one.source for one in contest.finalists] == ["random"] * 3 + ["model of trainings"] * 3
    assert architecture.decisions["width"] == "8"


@pytest.mark.parametrize("opponent", [RandomSearch(), RandomHalving(), RegularizedEvolution(), Guided()])
def test_a_space_that_is_used_up_ends_the_search(tmp_path, opponent: Opponent):
    _, contest = found(opponent, 1e9, tmp_path)
    assert len(contest.finalists) == 12  # three activations, four widths


@pytest.mark.parametrize("opponent", [RandomSearch(1), RandomHalving(1, rungs=1), RegularizedEvolution(1), Guided(1)])
def test_one_network_is_trained_however_little_compute_there_is(tmp_path, opponent: Opponent):
    _, contest = found(opponent, 0.0, tmp_path)
    assert [bool(one.failure) for one in contest.finalists] == [True, False]  # the first one that is drawn diverges


def test_trainings_that_were_done_before_are_read_and_count(tmp_path):
    def ended(limit: float, clock: Callable[[], float]) -> tuple[Architecture, Contest]:
        opponent = RandomSearch(epochs=1)
        contest = Contest(conditions(opponent.training(SETTINGS)), Run(tmp_path), Silent(), StopRequest())
        return opponent.find(contest, proposals(knows=False), Compute(limit, contest, clock)), contest

    first, one = ended(0.0, lambda: 0.0)
    again, other = ended(one.compute, lambda: 0.0)
    assert again == first
    assert other.compute_now == 0.0
    assert other.compute == one.compute


@pytest.mark.parametrize("kind", [RandomSearch, RandomHalving, RegularizedEvolution, Guided])
def test_a_number_below_one_is_refused(kind):
    with pytest.raises(UserError, match=r"epochs of .* must be at least 1; got 0"):
        kind(epochs=0)
