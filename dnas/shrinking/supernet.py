"""A model at its full size whose widths and blocks are mixtures: what a masked search trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dnas.core.functional import call_with
from dnas.shrinking.blocks import Block
from dnas.shrinking.channels import Field
from dnas.shrinking.groups import Structure
from dnas.shrinking.separable import nearest_products
from dnas.shrinking.trace import copied
from dnas.shrinking.width import KernelSize, Stays, Width


class MaskedModel(nn.Module):
    """A copy of a model whose channels are weighed where they are consumed, and whose blocks are weighed whole.

    A channel's mask multiplies the input columns that belong to it, and weighs the statistics of layer norms; that of a
    kernel multiplies its entries; a convolution that may become separable has the weights m W + (1 - m) P D (see
    `separable`); a block gives m block(x) + (1 - m) x, with the ReLU that ends it around the x.

    With every decision at its largest the model takes its own path and equals the original bit for bit; with one value
    for each decision it equals the smaller network.

    Args:
        model: the one that was traced; it is not changed.
        structure: its groups, blocks and kernels.
        widths: for each group by name, the numbers of classes to choose from, in ascending order.
        ranking: for each group, the indices of its classes, the most important first.
    """

    def __init__(
        self,
        model: nn.Module,
        structure: Structure,
        widths: Mapping[str, Sequence[int]],
        ranking: Mapping[str, Sequence[int]],
    ) -> None:
        super().__init__()
        self.model = copied(model)
        groups = structure.groups
        self.widths = nn.ModuleList(Width(group.name, widths[group.name], ranking[group.name]) for group in groups)
        self.stays = nn.ModuleList(Stays(block.name) for block in structure.blocks)
        self.kernels = nn.ModuleList(KernelSize(kernel) for kernel in structure.kernels)
        self.wholes = nn.ModuleList(Stays(one.name) for one in structure.separables)
        self._weights = [f"{kernel.module}.weight" for kernel in structure.kernels]
        self._separables = [f"{one.module}.weight" for one in structure.separables]
        self._blocks = structure.blocks
        places = _Places(structure)
        # Indices into a vector of all masks, whose first entry is 1: for each field of a tensor, in the field's shape.
        self._columns = places.of_consumers(self.model)
        self._norms = places.of_layer_norms()

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        parts = [*self.widths, *self.stays, *self.kernels, *self.wholes]
        if all(part.is_whole for part in parts):
            return self.model(*arguments, **keywords)
        like = next(weight for weight in self.model.parameters() if weight.is_floating_point())
        masks = torch.cat([like.new_ones(1), *(width(like) for width in self.widths)])
        with self._norms_over(masks), self._blocks_weighed(like):
            return call_with(self.model, self._masked(masks), arguments, keywords)

    def _masked(self, masks: Tensor) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        found = {}
        for name, whole in zip(self._separables, self.wholes, strict=True):
            if not whole.is_whole:
                found[name] = torch.lerp(nearest_products(tensors[name]), tensors[name], whole(tensors[name]))
        for name, fields in self._columns.items():
            masked = found.get(name, tensors[name])
            for places in fields:
                masked = masked * masks[places.to(masks.device)].to(masked.dtype)
            found[name] = masked
        for name, kernel in zip(self._weights, self.kernels, strict=True):
            if not kernel.is_whole:
                weight = found.get(name, tensors[name])
                found[name] = weight * kernel(weight)
        return found

    @contextmanager
    def _norms_over(self, masks: Tensor) -> Iterator[None]:
        """Layer norms take their statistics over the channels that stay."""

        def hook(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            assert isinstance(norm, nn.LayerNorm)
            return weighted_layer_norm(norm, inputs[0], stays[norm])

        stays = {self.model.get_submodule(name): masks[at.to(masks.device)] for name, at in self._norms.items()}
        handles = [norm.register_forward_hook(hook) for norm in stays]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def _blocks_weighed(self, like: Tensor) -> Iterator[None]:
        def hook(block: Block, gate: nn.Module) -> Any:
            def weigh(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
                return None if gate.is_whole else block.weighed(gate(like), inputs[0], output)

            return weigh

        handles = [
            self.model.get_submodule(block.name).register_forward_hook(hook(block, gate))
            for block, gate in zip(self._blocks, self.stays, strict=True)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def weighted_layer_norm(norm: nn.LayerNorm, x: Tensor, mask: Tensor) -> Tensor:
    """A layer norm over the last dimension with weighted statistics: sum(m x) / sum(m), for mean and variance.

    Args:
        norm: its weight, bias and eps.
        x: (.., channels).
        mask: (channels,), from 0 to 1.
    """
    share = (mask / mask.sum()).to(x.dtype)
    mean = (x * share).sum(-1, keepdim=True)
    variance = ((x - mean).square() * share).sum(-1, keepdim=True)
    normal = (x - mean) * torch.rsqrt(variance + norm.eps)
    if norm.weight is not None:
        normal = normal * norm.weight
    return normal if norm.bias is None else normal + norm.bias


class _Places:
    """Where in the vector of all masks a label's is: groups one after the other; 0 for what belongs to no group."""

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        labels = [label for group in structure.groups for label in group.classes]
        self._place = {label: index for index, label in enumerate(labels, start=1)}

    def of_consumers(self, model: nn.Module) -> dict[str, list[Tensor]]:
        """For tensors whose columns consume channels, the places of each such field."""
        trace = self._structure.trace
        consumed = np.unique(np.concatenate([labels.reshape(-1) for labels in trace.book.consumers] or [np.zeros(0)]))
        found: dict[str, list[Tensor]] = {}
        for name in [*dict(model.named_parameters()), *dict(model.named_buffers())]:
            for labels in trace.labels[name]:
                places = self._of(labels) * np.isin(labels, consumed)
                if places.any():
                    found.setdefault(name, []).append(torch.from_numpy(places))
        return found

    def of_layer_norms(self) -> dict[str, Tensor]:
        """For each layer norm over channels of a group, the places of its channels."""
        found = {}
        for size in self._structure.trace.book.sizes:
            if size.attribute == "normalized_shape":
                places = self._of(size.labels).reshape(-1)
                if places.any():
                    found[size.module] = torch.from_numpy(places)
        return found

    def _of(self, labels: Field) -> Field:
        roots = self._structure.trace.book.channels.roots(labels)
        return np.array([self._place.get(root, 0) for root in roots.reshape(-1).tolist()]).reshape(roots.shape)
