"""Which network of a run is taken: the best by held-out samples in the metric's direction, or a named one."""

from pathlib import Path
from typing import Literal

import pytest

from dnas import Architecture
from dnas.core.run import Run
from dnas.jobs.chosen_network import chosen_network
from dnas.training.baseline_report import comparison_data
from dnas.training.comparison import Comparison
from dnas.training.row import Row


def row(name: str, validation: float, test: float, better: Literal["higher", "lower"] = "higher") -> Row:
    metric = "top1" if better == "higher" else "mse"
    return Row(name, Architecture({"op": name}), 10, validation, test, 1.0, metric, better)


def compared(path: Path, found: Row, *random: Row, beside: tuple[Row, ...] = (), opponent: str = "") -> Path:
    folder, took = Run(path).child("baseline"), {opponent: 1.0} if opponent else {}
    folder.save_json("comparison", comparison_data(Comparison(found, random, 1.0, 10, beside, took)))
    for index in range(len(random)):
        folder.child(f"{index:03d}").path.mkdir()
        (folder.path / f"{index:03d}" / "network.json").write_text("{}")
    return path


def test_without_a_comparison_it_is_the_found_one_and_best_is_refused(tmp_path: Path):
    assert chosen_network(tmp_path, None) == (tmp_path, "")
    assert chosen_network(tmp_path, "found") == (tmp_path, "")
    with pytest.raises(ValueError, match=r"`dnas baseline .*` does it"):
        chosen_network(tmp_path, "best")


@pytest.mark.parametrize("name", [None, "best"])
def test_the_best_by_held_out_samples_is_taken_whatever_the_test_part_says(tmp_path: Path, name: str | None):
    run = compared(tmp_path, row("found", 0.8, 0.99), row("random 0", 0.7, 1.0), row("random 1", 0.9, 0.1))
    folder, why = chosen_network(run, name)
    assert folder == run / "baseline" / "001"
    assert why.startswith("Network: random 1, the best of 3 by held-out")
    assert "90.00%" in why and "80.00%" in why and "--network found" in why


def test_of_an_error_the_lowest_is_best_and_of_equals_the_found_one(tmp_path: Path):
    low = compared(tmp_path / "low", row("found", 2.0, 1.0, "lower"), row("random 0", 1.0, 3.0, "lower"))
    assert chosen_network(low, None).folder == low / "baseline" / "000"
    tie = compared(tmp_path / "tie", row("found", 0.9, 0.1), row("random 0", 0.9, 0.9))
    assert chosen_network(tie, None).folder == tie / "retrain"
    assert "the found one, the best of 2" in chosen_network(tie, None).why


def test_a_row_is_taken_by_its_name_and_published_ones_never_by_themselves(tmp_path: Path):
    run = compared(tmp_path, row("found", 0.8, 0.8), row("random 0", 0.7, 0.7), beside=(row("PUBLISHED", 0.99, 0.99),))
    assert chosen_network(run, None).folder == run / "retrain"
    assert chosen_network(run, "random 0") == (run / "baseline" / "000", "")
    assert chosen_network(run, "found") == (run, "")
    with pytest.raises(ValueError, match=r"has \['found', 'random 0', 'PUBLISHED'\]"):
        chosen_network(run, "random 9")
    with pytest.raises(ValueError, match=r"holds no network\.json"):
        chosen_network(run, "PUBLISHED")


def test_what_an_opponent_found_takes_part_and_what_was_named_does_not(tmp_path: Path):
    beside = (row("PUBLISHED", 0.99, 0.99), row("random_halving-rungs3", 0.9, 0.1))
    run = compared(
        tmp_path, row("found", 0.8, 0.8), row("random 0", 0.7, 0.7), beside=beside, opponent="random_halving-rungs3"
    )
    place = run / "baseline" / "random_halving-rungs3"
    place.mkdir()
    (place / "network.json").write_text("{}")
    for name in (None, "best"):
        folder, why = chosen_network(run, name)
        assert folder == place
        assert why.startswith("Network: random_halving-rungs3, the best of 3 by held-out")
    assert chosen_network(run, "random_halving-rungs3") == (place, "")


def test_a_better_one_that_earlier_versions_did_not_keep_is_named_and_the_found_one_taken(tmp_path: Path):
    run = compared(tmp_path, row("found", 0.8, 0.8), row("random 0", 0.9, 0.7))
    (run / "baseline" / "000" / "network.json").unlink()
    assert chosen_network(run, None).folder == run
    assert "random 0 was better on held-out samples, but not kept" in chosen_network(run, None).why
    with pytest.raises(ValueError, match="give `dnas baseline"):
        chosen_network(run, "best")
