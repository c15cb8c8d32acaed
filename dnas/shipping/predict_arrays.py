"""From an array of samples to what a trained network, or its ONNX file, says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dnas.core.described import described
from dnas.core.own_module import OwnModule
from dnas.data.sample_arrays import read_inputs
from dnas.data.sample_kind import SampleKind
from dnas.shipping.array_interface import ArrayInterface
from dnas.shipping.load import load, load_spec
from dnas.shipping.predict import likeliest, network_forward, open_onnx
from dnas.system import atomic
from dnas.system.errors import UserError
from dnas.task.base import logits_of

_BATCH = 64  # samples at a time, so that the memory of activations does not grow with their number
_SHOWN = 8  # numbers or labels of a sample on one line


@dataclass(frozen=True)
class ArrayPredictions:
    """What a network says of some samples.

    Args:
        outputs: `(samples, ...)`: numbers, or logits of classes or labels.
        kind: what the samples are like.
        source: name of their file.
    """

    outputs: Tensor
    kind: SampleKind
    source: Path

    @property
    def class_axis(self) -> int:
        """The dimension of the classes, for targets of each place: after the batch, or, as for texts, the last.

        Raises:
            UserError: the outputs are neither.
        """
        shape, kind = tuple(self.outputs.shape[1:]), self.kind
        for axis, expected in (
            (1, (kind.num_outputs, *kind.target_shape)),
            (-1, (*kind.target_shape, kind.num_outputs)),
        ):
            if shape == expected:
                return axis
        raise UserError(
            f"The network gives outputs of shape {shape}; expected {kind.num_outputs} logits for each of the places "
            f"{kind.target_shape}."
        )

    @property
    def predicted(self) -> Tensor:
        """Numbers as they are; 0 or 1 for each label; the likeliest class of each sample, or of each place."""
        if self.kind.targets == "numbers":
            return self.outputs
        if self.kind.targets == "labels":
            return (self.outputs > 0).long()
        return self.outputs.argmax(1 if self.kind.targets == "class" else self.class_axis)

    def lines(self, top: int) -> Iterator[str]:
        """A line for each sample: its numbers, labels or likeliest classes; of places, the shares of the classes."""
        for index, said in enumerate(self._said(top)):
            yield f"{self.source}[{index}]: {said}"

    def save(self, path: Path) -> None:
        """Write `outputs` and `predicted` into an .npz file."""
        outputs, predicted = self.outputs.numpy(), self.predicted.numpy()
        atomic.write(path, lambda file: np.savez(file, outputs=outputs, predicted=predicted))

    def _said(self, top: int) -> Iterator[str]:
        names = self.kind.names
        if self.kind.targets == "class":
            for classes in likeliest(self.outputs, names, top):
                yield "  ".join(f"{name} {probability:.1%}" for name, probability in classes)
            return
        for sample in self.predicted:
            if self.kind.targets == "numbers":
                numbers = sample.flatten().tolist()
                yield "  ".join(f"{number:.6g}" for number in numbers[:_SHOWN]) + _more(len(numbers))
            elif self.kind.targets == "labels":
                given = [names[at] for at in sample.nonzero().flatten().tolist()]
                yield "  ".join(given[:_SHOWN]) + _more(len(given)) or "no label"
            else:
                shares = torch.bincount(sample.flatten(), minlength=len(names)).double() / sample.numel()
                most = shares.topk(min(top, len(names)))
                pairs = zip(most.indices.tolist(), most.values.tolist(), strict=True)
                yield "  ".join(f"{names[at]} {share:.1%} of places" for at, share in pairs if share > 0)


def predict_arrays(path: Path, source: Path, *, model: OwnModule | None = None) -> ArrayPredictions:
    """What the retrained network of a run says of the samples in an .npz file, its array `x` (or `x_test`).

    Args:
        path: the run, its retraining, an export with a state dict, or an ONNX file.
        source: the .npz file; its inputs are normalised as those of training were.
        model: for the search of a user's own module: a new searchable module, as for `dnas.load`.

    Raises:
        FileNotFoundError: a file does not exist.
        UserError: a file is damaged, or holds other inputs than the network takes.
    """
    if path.suffix == ".onnx":
        forward, interface = open_onnx(path)
    else:
        interface = load_spec(path).interface
        forward = network_forward(load(path, model=model))
    if not isinstance(interface, ArrayInterface):
        raise UserError(f"The network in {path} tells classes of images: give image files, not {source}.")
    inputs = read_inputs(source, interface.kind)
    outputs = [_outputs(forward, part, interface) for part in inputs.split(_BATCH)]
    return ArrayPredictions(torch.cat(outputs), interface.kind, source)


def _outputs(forward: Callable[[Tensor], object], inputs: Tensor, interface: ArrayInterface) -> Tensor:
    """The outputs of one batch.

    Raises:
        UserError: they are no tensor of a row for each sample, or not finite.
    """
    outputs = logits_of(forward(inputs if interface.normalization is None else interface.normalization(inputs)))
    if not isinstance(outputs, Tensor) or outputs.shape[:1] != inputs.shape[:1]:
        raise UserError(f"The network gives {described(outputs)}; expected a tensor with a row for each sample.")
    if not bool(outputs.isfinite().all()):
        raise UserError("The network gives NaN or infinity: its weights are damaged or have diverged. Retrain.")
    return outputs.cpu()


def _more(count: int) -> str:
    return f"  ... {count - _SHOWN} more" if count > _SHOWN else ""
