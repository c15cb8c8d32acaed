"""Random numbers that depend on a key and a sample's index, not on the order in which they are drawn.

A generator's numbers depend on how many were drawn before; these do not, so a sample gets the same augmentation in any
batch, on any rank and after any restart, on CPU and CUDA alike. The mixing function is that of SplitMix64
(Steele, Lea and Flood, 2014, https://doi.org/10.1145/2660193.2660195).
"""

from __future__ import annotations

import torch
from torch import Tensor

# Legend: N samples, D draws per sample.

_WORD = 1 << 64
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, the increment of SplitMix64
_DRAW = 0xD1342543DE82EF95  # another odd constant, so that draws and samples do not step in parallel
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def stream_key(*numbers: int) -> int:
    """One 64-bit key (0 to 2^64 - 1) for a sequence of integers such as `(seed, epoch)`; the order matters."""
    key = 0
    for number in numbers:
        key = _mix_int((key + _GOLDEN + number * _DRAW) % _WORD)
    return key


def random_bits(key: int, sample_N: Tensor, num_draws: int) -> Tensor:
    """64 random bits for each sample and draw, `(samples, draws)` int64 on the device of `sample_N`.

    Args:
        key: the result of `stream_key`.
        sample_N: `(samples,)` int64, index of each sample.
        num_draws: number of independent random numbers for each sample.
    """
    draw_D = torch.arange(1, num_draws + 1, device=sample_N.device)
    state_N = _mix(sample_N * _signed(_GOLDEN) + _signed(key))
    return _mix(state_N[:, None] + draw_D * _signed(_DRAW))


def uniform(bits: Tensor) -> Tensor:
    """Bits to float32 uniform in [0, 1), from the highest 24 bits."""
    return _shift(bits, 40).to(torch.float32) * 2.0**-24


def below(bits: Tensor, bound: int) -> Tensor:
    """Bits to int64 uniform in 0 to `bound` - 1 (bias under `bound` / 2^32)."""
    return (_shift(bits, 32) * bound) >> 32


def permutation(count: int, key: int, device: torch.device | None = None) -> Tensor:
    """A random order of `count` items, `(count,)` int64: the same on every device and version of torch."""
    bits = random_bits(key, torch.arange(count, device=device), 1)
    return bits.flatten().argsort(stable=True)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _signed(_FIRST)
    z = (z ^ _shift(z, 27)) * _signed(_SECOND)
    return z ^ _shift(z, 31)


def _mix_int(z: int) -> int:
    z = (z ^ (z >> 30)) * _FIRST % _WORD
    z = (z ^ (z >> 27)) * _SECOND % _WORD
    return z ^ (z >> 31)


def _shift(z: Tensor, by: int) -> Tensor:
    """Logical right shift (that of int64 tensors copies the sign)."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _signed(word: int) -> int:
    """The int64 that has the bits of an unsigned 64-bit word."""
    return word - _WORD if word >= _WORD // 2 else word
