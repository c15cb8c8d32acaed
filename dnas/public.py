"""The public names of `dnas`, which `dnas/__init__.py` imports when the first of them is asked for."""

from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.core.batch import Batch
from dnas.core.candidates import SharedPrefix, Zero
from dnas.core.cell import Cell, PlainCell
from dnas.core.choice import Choice, InputChoice
from dnas.core.decision import Decision
from dnas.core.derive import derive
from dnas.core.mixture import Mixture
from dnas.core.progress import FollowsProgress, set_progress
from dnas.core.run import Run
from dnas.core.schedule import Constant, Cosine, Exponential, Linear, Schedule, Warmup
from dnas.core.searchable import Searchable
from dnas.cost.budget import Budget
from dnas.finalists.own_search import search_with_finalists
from dnas.finalists.settings import FinalistSettings
from dnas.method.discretization import (
    Argmax,
    Discretization,
    Evolution,
    LimitedSkips,
    Perturbation,
    RandomSampling,
    Threshold,
)
from dnas.method.hypergradient import (
    ConjugateGradient,
    ExactProduct,
    FiniteDifference,
    FirstOrder,
    Hypergradient,
    Neumann,
    OneStep,
    Unrolled,
)
from dnas.method.penalty import Anchor, BetaDecay, DirichletPrior, Entropy, ExpectedCost, Penalty, ZeroOne
from dnas.method.relaxation import Dirichlet, GumbelSoftmax, ReinMax, Relaxation, Sigmoid, Softmax, UniformPath
from dnas.method.smoothing import AdversarialSmoothing, RandomSmoothing, Smoothing
from dnas.searching.observer import (
    AdaptiveDecay,
    BestEpoch,
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
from dnas.searching.search import SearchResult, search, search_in_stages
from dnas.searching.search_step import StepResult, search_step
from dnas.searching.settings import AlphaAdam, SearchSettings
from dnas.searching.stage import Stage
from dnas.searching.supernet import Supernet
from dnas.searching.weight_optimizer import OwnOptimizer, WeightAdamW, WeightOptimizer, WeightSGD
from dnas.shipping.own_module import export_module as export
from dnas.shipping.own_module import save
from dnas.shrinking.load import load
from dnas.shrinking.rules import Rule
from dnas.shrinking.searchable import make_searchable
from dnas.shrinking.settings import ShrinkSettings
from dnas.shrinking.shrink import shrink
from dnas.space import (
    DartsSpace,
    MobileSpace,
    NasBench201Space,
    RecurrentSpace,
    ReducedDartsSpace,
    Space,
    TransformerSpace,
)
from dnas.system.display import Display, RichDisplay, Silent
from dnas.system.errors import MissingPackage, NonFiniteLoss, UserError
from dnas.system.interrupt import Interrupted
from dnas.table import Table, load_table
from dnas.task import Classification, LanguageModelling, Metric, MultiLabel, OwnTask, Regression, Segmentation, Task
from dnas.training.distillation import Distillation
from dnas.training.evaluate import evaluate
from dnas.training.evaluation import Evaluation
from dnas.training.own_baseline import Baseline, baseline
from dnas.training.retrain import retrain
from dnas.training.settings import RetrainSettings
from dnas.version import __version__

__all__ = [
    "AdaptiveDecay",
    "AdversarialSmoothing",
    "AlphaAdam",
    "Anchor",
    "Architecture",
    "Argmax",
    "Baseline",
    "Batch",
    "BestEpoch",
    "BetaDecay",
    "Budget",
    "Cell",
    "CellArchitecture",
    "Choice",
    "Classification",
    "ConjugateGradient",
    "Constant",
    "Cosine",
    "DartsSpace",
    "Decision",
    "Dirichlet",
    "DirichletPrior",
    "Discretization",
    "Display",
    "Distillation",
    "EigenvalueStop",
    "Entropy",
    "EpochReport",
    "Evaluation",
    "Evolution",
    "ExactProduct",
    "ExpectedCost",
    "Exponential",
    "FinalistSettings",
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
    "LanguageModelling",
    "LimitedSkips",
    "Linear",
    "Metric",
    "MissingPackage",
    "Mixture",
    "MobileSpace",
    "MultiLabel",
    "NasBench201Space",
    "Neumann",
    "NonFiniteLoss",
    "Observer",
    "OneStep",
    "OperationFreeze",
    "OwnOptimizer",
    "OwnTask",
    "Penalty",
    "Perturbation",
    "PlainCell",
    "RandomSampling",
    "RandomSmoothing",
    "RecurrentSpace",
    "ReducedDartsSpace",
    "Regression",
    "ReinMax",
    "Relaxation",
    "RetrainSettings",
    "RichDisplay",
    "Rule",
    "Run",
    "Schedule",
    "SearchResult",
    "SearchSettings",
    "Searchable",
    "Segmentation",
    "SharedPrefix",
    "Sharpening",
    "ShrinkSettings",
    "Sigmoid",
    "Silent",
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
    "Task",
    "Threshold",
    "TransformerSpace",
    "UniformPath",
    "Unrolled",
    "UserError",
    "Warmup",
    "WeightAdamW",
    "WeightOptimizer",
    "WeightSGD",
    "Zero",
    "ZeroOne",
    "__version__",
    "baseline",
    "derive",
    "evaluate",
    "export",
    "load",
    "load_table",
    "make_searchable",
    "retrain",
    "save",
    "search",
    "search_in_stages",
    "search_step",
    "search_with_finalists",
    "set_progress",
    "shrink",
]
