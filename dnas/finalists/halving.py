"""Finalists by successive halving: rungs of trainings, after each of which the worse part leaves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dnas.core.run import Run
from dnas.distributed.ranks import ranks
from dnas.finalists.contest import FOLDER, Ahead, Conditions, Contest, Finalist
from dnas.finalists.outcome import Outcome
from dnas.finalists.proposals import Proposer
from dnas.finalists.settings import Rung
from dnas.finalists.telling_apart import can_tell_apart
from dnas.system.atomic import write_text
from dnas.system.display import Display, Silent
from dnas.system.interrupt import stop_request
from dnas.system.words import number_of

RESULT = "result"  # name of the JSON file that a finished contest leaves


def successive_halving(
    proposals: Proposer,
    conditions: Conditions,
    *,
    run: Run,
    display: Display = Silent(),
    ahead: Ahead | None = None,
) -> Outcome:
    """Propose finalists, train them in rungs, and take the best; a call that was stopped goes on when it is repeated.

    Nothing depends on the time that anything takes, so on a CPU a repeated call ends with the same numbers.

    Args:
        proposals: proposes the finalists.
        conditions: how they are trained and judged.
        run: the folder of the search; everything is written to RUN/finalists.
        display: shows progress and messages.
        ahead: trains those of a rung at the same time; None where this process trains all of them.

    Raises:
        UserError: the folder holds finalists of other settings, or some could not be trained.
        Interrupted: Ctrl-C.
    """
    settings, folder = conditions.settings, run.child(FOLDER)
    with stop_request() as request:
        contest = Contest(conditions, folder, display, request, ahead)
        entered, left = halved(contest, proposals)
    equals = [one for one in left if one is left[0] or not can_tell_apart(left[0].last, one.last)]
    winner = equals[0] if equals else entered[0]
    if equals and not conditions.by_loss:
        winner = min(equals, key=lambda one: (one.flops, one.parameters, one.last.order))
    outcome = Outcome(
        winner,
        tuple(equals),
        tuple(contest.finalists),
        contest.compute,
        contest.seconds,
        _notes(settings.num, entered, contest.finalists),
    )
    folder.save_json(RESULT, outcome.to_data())
    write_text(folder.path / f"{RESULT}.txt", f"{outcome.table()}\n\n{outcome}\n")
    return outcome


def halved(contest: Contest, proposals: Proposer) -> tuple[list[Finalist], list[Finalist]]:
    """Hold a contest: those that entered its first rung, and those that were trained in its last one, best first."""
    settings = contest.conditions.settings
    # Of several ranks the first proposes, since what is found to be the same function could differ between machines.
    num = settings.num - settings.num_guided
    entered = contest.enter(ranks().from_first(partial(proposals.first, num, settings.random_share)))
    left = _first_rung(contest, entered, proposals)
    entered = list(contest.finalists)
    return entered, _later_rungs(contest, left, proposals)


def _first_rung(contest: Contest, entered: Sequence[Finalist], proposals: Proposer) -> list[Finalist]:
    """Those that get through the first rung, guided ones too, best first; none where there is no choice."""
    if len(entered) < 2:
        return []
    first = contest.conditions.settings.rung(0)
    left = _trained(contest, entered, [first])
    for _ in range(contest.conditions.settings.num_guided):
        if len(left) < 2:
            break
        trained = [one.architecture for one in left]
        guided = contest.enter(ranks().from_first(partial(proposals.guided, trained)))
        if not guided:
            break
        left = _ranked(contest, [*left, *_trained(contest, guided, [first])])
    return left


def _later_rungs(contest: Contest, left: list[Finalist], proposals: Proposer) -> list[Finalist]:
    """Those of the first rung that were trained in the last one, best first."""
    settings = contest.conditions.settings
    rungs = settings.schedule_of(len(contest.finalists))
    for rung in rungs:
        left = _trained(contest, left[: rung.num], [rung]) if rung.number else left
        if left and rung is not rungs[-1]:
            change = partial(proposals.changes, left[0].architecture, settings.changes, rung=rung.number)
            near = ranks().from_first(change)
            left = _ranked(contest, [*left, *_trained(contest, contest.enter(near), rungs[: rung.number + 1])])
        if len(left) < 2:
            break
    return left


def _trained(contest: Contest, finalists: Sequence[Finalist], rungs: Sequence[Rung]) -> list[Finalist]:
    """Those that get through all of these rungs, best first."""
    contest.train_ahead(finalists, rungs)
    for finalist in finalists:
        for rung in rungs:
            if not finalist.failure:
                contest.train(finalist, rung)
    return _ranked(contest, [finalist for finalist in finalists if not finalist.failure])


def _ranked(contest: Contest, finalists: Sequence[Finalist]) -> list[Finalist]:
    """Best first; of equal ones the one that was proposed first."""
    return sorted(finalists, key=lambda finalist: contest.conditions.order(finalist.last))


def _notes(num: int, entered: Sequence[Finalist], finalists: Sequence[Finalist]) -> tuple[str, ...]:
    notes = []
    if len(entered) < num:
        found = f"There {'is' if len(entered) == 1 else 'are'} {number_of(len(entered), 'finalist')}"
        notes.append(f"{found} instead of {num}: no network of another function was found.")
    if len(entered) == 1:
        notes.append("With one there is nothing to choose, so nothing was trained.")
    if finalists and all(finalist.failure for finalist in finalists):
        notes.append("All trainings of finalists diverged, so none was chosen: lower their learning rate.")
    return tuple(notes)
