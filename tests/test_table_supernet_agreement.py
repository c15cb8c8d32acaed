"""Agreement between a supernet and a table: 1 where the supernet's accuracies are the table's own."""

import numpy as np
import pytest
import torch
from cli_support import done, make_photos

from dnas import NasBench201Space, Run, Softmax, Supernet
from dnas.observer import EpochReport
from dnas.table import Table, official_operations, save_table
from dnas.table.supernet_agreement import RankAgreement, alone

VALUES = np.arange(15625) / 200
TABLE = Table({"valid200_c10": VALUES}, source="made up")


def report(evaluate, progress: float) -> EpochReport:
    supernet = Supernet(NasBench201Space().model(channels=2, cells=1, num_classes=2))
    return EpochReport(
        epoch=1,
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
    ended = report(lambda active: 0.0, progress=0.5)
    RankAgreement(TABLE, "valid200_c10").epoch_ended(ended)
    assert ended.scalars == {}


def test_one_architecture_is_one_candidate_on_every_edge():
    architecture = TABLE.architecture(7)
    active = alone(architecture, NasBench201Space().decisions())
    assert value_of(active) == pytest.approx(TABLE.accuracy(architecture, "valid200_c10"), rel=1e-6)


def test_too_few_architectures_are_refused():
    with pytest.raises(ValueError, match="needs 2 to 15625"):
        RankAgreement(TABLE, "valid200_c10", num=1)


def test_a_search_with_a_table_logs_it(tmp_path):
    photos = make_photos(tmp_path / "photos", count=19)
    save_table(TABLE, tmp_path / "table.npz")
    sizes = ("--image_size", 8, "--batch_size", 8, "--channels", 2, "--cells", 1, "--search.epochs", 1, "--threads", 1)
    space = ("--space", "dnas.NasBench201Space", "--table", tmp_path / "table.npz", "--agreement", 5)
    said = done("search", "--data", photos, "--run", tmp_path / "run", *sizes, *space)
    (row,) = [row for row in Run(tmp_path / "run").metrics() if row["phase"] == "epoch"]
    assert -1 <= row["kendall_tau"] <= 1 or row["kendall_tau"] == "nan"
    assert "Kendall's tau with the table over 5 random architectures" in said
