"""SynFlow: how much of an input of ones flows through the weights' absolute values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dnas.core.batch import map_tensors, tensors_in
from dnas.finalists.scores.score import Score
from dnas.training.evaluate import call


class SynFlow(Score):
    """sum over weights of |w| dR/d|w|,  R = sum of the outputs for inputs of ones, with |w| for every weight w.

    Tanaka et al. 2020, https://arxiv.org/abs/2006.05467; as a score of architectures Abdelfattah
    et al. 2021, https://arxiv.org/abs/2101.08134, who leave batch norm out, as here. Weights are the parameters of two
    dimensions and more. The natural logarithm is given, since R grows exponentially with the depth.
    """

    def __call__(self, network: nn.Module, inputs: Any, generator: torch.Generator) -> tuple[float, ...]:
        network = _without_batch_norm(network).double().eval()
        weights = [weight for weight in network.parameters() if weight.ndim > 1]
        with torch.no_grad():
            for weight in network.parameters():
                weight.abs_()
        ones = map_tensors(_one_of_ones, inputs)
        with torch.enable_grad():
            total = torch.stack([output.sum() for output in tensors_in(call(network, ones))]).sum()
            gradients = torch.autograd.grad(total, weights, allow_unused=True)
        flow = sum(float((w.detach() * g).sum()) for w, g in zip(weights, gradients, strict=True) if g is not None)
        return (float(torch.tensor(flow, dtype=torch.float64).log()),)


def _one_of_ones(tensor: Tensor) -> Tensor:
    return torch.ones_like(tensor[:1], dtype=torch.float64)


def _without_batch_norm(network: nn.Module) -> nn.Module:
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(module, name, nn.Identity())
    return network
