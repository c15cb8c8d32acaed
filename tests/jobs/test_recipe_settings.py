"""The settings of every recipe, number by number, as in the official code that its head names.

A recipe is compared as a whole, so a number that changes fails here. What was read (2026-11-24): quark0/darts
cnn/train_search.py, cnn/architect.py, rnn/train_search.py; D-X-Y/AutoDL-Projects configs/nas-benchmark/algos and
scripts-search/NAS-Bench-201-algos; yuhuixu1993/PC-DARTS and chenxin061/pdarts train_search.py, train_cifar.py;
xiangning-chen/DrNAS 201-space and architect.py; xiaomi-automl/FairDARTS README and fairdarts; Sunshine-Ye/Beta-DARTS
nasbench201 and optimizers/darts/architect.py; xiangning-chen/SmoothDARTS sota/cnn and attacker/perturb.py;
Meituan-AutoML/DARTS- src/search/args.py, scripts; ruocwang/darts-pt nasbench201; automl/RobustDARTS src/search/args.py,
scripts; MiaoZhang0525/iDARTS NAS_Bench201_codes; PasaLab/oles train_search.py; SNAS-Series/SNAS-Series
SNAS/train_search.py; megvii-model/SinglePathOneShot src/Search/search.py.
"""

import math
from dataclasses import dataclass, replace

import pytest
import yaml

from dnas import (
    AdaptiveDecay,
    AdversarialSmoothing,
    Argmax,
    BestEpoch,
    BetaDecay,
    DartsSpace,
    Dirichlet,
    EigenvalueStop,
    Evolution,
    FiniteDifference,
    FirstOrder,
    GumbelSoftmax,
    LimitedSkips,
    NasBench201Space,
    Neumann,
    OneStep,
    OperationFreeze,
    Perturbation,
    RandomSampling,
    RandomSmoothing,
    ReinMax,
    RetrainSettings,
    SearchSettings,
    Sharpening,
    Sigmoid,
    SkipStop,
    Softmax,
    Space,
    Stage,
    Threshold,
    UniformPath,
    ZeroOne,
)
from dnas.core.schedule import Constant, Cosine, Exponential, Linear
from dnas.jobs.recipe import LANGUAGE, recipe_names, recipe_path
from dnas.searching.settings import AlphaAdam, WeightSGD
from tests.support.method import job_of_recipe


@dataclass(frozen=True)
class Published:
    """What a recipe says of space, sizes, search and retraining."""

    space: Space
    channels: int | None
    cells: int | None
    batch_size: int | None
    search: SearchSettings
    retrain: RetrainSettings


SGD = WeightSGD(lr=Cosine(0.025, 0.001), momentum=0.9, weight_decay=3e-4, nesterov=False, clip=5.0)
NESTEROV = replace(SGD, weight_decay=5e-4, nesterov=True)
SEARCH = SearchSettings(
    relaxation=Softmax(),
    hypergradient=FirstOrder(),
    discretization=Argmax(),
    weights=SGD,
    alphas=AlphaAdam(lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3),
    epochs=50,
    warmup_epochs=0,
)
# DARTS, appendix A: 600 epochs with 36 channels and 20 cells.
RETRAIN = RetrainSettings(
    epochs=600,
    weights=WeightSGD(lr=Cosine(0.025, 0.0)),
    batch_size=96,
    channels=36,
    cells=20,
    auxiliary=True,
    auxiliary_weight=0.4,
    drop_path=0.2,
    cutout=16,
)
# NAS-Bench-201 (Dong and Yang 2020), table 1, and D-X-Y/AutoDL-Projects, configs/nas-benchmark/hyper-opts/200E.config,
# exps/NAS-Bench-201/functions.py `procedure` (nothing is clipped) and main.py (`get_datasets` with cutout -1).
TABLE = RetrainSettings(
    epochs=200,
    weights=WeightSGD(lr=Cosine(0.1, 0.0), momentum=0.9, weight_decay=5e-4, nesterov=True, clip=None),
    batch_size=256,
    channels=16,
    cells=5,
    auxiliary=False,
    drop_path=0.0,
    cutout=0,
)
WITHOUT_NONE = DartsSpace(
    candidates=(
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
    )
)


def in_darts(
    search: SearchSettings, space: Space | None = None, batch_size: int = 64, retrain: RetrainSettings = RETRAIN
) -> Published:
    """In the space, sizes and retraining of DARTS."""
    return Published(space or DartsSpace(), 16, 8, batch_size, search, retrain)


