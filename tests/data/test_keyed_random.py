"""Numbers that depend on key and sample alone, and look random."""

import torch

from dnas.data.keyed_random import below, permutation, random_bits, stream_key, uniform

SAMPLES = torch.arange(20_000)


def test_the_mixing_function_is_that_of_splitmix64():
    # The first outputs of the published generator with seed 1234567 (state: seed + i * golden ratio).
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    from dnas.data.keyed_random import _GOLDEN, _mix, _mix_int, _signed

    states = [(1234567 + i * _GOLDEN) % 2**64 for i in (1, 2, 3)]
    assert [_mix_int(state) for state in states] == expected
    assert _mix(torch.tensor([_signed(state) for state in states])).tolist() == [_signed(e) for e in expected]


def test_a_sample_gets_the_same_numbers_in_any_company():
    key = stream_key(3, 7)
    together = random_bits(key, SAMPLES, 5)
    chosen = torch.tensor([17, 4, 19_999])
    assert torch.equal(random_bits(key, chosen, 5), together[chosen])
    assert torch.equal(random_bits(key, SAMPLES, 2), together[:, :2])


def test_uniform_numbers_fill_the_unit_interval_evenly():
    values = uniform(random_bits(stream_key(0, 0), SAMPLES, 5)).flatten()
    assert values.min() >= 0
    assert values.max() < 1
    counts = torch.histc(values, bins=100, min=0, max=1)
    expected = len(values) / 100
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert 50 < chi_square < 160  # 99 degrees of freedom: 99 +- 14; too even would be as wrong


def test_draws_samples_epochs_and_seeds_are_uncorrelated():
    first = uniform(random_bits(stream_key(0, 0), SAMPLES, 5)).double()
    streams = [
        *first.T,
        first[:, 0].roll(1),
        uniform(random_bits(stream_key(0, 1), SAMPLES, 1))[:, 0].double(),
        uniform(random_bits(stream_key(1, 0), SAMPLES, 1))[:, 0].double(),
    ]
    correlation = torch.corrcoef(torch.stack(streams)) - torch.eye(len(streams))
    assert correlation.abs().max() < 5 / len(SAMPLES) ** 0.5


def test_below_reaches_every_number_equally_often():
    counts = torch.bincount(below(random_bits(5, SAMPLES, 1).flatten(), 9), minlength=9)
    assert len(counts) == 9
    assert (counts - len(SAMPLES) / 9).abs().max() < 5 * (len(SAMPLES) / 9) ** 0.5


def test_keys_depend_on_every_number_and_on_their_order():
    keys = {stream_key(*numbers) for numbers in ((0, 1), (1, 0), (0, 0), (0,), (1, 1), (-1, 0), (2**63, 0))}
    assert len(keys) == 7
    assert all(0 <= key < 2**64 for key in keys)


def test_a_permutation_holds_every_index_once_and_moves_them_all_over():
    order = permutation(1000, stream_key(1, 2))
    assert torch.equal(order.sort().values, torch.arange(1000))
    correlation = torch.corrcoef(torch.stack([order.double(), torch.arange(1000.0, dtype=torch.float64)]))[0, 1]
    assert abs(float(correlation)) < 0.15
    assert not torch.equal(order, permutation(1000, stream_key(1, 3)))
