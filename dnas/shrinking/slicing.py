"""A physically smaller copy of a model: channels cut out of weights, buffers and the integers that count them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor, nn

from dnas.shrinking.channels import Field
from dnas.shrinking.groups import Selection, Structure
from dnas.shrinking.kernels import cut_kernel
from dnas.shrinking.separable import nearest_products, take_apart
from dnas.shrinking.trace import copied


def sliced(model: nn.Module, structure: Structure, selection: Selection) -> nn.Module:
    """A copy of the same class, in eval mode, without the channels and blocks that go.

    With everything kept it is the model bit for bit.

    Args:
        model: the one that was traced; it is not changed.
        structure: its groups.
        selection: what stays of them.
    """
    copy = copied(model)
    products_in_place(copy, selection)
    removed = structure.removed(selection.kept)
    if removed.size:
        _cut_tensors(copy, structure, removed)
        _adjust_sizes(copy, structure, removed)
        for module in copy.modules():
            _count_again(module)
    for kernel in structure.kernels:
        cut_kernel(copy.get_submodule(kernel.module), selection.kernels.get(kernel.name, kernel.largest))
    for name in selection.separated:
        whole = copy.get_submodule(name)
        apart = take_apart(whole)
        for place in [place for place, module in copy.named_modules(remove_duplicate=False) if module is whole]:
            replace_module(copy, place, apart)
    for block in structure.blocks:
        if block.name in selection.skipped:
            replace_module(copy, block.name, block.stand_in())
    return copy


def products_in_place(model: nn.Module, selection: Selection) -> None:
    """Gives convolutions that become separable the nearest weights of such ones, whatever else is cut off later."""
    for name in selection.separated:
        weight = model.get_parameter(f"{name}.weight")
        with torch.no_grad():
            weight.copy_(nearest_products(weight))


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts another module in the place of the one of this name."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)


def _cut_tensors(model: nn.Module, structure: Structure, removed: Field) -> None:
    """A tensor that stands in several places stays one tensor."""
    tensors: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    cut = {
        id(tensor): _cut(tensor, structure, structure.trace.labels[name], removed) for name, tensor in tensors.items()
    }
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                if tensor is not None:
                    store[name] = cut[id(tensor)]  # pyright: ignore[reportArgumentType] (a parameter stays one)


def _cut(tensor: Tensor, structure: Structure, fields: tuple[Field, ...], removed: Field) -> Tensor:
    smaller = tensor.detach()
    for labels in fields:
        stays = structure.stays(labels, removed)
        if not stays.all():
            axis = int(np.argmax(labels.shape))
            smaller = smaller.index_select(axis, torch.from_numpy(np.flatnonzero(stays)).to(tensor.device))
    if smaller.shape == tensor.shape:
        return tensor
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(smaller.contiguous(), requires_grad=tensor.requires_grad)
    return smaller.contiguous()


def _adjust_sizes(model: nn.Module, structure: Structure, removed: Field) -> None:
    """Integers of modules that the trace saw to count channels."""
    modules = dict(model.named_modules())
    by_value: dict[tuple[str, int], set[int]] = defaultdict(set)
    for size in structure.trace.book.sizes:
        stays = structure.stays(size.labels, removed)
        others = tuple(axis for axis in range(stays.ndim) if axis != size.axis)
        old, new = stays.shape[size.axis], int(stays.any(axis=others).sum())
        if size.attribute is None:
            by_value[size.module, old].add(new)
        elif old != new:
            value = (new,) if size.attribute == "normalized_shape" else new
            setattr(modules[size.module], size.attribute, value)
    for (name, old), new in by_value.items():
        if len(new) == 1 and new != {old}:
            _replace_integer(modules[name], old, *new)


def _replace_integer(module: nn.Module, old: int, new: int) -> None:
    """Every integer of the module that equals the old number, also as the only such entry of a tuple."""
    for attribute, value in list(vars(module).items()):
        if type(value) is int and value == old:
            setattr(module, attribute, new)
        elif isinstance(value, tuple) and value.count(old) == 1:
            changed = [new if entry == old else entry for entry in value]
            setattr(module, attribute, torch.Size(changed) if isinstance(value, torch.Size) else tuple(changed))


def _count_again(module: nn.Module) -> None:
    """What torch's own layers say about their sizes, from their weights."""
    if isinstance(module, nn.modules.conv._ConvNd):
        rows, columns = module.weight.shape[:2]
        if module.transposed:
            module.in_channels, module.out_channels = rows, columns * module.groups
        else:
            # A convolution of one channel has one group as well, and is not depthwise.
            if module.groups == module.in_channels > 1:
                module.groups = rows * module.groups // module.out_channels
            module.in_channels, module.out_channels = columns * module.groups, rows
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        sized = module.weight if module.weight is not None else module.running_mean
        if sized is not None:
            module.num_features = len(sized)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
