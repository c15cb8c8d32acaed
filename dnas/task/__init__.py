"""What a network is for: its criterion, its metrics, and how sure their values are.

How a network is trained or searched is in `training` and `searching`; they ask a task for all that depends on what
outputs and targets mean.
"""

from dnas.task.base import Task
from dnas.task.classification import Classification
from dnas.task.interval import bootstrap_interval, wilson_interval
from dnas.task.language import LanguageModelling, LanguageOutput
from dnas.task.measurement import Measured, Measurement, measure
from dnas.task.metric import Metric, StatefulMetric
from dnas.task.multilabel import MultiLabel
from dnas.task.own import OwnTask
from dnas.task.regression import Regression
from dnas.task.segmentation import Segmentation

__all__ = [
    "Classification",
    "LanguageModelling",
    "LanguageOutput",
    "Measured",
    "Measurement",
    "Metric",
    "MultiLabel",
    "OwnTask",
    "Regression",
    "Segmentation",
    "StatefulMetric",
    "Task",
    "bootstrap_interval",
    "measure",
    "wilson_interval",
]