def in_201(search: SearchSettings, space: Space | None = None) -> Published:
    """In those of NAS-Bench-201."""
    return Published(space or NasBench201Space(), 16, 5, 64, search, TABLE)


def autodl(search: SearchSettings) -> Published:
    """Likewise with the optimizer and the 250 epochs of AutoDL-Projects."""
    return in_201(replace(search, weights=NESTEROV, epochs=250))


SHARPENING = Sharpening(factor=1.3, delta=4, window=5, start=10, every=2)

EXPECTED: dict[str, Published] = {
    "darts_1st": in_darts(SEARCH),
    "darts_2nd": in_darts(replace(SEARCH, hypergradient=OneStep(FiniteDifference(radius=0.01)))),
    "one_level": in_darts(replace(SEARCH, one_level=True)),
    "gdas": autodl(
        replace(
            SEARCH,
            relaxation=GumbelSoftmax(Linear(10.0, 0.1), hard=True, add_undrawn=True),
            weights_first=True,
            clip_over="alphas",
        )
    ),
    "snas": in_darts(
        replace(SEARCH, relaxation=GumbelSoftmax(Linear(1.0, 0.03), hard=False), one_level=True, epochs=150)
    ),
    "reinmax": autodl(replace(SEARCH, relaxation=ReinMax(Constant(1.0)))),
    "pc_darts": in_darts(
        replace(
            SEARCH,
            weights=replace(SGD, lr=Cosine(0.1, 0.0)),
            alphas=replace(SEARCH.alphas, lr=6e-4),
            warmup_epochs=15,
        ),
        DartsSpace(partial_channels=4, edge_weights=True),
        batch_size=256,
        retrain=replace(RETRAIN, drop_path=0.3),  # train.py there, `drop_path_prob`
    ),
    "drnas": in_201(replace(SEARCH, relaxation=Dirichlet(), clip_over="alphas", epochs=100)),
    "drnas_progressive": in_201(
        replace(
            SEARCH,
            relaxation=Dirichlet(),
            clip_over="alphas",
            epochs=100,
            stages=(
                Stage(50, 10, partial_channels=4),
                Stage(50, 10, num_candidates=3, partial_channels=2),
            ),
        ),
        NasBench201Space(partial_channels=4),
    ),
    "fair_darts": replace(
        in_darts(
            replace(
                SEARCH,
                relaxation=Sigmoid(),
                penalties=(ZeroOne(Constant(10.0)),),
                discretization=Threshold(0.85, one_per_edge=True),
                weights=replace(SGD, lr=Cosine(0.005, 0.001)),
                alphas=AlphaAdam(lr=3e-3, betas=(0.9, 0.999), weight_decay=1e-3),
            ),
            WITHOUT_NONE,
            batch_size=128,
        ),
        retrain=replace(RETRAIN, batch_size=128),
    ),
    "beta_darts": in_201(replace(SEARCH, penalties=(BetaDecay(Linear(0.0, 50.0)),), clip_over="mixtures", epochs=100)),
    "sdarts_rs": in_darts(replace(SEARCH, smoothing=RandomSmoothing(Linear(0.03, 0.3))), WITHOUT_NONE),
    "sdarts_adv": in_darts(replace(SEARCH, smoothing=AdversarialSmoothing(Linear(0.03, 0.3), steps=7)), WITHOUT_NONE),
    # Dropout of the first stage: 0 in the paper, section 4.1.1; the README's command has 0.1.
    "p_darts": Published(
        DartsSpace(),
        16,
        5,
        96,
        replace(
            SEARCH,
            discretization=LimitedSkips(most=2),
            weights=replace(SGD, lr=Cosine(0.025, 0.0)),
            alphas=replace(SEARCH.alphas, lr=6e-4),
            epochs=75,
            stages=(
                Stage(25, 10, cells=5),
                Stage(25, 10, num_candidates=5, carry=False, cells=11, skip_dropout=Exponential(0.4, 0.0027)),
                Stage(25, 10, num_candidates=3, carry=False, cells=17, skip_dropout=Exponential(0.7, 0.0047)),
            ),
        ),
        replace(RETRAIN, batch_size=128, drop_path=0.3),
    ),
    "darts_minus": in_darts(SEARCH, DartsSpace(auxiliary_skip=Linear(1.0, 0.0))),
    "darts_pt": in_201(
        replace(SEARCH, discretization=Perturbation(epochs_between=5), tuning_lr=0.1, tuning_afresh=True, epochs=100)
    ),
    "robust_darts_es": in_darts(replace(SEARCH, observers=(EigenvalueStop(SHARPENING),))),
    "robust_darts_ada": in_darts(replace(SEARCH, observers=(AdaptiveDecay(SHARPENING, 3.0, 0.0243),))),
    "robust_darts_l2": in_darts(replace(SEARCH, weights=replace(SGD, weight_decay=81e-4))),
    "robust_darts_dp": in_darts(SEARCH, DartsSpace(drop_path=Linear(0.0, 0.2))),
    "idarts": in_201(
        replace(
            SEARCH,
            hypergradient=Neumann(terms=3, rate=0.01),
            weight_steps=4,
            weights=replace(NESTEROV, lr=Cosine(0.01, 0.001)),
            epochs=30,
        )
    ),
    "oles": in_darts(
        replace(
            SEARCH,
            observers=(OperationFreeze(threshold=0.4, count=20, against="sum"), BestEpoch(at_its_start=True)),
        ),
        DartsSpace(running_statistics=True),
    ),
    "darts_plus": in_darts(replace(SEARCH, observers=(SkipStop(most=2, cell="normal"),))),
    "one_shot": autodl(
        replace(
            SEARCH,
            relaxation=UniformPath(),
            discretization=Evolution(population=50, generations=20, parents=10, mutation_probability=0.1),
            validate_every=0,
        )
    ),
    "random_sharing": autodl(
        replace(
            SEARCH,
            relaxation=UniformPath(),
            discretization=RandomSampling(samples=100, images_each=512),
            validate_every=0,
        )
    ),
    # Ours: a DARTS search with Dirichlet mixtures, in sizes that fit the data; and one that a laptop carries.
    "default": Published(DartsSpace(), None, None, None, replace(SEARCH, relaxation=Dirichlet()), RETRAIN),
    "digits": Published(
        DartsSpace(),
        8,
        3,
        64,
        replace(SEARCH, epochs=20, warmup_epochs=5, alphas=replace(SEARCH.alphas, lr=1e-2)),
        replace(RETRAIN, epochs=15, batch_size=64, channels=8, cells=3, auxiliary=False, drop_path=0.0, cutout=0),
    ),
}


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_has_the_published_settings(name: str):
    job, expected = job_of_recipe(name), EXPECTED[name]
    assert job.space == expected.space
    assert (job.channels, job.cells, job.batch_size) == (expected.channels, expected.cells, expected.batch_size)
    assert job.search == expected.search
    assert job.retrain == expected.retrain


