"""Every group is tried before it is used: the smaller network must equal the masked one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dnas.core.batch import map_tensors, tensors_in
from dnas.cost.flops import Inputs, call_arguments
from dnas.shrinking.blocks import Block
from dnas.shrinking.groups import Frozen, Group, Selection, Structure
from dnas.shrinking.kernels import Kernel
from dnas.shrinking.masking import masked
from dnas.shrinking.separable import Separable
from dnas.shrinking.slicing import sliced
from dnas.shrinking.trace import copied

# In float64, of values around 1: rounding in another order of summation stays far below, a wrong channel far above.
_TOLERANCE = 1e-9

Part = Group | Block | Kernel | Separable


def verified(model: nn.Module, example: Inputs, structure: Structure, *, seed: int = 0) -> Structure:
    """The structure with what can go: all at once, or else each part alone and beside the others.

    Weights and statistics are disturbed for it, so that fresh ones (running means of 0, gates of 0) hide nothing. A
    group that fails stays as it is and is named with the reason.

    Args:
        model: the one that was traced; it is not changed.
        example: what it was traced with.
        structure: what the trace found.
        seed: of which channels are tried.
    """
    trial = _Trial(model, example, structure, seed)
    parts = (*structure.groups, *structure.blocks, *structure.kernels, *structure.separables)
    if trial.fault(parts) is None and trial.fault(structure.groups) is None:
        return structure
    good: list[Part] = []
    frozen: list[Frozen] = []
    for part in parts:
        fault = trial.fault((part,)) or trial.fault((*good, part))
        if fault is None:
            good.append(part)
        else:
            frozen.append(Frozen(part.name, fault))
    return replace(
        structure,
        groups=tuple(part for part in good if isinstance(part, Group)),
        blocks=tuple(part for part in good if isinstance(part, Block)),
        kernels=tuple(part for part in good if isinstance(part, Kernel)),
        separables=tuple(part for part in good if isinstance(part, Separable)),
        frozen=(*structure.frozen, *frozen),
    )


class _Trial:
    """A disturbed copy in float64, and random choices of channels for it."""

    def __init__(self, model: nn.Module, example: Inputs, structure: Structure, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._model = copied(model).double()
        self._structure = structure
        arguments, keywords = call_arguments(example)
        self._inputs = (map_tensors(_double, arguments), map_tensors(_double, keywords))
        self._disturb()

    def fault(self, parts: Sequence[Part]) -> str | None:
        """What goes wrong when these groups are cut and these blocks left out; None where nothing does."""
        selection = Selection(
            {part.name: self._some(len(part)) for part in parts if isinstance(part, Group)},
            tuple(part.name for part in parts if isinstance(part, Block)),
            {part.name: part.sizes[0] for part in parts if isinstance(part, Kernel)},
            tuple(part.module for part in parts if isinstance(part, Separable)),
        )
        reference = self._outputs(masked(self._model, self._structure, selection))
        try:
            found = self._outputs(sliced(self._model, self._structure, selection))
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            return f"the smaller network fails: {error}".splitlines()[0]
        if len(found) != len(reference) or any(a.shape != b.shape for a, b in zip(found, reference, strict=True)):
            return "the smaller network's outputs have other shapes"
        difference = max((_difference(a, b) for a, b in zip(found, reference, strict=True)), default=0.0)
        return (
            None if difference <= _TOLERANCE else f"the smaller network differs from the masked one by {difference:.1e}"
        )

    def _some(self, count: int) -> tuple[int, ...]:
        """About half of the classes, at least one, in their order."""
        order = torch.randperm(count, generator=self._generator)[: max(1, count // 2)]
        return tuple(sorted(order.tolist()))

    def _outputs(self, model: nn.Module) -> list[Tensor]:
        arguments, keywords = self._inputs
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return [*tensors_in(model(*arguments, **keywords))]

    def _disturb(self) -> None:
        """Weights take other values of the same size; what is positive (variances) stays so."""
        for tensor in self._model.parameters():
            noise = torch.randn(tensor.shape, generator=self._generator, dtype=torch.float64).to(tensor.device)
            tensor.data = tensor.data * (1 + 0.2 * noise) + 0.05 * noise
        for buffer in self._model.buffers():
            if buffer.is_floating_point():
                noise = torch.rand(buffer.shape, generator=self._generator, dtype=torch.float64).to(buffer.device)
                buffer.data = buffer.data * (0.5 + noise) + 0.1 * noise


def _double(tensor: Tensor) -> Tensor:
    """Real numbers in float64."""
    return tensor.double() if tensor.is_floating_point() else tensor


def _difference(found: Tensor, reference: Tensor) -> float:
    """The largest difference in units of the reference's largest value; infinite where only one is NaN."""
    if not found.is_floating_point():
        return 0.0 if torch.equal(found, reference) else float("inf")
    if not torch.equal(found.isnan(), reference.isnan()):
        return float("inf")
    scale = max(1.0, reference.nan_to_num().abs().max().item()) if reference.numel() else 1.0
    gap = (found - reference).nan_to_num().abs()
    return gap.max().item() / scale if gap.numel() else 0.0
