"""Agreement between a supernet and a table: 1 where the supernet's accuracies are the table's own."""

import numpy as np
import pytest
import torch

from dnas import NasBench201Space, Run, Softmax, Supernet
from dnas.cli.search import agreement_text
from dnas.searching.observer import EpochReport
from dnas.table import Table, official_operations, save_table
from dnas.table.supernet_agreement import RankAgreement, alone
from tests.support.cli import done, make_photos, refused

VALUES = np.arange(15625) / 200
TABLE = Table({"valid200_c10": VALUES}, source="made up")


def report(evaluate, progress: float, epoch: int = 1) -> EpochReport:
    supernet = Supernet(NasBench201Space().model(channels=2, cells=1, num_classes=2))
    return EpochReport(
        epoch=epoch,
        step=1,
        progress=torch.tensor(progress),
        supernet=supernet,
        mixtures={},
        relaxation=Softmax(),
        architecture=None,
        train_batch=None,  # type: ignore[arg-type]
        val_batch=None,
        scalars={},
        weight_optimizer=torch.optim.SGD(supernet.model.parameters(), lr=0.1),
        evaluate=evaluate,
        memory={},
    )


def value_of(active) -> float:
    """What the table says of the one architecture that is active."""
    wanted = [k for (k,) in active["cell"]]
    return float(VALUES[int(np.flatnonzero((official_operations() == wanted).all(axis=1))[0])])


@pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, -1.0)])
def test_the_tables_own_accuracies_agree_with_it(sign: int, expected: float):
    ended = report(lambda active: sign * value_of(active), progress=1.0)
    RankAgreement(TABLE, "valid200_c10", num=20).epoch_ended(ended)
    assert ended.scalars == {"kendall_tau": expected}


def test_nothing_is_measured_before_the_end():
    def never(active) -> float:
        raise AssertionError("measuring takes long")

    ended = report(never, progress=0.5)
    RankAgreement(TABLE, "valid200_c10").epoch_ended(ended)
    assert ended.scalars == {}


def test_every_third_epoch_is_measured_where_that_is_asked_for_and_the_last():
    observer = RankAgreement(TABLE, "valid200_c10", num=5, every=3)
    reports = [report(value_of, progress=epoch / 7, epoch=epoch) for epoch in range(1, 8)]
    for one in reports:
        observer.epoch_ended(one)
    assert [one.epoch for one in reports if one.scalars == {"kendall_tau": 1.0}] == [3, 6, 7]
    assert all(one.scalars == {} for one in reports if one.epoch not in (3, 6, 7))


def test_where_all_accuracies_are_the_same_nothing_is_logged():
    ended = report(lambda active: 0.5, progress=1.0)
    RankAgreement(TABLE, "valid200_c10", num=5).epoch_ended(ended)
    assert ended.scalars == {}


def test_one_architecture_is_one_candidate_on_every_edge():
    architecture = TABLE.architecture(7)
    active = alone(architecture, NasBench201Space().decisions())
    assert value_of(active) == pytest.approx(TABLE.accuracy(architecture, "valid200_c10"), rel=1e-6)


def test_too_few_architectures_are_refused():
    with pytest.raises(ValueError, match="needs 2 to 15625"):
        RankAgreement(TABLE, "valid200_c10", num=1)
    with pytest.raises(ValueError, match=r"every must be 0 .* or more; got -1"):
        RankAgreement(TABLE, "valid200_c10", every=-1)


def test_a_search_with_a_table_logs_it(tmp_path):
    photos = make_photos(tmp_path / "photos", count=19)
    save_table(TABLE, tmp_path / "table.npz")
    sizes = ("--image_size", 8, "--batch_size", 8, "--channels", 2, "--cells", 1, "--search.epochs", 4, "--threads", 1)
    asked = ("--table", tmp_path / "table.npz", "--agreement", 5, "--agreement_every", 2)
    said = done(
        *("search", "--data", photos, "--run", tmp_path / "run", *sizes),
        *("--space", "dnas.NasBench201Space", "--search.warmup_epochs", 0, *asked),
    )
    rows = [row for row in Run(tmp_path / "run").metrics() if row["phase"] == "epoch"]
    assert len(rows) == 4
    found = {row["epoch"]: row["kendall_tau"] for row in rows if "kendall_tau" in row}
    assert set(found) <= {2, 4}
    assert all(-1 <= tau <= 1 for tau in found.values())
    told = [f"{tau:.3f} after epoch {epoch}" for epoch, tau in found.items()]
    expected = (
        f"over 5 random architectures: {', '.join(told)}" if told else "all of 5 random architectures have the same"
    )
    assert expected in " ".join(said.split())


def test_what_was_measured_is_told_by_epoch():
    rows = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "kendall_tau": 0.5}, {"epoch": 3, "kendall_tau": -0.25}]
    assert agreement_text(rows, 20).endswith("over 20 random architectures: 0.500 after epoch 2, -0.250 after epoch 3")
    assert "all of 20 random architectures have the same accuracy" in agreement_text(rows[:1], 20)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--agreement", 5), "--agreement has no effect without --table"),
        (("--table", "TABLE", "--agreement_every", 2), "--agreement_every has no effect without --agreement"),
        (("--table", "TABLE", "--agreement", 1), "needs 2 to 15625 architectures; got 1"),
        (("--table", "TABLE", "--agreement", 5, "--agreement_every", -1), "every must be 0"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_written(tmp_path, options, said):
    photos = make_photos(tmp_path / "photos")
    save_table(TABLE, tmp_path / "table.npz")
    options = [str(tmp_path / "table.npz") if option == "TABLE" else option for option in options]
    space = ("--space", "dnas.NasBench201Space", "--run", tmp_path / "run")
    assert said in refused("search", "--data", photos, *space, *options)
    assert not (tmp_path / "run").exists()
