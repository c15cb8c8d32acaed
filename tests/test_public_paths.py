"""Paths that docs and examples have given keep working: public names of `dnas`, and modules named in the docs."""

import importlib

import pytest

import dnas

# From README.md, docs/ and examples/ at 4ac046d.
DOCUMENTED = {
    "dnas.cost": ["candidate_costs"],
    "dnas.data": ["Corpus", "ImageBatches", "load_text"],
    "dnas.formats": ["architecture_text", "published", "read_genotype"],
    "dnas.language": [
        "LanguageSearch",
        "LanguageTraining",
        "perplexity",
        "search_language",
        "train_language",
        "whole_text",
    ],
    "dnas.language_sample": ["load_language"],
    "dnas.space.fused": ["fuse"],
    "dnas.space.recurrent": ["RecurrentDropout", "RecurrentSpace"],
    "dnas.table": ["RankAgreement", "convert", "load_table", "query_nats_bench", "rank_agreement"],
    "dnas.testing": [
        "check_discretization",
        "check_hypergradient",
        "check_observer",
        "check_penalty",
        "check_relaxation",
        "check_schedule",
        "check_smoothing",
        "check_space",
    ],
    "dnas.cli": ["main"],
}
# Class paths that recipes and config.yaml have held: all are public names of `dnas`.
CLASS_PATHS = [
    *(
        "AdaptiveDecay",
        "AdversarialSmoothing",
        "AlphaAdam",
        "Anchor",
        "Argmax",
        "BestEpoch",
        "BetaDecay",
        "ConjugateGradient",
    ),
    *("Constant", "Cosine", "DartsSpace", "Dirichlet", "DirichletPrior", "EigenvalueStop", "Entropy", "Evolution"),
    *("ExactProduct", "ExpectedCost", "Exponential", "FiniteDifference", "FirstOrder", "GumbelSoftmax"),
    *("HessianEigenvalue", "LimitedSkips", "Linear", "MobileSpace", "NasBench201Space", "Neumann", "OneStep"),
    *("OperationFreeze", "Perturbation", "RandomSampling", "RandomSmoothing", "RecurrentSpace", "ReducedDartsSpace"),
    *("ReinMax", "RetrainSettings", "SearchSettings", "Sharpening", "Sigmoid", "SkipStop", "Softmax", "Stage"),
    *("Threshold", "TransformerSpace", "UniformPath", "Unrolled", "WeightSGD", "ZeroOne"),
]


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in DOCUMENTED.items() for name in names])
def test_a_documented_path_leads_to_something(module, name):
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("name", CLASS_PATHS)
def test_a_class_path_of_old_configurations_is_public(name):
    assert name in dnas.__all__
    assert isinstance(getattr(dnas, name), type)
