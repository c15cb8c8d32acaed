"""What a network is for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dnas.core.batch import first_tensor, tensors_in
from dnas.task.metric import Metric


def logits_of(outputs: Any) -> Any:
    """What an object or a dict of outputs has under the name `logits`, as those of transformers do; else the outputs.

    Example:
        >>> logits_of({"logits": 3, "hidden": 4}), logits_of((1, 2))
        (3, (1, 2))
    """
    if isinstance(outputs, Tensor):
        return outputs
    found = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    return outputs if found is None else found


class Task(ABC):
    """A criterion that is minimised, and metrics by which networks are judged.

    The first metric decides which network is best; without metrics the loss does.
    """

    @abstractmethod
    def criterion(self, outputs: Any, targets: Any) -> Tensor | Mapping[str, Tensor]:
        """The loss of one batch: the mean over its samples, or a dict of named terms, which are added up."""

    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """The metrics by name, each made anew; the first one decides."""

    def read(self, outputs: Any) -> Any:
        """What the task looks at in a network's outputs, which criterion, metrics and the rest then get."""
        return outputs

    def weights(self, outputs: Any, targets: Any) -> Tensor:
        """How much each sample counts in means over samples: `(batch,)`, 1 each unless the task says otherwise."""
        samples = first_tensor(targets)
        return torch.ones(samples.shape[:1] or (1,), dtype=torch.float64, device=samples.device)

    def distance_to_teacher(self, outputs: Any, taught: Any, temperature: float) -> Tensor:
        """How far outputs are from those of a teacher (`dnas.Distillation`): a scalar, 0 where they are equal.

        The mean squared difference, over all entries of a tensor and then over the tensors of real numbers; tasks with
        classes compare probabilities instead.
        """
        pairs = zip(tensors_in(outputs), tensors_in(taught), strict=True)
        gaps = [(ours - theirs).square().mean() for ours, theirs in pairs if ours.is_floating_point()]
        return torch.stack(gaps).mean()

    def name(self) -> str:
        """What tells this task from others in files; the same in every process."""
        return repr(self)

    def check(self, outputs: Any, targets: Any) -> None:
        """Check that outputs and targets of the first batch fit the task.

        Raises:
            UserError: says what came and what was expected.
        """
        return


def divergence(outputs: Tensor, taught: Tensor, temperature: float, *, axis: int) -> Tensor:
    """T^2 KL(softmax(taught / T) || softmax(outputs / T)) along the classes, the mean over all other dimensions
    (Hinton et al. 2015, https://arxiv.org/abs/1503.02531, section 2).

    Args:
        outputs: logits of the network.
        taught: logits of the teacher, of the same shape.
        temperature: T.
        axis: dimension of the classes.
    """
    ours, theirs = ((logits / temperature).log_softmax(axis) for logits in (outputs, taught))
    return temperature**2 * (theirs.exp() * (theirs - ours)).sum(axis).mean()
