"""Differentiable neural architecture search for PyTorch.

The public names are the parts of a search (choices, relaxations, hypergradients, penalties, discretizations), the
search itself, and what is done with its result. `docs/design.md` says how they fit together.
"""

from dnas.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.batch import Batch
from dnas.choice import Cell, Choice, InputChoice, PlainCell, Searchable, SharedPrefix, Zero
from dnas.decision import Decision
from dnas.derive import derive
from dnas.discretization import (
    Argmax,
    Discretization,
    Evolution,
    LimitedSkips,
    Perturbation,
    RandomSampling,
    Threshold,
)
from dnas.evaluate import Evaluation, evaluate
from dnas.hypergradient import (
    ConjugateGradient,
    ExactProduct,
    FiniteDifference,
    FirstOrder,
    Hypergradient,
    Neumann,
    OneStep,
    Unrolled,
)
from dnas.interrupt import Interrupted
from dnas.load import load
from dnas.mixture import Mixture
from dnas.observer import (
    AdaptiveDecay,
    EigenvalueStop,
    EpochReport,
    GoBack,
    HessianEigenvalue,
    Observer,
    OperationFreeze,
    Sharpening,
    SkipStop,
    StepReport,
    Stop,
)
from dnas.penalty import Anchor, BetaDecay, DirichletPrior, Entropy, ExpectedCost, Penalty, ZeroOne
from dnas.progress import FollowsProgress, set_progress
from dnas.relaxation import Dirichlet, GumbelSoftmax, ReinMax, Relaxation, Sigmoid, Softmax, UniformPath
from dnas.retrain import RetrainSettings, retrain
from dnas.run import Run
from dnas.schedule import Constant, Cosine, Exponential, Linear, Schedule
from dnas.search import NonFiniteLoss, SearchResult, search, search_in_stages
from dnas.search_step import StepResult, search_step
from dnas.settings import AlphaAdam, SearchSettings, WeightSGD
from dnas.smoothing import AdversarialSmoothing, RandomSmoothing, Smoothing
from dnas.space import (
    DartsSpace,
    MobileSpace,
    NasBench201Space,
    RecurrentSpace,
    ReducedDartsSpace,
    Space,
    TransformerSpace,
)
from dnas.stage import Stage
from dnas.supernet import Supernet
from dnas.table import Table, load_table
from dnas.version import __version__

__all__ = [
    "AdaptiveDecay",
    "AdversarialSmoothing",
    "AlphaAdam",
    "Anchor",
    "Architecture",
    "Argmax",
    "Batch",
    "BetaDecay",
    "Cell",
    "CellArchitecture",
    "Choice",
    "ConjugateGradient",
    "Constant",
    "Cosine",
    "DartsSpace",
    "Decision",
    "Dirichlet",
    "DirichletPrior",
    "Discretization",
    "EigenvalueStop",
    "Entropy",
    "EpochReport",
    "Evaluation",
    "Evolution",
    "ExactProduct",
    "ExpectedCost",
    "Exponential",
    "FiniteDifference",
    "FirstOrder",
    "FollowsProgress",
    "GoBack",
    "GumbelSoftmax",
    "HessianEigenvalue",
    "Hypergradient",
    "InputChoice",
    "Interrupted",
    "KeptEdge",
    "LimitedSkips",
    "Linear",
    "Mixture",
    "MobileSpace",
    "NasBench201Space",
    "Neumann",
    "NonFiniteLoss",
    "Observer",
    "OneStep",
    "OperationFreeze",
    "Penalty",
    "Perturbation",
    "PlainCell",
    "RandomSampling",
    "RandomSmoothing",
    "RecurrentSpace",
    "ReducedDartsSpace",
    "ReinMax",
    "Relaxation",
    "RetrainSettings",
    "Run",
    "Schedule",
    "SearchResult",
    "SearchSettings",
    "Searchable",
    "SharedPrefix",
    "Sharpening",
    "Sigmoid",
    "SkipStop",
    "Smoothing",
    "Softmax",
    "Space",
    "Stage",
    "StepReport",
    "StepResult",
    "Stop",
    "Supernet",
    "Table",
    "Threshold",
    "TransformerSpace",
    "UniformPath",
    "Unrolled",
    "WeightSGD",
    "Zero",
    "ZeroOne",
    "__version__",
    "derive",
    "evaluate",
    "load",
    "load_table",
    "retrain",
    "search",
    "search_in_stages",
    "search_step",
    "set_progress",
]
