"""Which rule speaks for which operator of torch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dnas.shrinking.book import Call
from dnas.shrinking.operators import layout, norms, products
from dnas.shrinking.operators.pointwise import nothing, pointwise, same, unknown

Rule = Callable[[Call], None]

_RULES: dict[Rule, str] = {
    # `hardswish` and some others lack torch's tag of what is pointwise.
    pointwise: "hardswish alias detach lift_fresh clone _to_copy contiguous prelu _prelu_kernel copy relu6 where "
    "hardtanh elu celu threshold log_sigmoid_forward rrelu softplus masked_fill",
    same: "zeros_like ones_like empty_like full_like rand_like randn_like dropout native_dropout",
    nothing: "new_zeros new_ones new_empty new_full scalar_tensor arange full zeros ones empty sym_size",
    layout.view: "view _unsafe_view reshape _reshape_alias",
    layout.permute: "permute",
    layout.transpose: "transpose",
    layout.turned: "t",
    layout.unsqueeze: "unsqueeze",
    layout.squeeze: "squeeze",
    layout.expand: "expand",
    layout.repeat: "repeat",
    layout.concatenate: "cat",
    layout.stack: "stack",
    layout.split: "split split_with_sizes",
    layout.cut: "slice",
    layout.unbind: "unbind",
    layout.select: "select",
    layout.pad: "constant_pad_nd",
    layout.pixel_shuffle: "pixel_shuffle",
    layout.pixel_unshuffle: "pixel_unshuffle",
    layout.channel_shuffle: "channel_shuffle native_channel_shuffle",
    layout.lookup: "embedding",
    products.convolution: "convolution",
    products.addmm: "addmm baddbmm",
    products.matmul: "mm bmm",
    norms.batch_norm: "native_batch_norm cudnn_batch_norm miopen_batch_norm",
    norms.group_norm: "native_group_norm",
    norms.layer_norm: "native_layer_norm",
    norms.across: "_softmax _safe_softmax _log_softmax cumsum cumprod",
    norms.reduction: "mean sum amax amin max min var std logsumexp linalg_vector_norm argmax argmin prod any all",
    norms.spatial: "max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d "
    "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d upsample_nearest1d "
    "upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d upsample_linear1d "
    "upsample_bilinear2d _upsample_bilinear2d_aa upsample_bicubic2d upsample_trilinear3d reflection_pad1d "
    "reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d",
}
_BY_NAME = {name: rule for rule, names in _RULES.items() for name in names.split()}


def rule_of(operator: torch._ops.OpOverload) -> Rule:
    """The rule of an operator; pointwise ones are known by their tag, and what is not known leaves its inputs alone."""
    name = name_of(operator)
    # `max.other` is the maximum of two tensors, `max.dim` a reduction.
    if name in _BY_NAME and operator._overloadname != "other":
        return _BY_NAME[name]
    return pointwise if torch.Tag.pointwise in operator.tags else unknown


def name_of(operator: torch._ops.OpOverload) -> str:
    """Such as 'relu', also for what writes into its argument ('relu_')."""
    name = operator._schema.name.split("::")[1]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name
