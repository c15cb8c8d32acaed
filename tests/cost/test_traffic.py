"""Bytes that operators read and write, against counts by hand."""

import numpy as np
import pytest
import torch

from dnas.cost.traffic import TrafficCounter
from dnas.kernels.cpu import CpuKernels


def test_each_operator_counts_its_inputs_and_outputs_once_and_views_nothing():
    x, y = torch.zeros(100, 8), torch.zeros(100, 8, dtype=torch.float64)
    with TrafficCounter() as counter:
        torch.empty(50)
        x.t()[:4].reshape(4, 100)
        _ = torch.mm(x.t(), x)  # reads x twice, writes 8 x 8
    assert counter.num_bytes == 4 * (2 * 800 + 64)
    with TrafficCounter() as counter:
        y.add_(1.0)  # reads and writes y
    assert counter.num_bytes == 8 * 2 * 800


def test_backward_passes_count_too():
    x = torch.zeros(10, requires_grad=True)
    with TrafficCounter() as counter:
        (x * 2.0).sum().backward()
    forward = 4 * (10 + 10) + 4 * (10 + 1)  # product, sum
    assert counter.num_bytes > forward + 4 * (10 + 10)  # the gradient of the product


def test_compiled_kernels_count_what_they_read_and_write():
    pytest.importorskip("numba")
    x, one = np.ones(2 * 3 * 3 * 8), np.ones((2, 8))
    with TrafficCounter() as counter:
        CpuKernels().weighted_sum([x, x], one, one[0], (2, 3, 3, 8))
    assert counter.num_bytes == 3 * x.nbytes  # two terms, one sum