def test_dropout_after_skips_falls_by_exp_of_a_fifth_per_epoch_of_a_stage():
    for stage in job_of_recipe("p_darts").search.stages[1:]:
        dropout = stage.skip_dropout
        assert isinstance(dropout, Exponential)
        assert dropout.end == pytest.approx(dropout.start * math.exp(-0.2 * stage.epochs), rel=0.01)  # two digits


# The paper's text and quark0/darts rnn/: what the search and the training of a recurrent cell share, and what not.
RNN_SHARED = {"bptt": 35, "validation_batch_size": 10, "loss": {"activation": 0.0, "slowness": 1e-3}}
RNN_DROPOUT = {"output": 0.75, "hidden": 0.25, "inputs": 0.75, "embedded": 0.2, "words": 0.0}
RNN_SGD = {
    "lr": {"class_path": "dnas.Constant", "init_args": {"value": 20.0}},
    "momentum": 0.0,
    "weight_decay": 5e-7,
    "clip": 0.25,
}


def test_the_recurrent_recipe_has_the_published_settings():
    settings = yaml.safe_load(recipe_path("darts_rnn", LANGUAGE).read_text())
    search, train = settings.pop("search"), settings.pop("train")
    assert settings == {"level": "word", "hidden": 300, "batch_size": 256, "dropout": RNN_DROPOUT, **RNN_SHARED}
    assert search["epochs"] == 50
    assert search["weights"] == RNN_SGD
    assert search["alphas"] == {"lr": 3e-3, "betas": [0.9, 0.999], "weight_decay": 1e-3}
    mixed = {"class_path": "dnas.FiniteDifference", "init_args": {"radius": 0.01}}
    assert search["hypergradient"] == {"class_path": "dnas.OneStep", "init_args": {"mixed": mixed, "clip": 0.25}}
    assert train == {
        "epochs": 1600,
        "hidden": 850,
        "batch_size": 64,
        "test_batch_size": 1,
        "average_after": 5,
        "dropout": {**RNN_DROPOUT, "words": 0.1},
        "weights": {**RNN_SGD, "weight_decay": 8e-7},
        **RNN_SHARED,
    }
