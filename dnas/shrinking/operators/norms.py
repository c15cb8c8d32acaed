"""Operators that normalise or reduce: across places, channels keep apart; across channels, they may not go."""

from __future__ import annotations

import re

import numpy as np
from torch import nn

from dnas.core.batch import tensors_in
from dnas.shrinking.book import Call, placed
from dnas.shrinking.channels import vary


def batch_norm(call: Call) -> None:
    """Scale, shift and statistics belong to the channel."""
    x, *own = call.arguments[:5]
    channels = call.along(x, 1)
    for tensor in own:
        if tensor is not None:
            call.tie(channels, call.along(tensor, 0))
    call.give(tensors(call)[0], (placed(channels, 1, x.ndim),))


def group_norm(call: Call) -> None:
    """Channels of a group share statistics: groups go whole."""
    x, weight, bias, _, _, _, groups, _ = call.arguments
    channels = call.along(x, 1)
    blocks = channels.reshape(groups, -1)
    call.tie_along(blocks, (1,))
    for tensor in (weight, bias):
        if tensor is not None:
            call.tie(channels, call.along(tensor, 0))
    call.size(blocks[:, :1], 0, "num_groups" if issubclass(call.kind, nn.GroupNorm) else None)
    if issubclass(call.kind, nn.GroupNorm):
        call.size(channels, 0, "num_channels")
    call.give(tensors(call)[0], (placed(channels, 1, x.ndim),))


def layer_norm(call: Call) -> None:
    """Statistics over the last dimension: exact when they are taken over the channels that stay."""
    x, shape, weight, bias, _ = call.arguments
    last = x.ndim - 1
    if len(shape) > 1 or not issubclass(call.kind, nn.LayerNorm):
        for tensor in (x, weight, bias):
            call.freeze(call.fields(tensor), f"{call.where} is not over one dimension of an nn.LayerNorm")
        return
    fields = []
    for labels in call.fields(x):
        if vary(labels, last) and labels.size == labels.shape[last]:
            call.size(labels, last, "normalized_shape")
            fields.append(labels)
        elif vary(labels, last):
            # One norm for every head: heads go whole.
            call.tie_along(labels, (last,))
            fields.append(np.take(labels, [0], axis=last))
        else:
            fields.append(labels)
    channels = next((labels.reshape(-1) for labels in fields if vary(labels, last)), np.zeros(1, dtype=np.int64))
    for tensor in (weight, bias):
        if tensor is not None:
            call.tie(channels, call.along(tensor, 0))
    call.give(tensors(call)[0], tuple(fields))


def across(call: Call) -> None:
    """Same shape, each value depends on all along a dimension: softmax, cumulative sums."""
    tensor, axis = call.arguments[:2]
    for out in tensors(call):
        call.give(out, call.without(tensor, (axis,)))


def reduction(call: Call) -> None:
    """Means, sums, maxima and norms over some dimensions; the others keep their labels."""
    tensor = call.arguments[0]
    named = _reduced(call)
    axes = tuple({axis % tensor.ndim for axis in named} if named else range(tensor.ndim))
    kept = call.without(tensor, axes)
    for out in tensors(call):
        keeps = out.ndim == tensor.ndim
        call.give(out, kept if keeps else tuple(np.squeeze(labels, axes) for labels in kept))


def _reduced(call: Call) -> list[int]:
    """The dimensions that the operator is given; none means all of them."""
    place = 2 if call.name == "linalg_vector_norm" else 1
    given = call.arguments[place] if len(call.arguments) > place else None
    if isinstance(given, bool) or given is None:
        return []
    return [given] if isinstance(given, int) else list(given)


def spatial(call: Call) -> None:
    """Pooling, resizing and reflecting: the last one, two or three dimensions change, as the operator's name says."""
    tensor = call.arguments[0]
    found = re.search(r"([123])d", call.name)
    assert found is not None, call.name
    places = tuple(range(tensor.ndim - int(found[1]), tensor.ndim))
    kept = []
    for labels in call.fields(tensor):
        call.tie_along(labels, places)
        kept.append(labels[tuple(slice(0, 1) if axis in places else slice(None) for axis in range(tensor.ndim))])
    for out in tensors(call):
        call.give(out, tuple(kept))


def tensors(call: Call) -> list:
    return [*tensors_in(call.out)]
