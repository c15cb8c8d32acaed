"""Running statistics of batch norm, measured anew in a network that has become smaller."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from dnas.core.batch import Batch, to_device
from dnas.distributed.ranks import ALONE, working_with
from dnas.training.evaluate import call, device_of


def reestimate(network: nn.Module, batches: Iterable[Batch]) -> None:
    """Sets the running means and variances of batch norms to the averages over these batches, in place.

    Every batch counts alike. Only batch norms that keep statistics are in train mode meanwhile; afterwards every module
    is in the mode it was in.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    if not norms:
        return
    before = [(module, module.training) for module in network.modules()]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average over all batches
        norm.train()
    try:
        with torch.no_grad(), working_with(ALONE):  # every rank has all of each batch
            for batch in batches:
                call(network, to_device(batch.inputs, device_of(network)))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in before:
            module.training = training
