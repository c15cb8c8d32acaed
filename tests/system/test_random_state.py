"""The caller's random state is left alone, and a loader's random numbers are its own."""

from collections.abc import Iterator

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from dnas.system.random_state import random_state, restore_random_state, seeded, seeded_items


def test_a_restored_state_draws_the_same_numbers_again():
    state = random_state()
    first = torch.rand(3)
    restore_random_state(state)
    assert torch.equal(torch.rand(3), first)


def test_a_state_of_devices_that_are_not_here_is_passed_over():
    state = random_state() | {"cuda": [torch.get_rng_state()] * (torch.cuda.device_count() + 1)}
    if not torch.cuda.is_available():
        restore_random_state(state)
    assert torch.equal(torch.get_rng_state(), state["cpu"])


def test_a_seeded_block_starts_from_its_seed_and_leaves_no_trace():
    torch.manual_seed(7)
    expected = torch.rand(3)
    before = torch.get_rng_state()
    with seeded(7):
        assert torch.equal(torch.rand(3), expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seeded_block_leaves_no_trace_when_it_fails():
    def fail() -> None:
        with seeded(7):
            torch.rand(3)
            raise KeyError

    before = torch.get_rng_state()
    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


class Noise:
    """Three random numbers, the first of which is drawn when the iteration begins."""

    def __iter__(self) -> Iterator[float]:
        offset = float(torch.rand(()))
        return (offset + float(torch.rand(())) for _ in range(3))


def test_seeded_items_depend_on_the_seed_alone():
    expected = list(seeded_items(Noise(), 3))
    torch.manual_seed(100)
    found = []
    for item in seeded_items(Noise(), 3):
        torch.rand(5)  # whatever else is drawn meanwhile
        found.append(item)
    assert found == expected
    assert list(seeded_items(Noise(), 4)) != expected
    torch.manual_seed(3)
    assert list(Noise()) == expected


def test_between_two_seeded_items_the_global_generator_goes_on_as_if_there_were_none():
    torch.manual_seed(0)
    expected = [torch.rand(()) for _ in range(4)]
    torch.manual_seed(0)
    found = [torch.rand(()) for _ in seeded_items(Noise(), 1)]
    assert [*found, torch.rand(())] == expected


def test_a_loader_that_fails_leaves_the_global_generator_as_it_was():
    def broken() -> Iterator[float]:
        yield float(torch.rand(()))
        torch.rand(())
        raise ValueError("broken image")

    items = seeded_items(broken(), 0)
    before = torch.get_rng_state()
    next(items)
    with pytest.raises(ValueError, match="broken image"):
        next(items)
    assert torch.equal(torch.get_rng_state(), before)


def test_two_loaders_that_are_read_in_turn_do_not_disturb_each_other():
    data = TensorDataset(torch.arange(12))
    loader = DataLoader(data, batch_size=2, shuffle=True)
    alone = [batch[0].tolist() for batch in seeded_items(loader, 5)]
    together = [
        (a[0].tolist(), b[0].tolist()) for a, b in zip(seeded_items(loader, 5), seeded_items(loader, 6), strict=True)
    ]
    assert [a for a, _ in together] == alone
    assert [b for _, b in together] != alone
