"""The rates that a machine reaches at most."""

import pytest
import torch

from dnas.system import peak
from dnas.system.peak import measure_peak

CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch):
    """Matrices of 64 rows: what is tested is arithmetic, not speed."""
    monkeypatch.setattr(peak, "_SIZE", {"cpu": 64})
    monkeypatch.setattr(peak, "_COPIED", {"cpu": 2**10})


def test_rates_are_operations_and_bytes_over_the_best_time(small, monkeypatch):
    seconds = iter([9.0, 4.0, 2.0, 9.0, 5.0, 3.0, 9.0, 0.5, 0.25])  # product, convolution, copy; the first not counted
    monkeypatch.setattr(peak, "measured_seconds", lambda work, device: next(seconds))
    found = measure_peak(CPU, repeats=2)
    assert found.flops_per_second == 2 * 64**3 / 2.0
    assert found.bytes_per_second == 2 * 4 * 2**10 / 0.25


def test_the_peak_says_what_was_multiplied(small):
    found = measure_peak(CPU, dtype=torch.bfloat16, repeats=1)
    assert (found.size, found.dtype) == (64, "bfloat16")
    assert found.flops_per_second > 0
    assert found.bytes_per_second > 0
