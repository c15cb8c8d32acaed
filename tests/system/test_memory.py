"""Memory that is taken and left, and the batch that fits."""

import os

import pytest
import torch

from dnas.system.memory import (
    available_memory,
    check_batch_fits,
    check_holds,
    gibibytes,
    largest_batch,
    peak_memory,
    reset_peak_memory,
    share_that_fits,
)

CPU = torch.device("cpu")


def test_the_largest_batch_lies_on_the_line_through_two_measurements():
    # 100 bytes, and 7 for each image.
    memory = {10: 170, 30: 310}
    assert largest_batch(memory, available=100 + 7 * 50) == 50
    assert largest_batch(memory, available=100 + 7 * 50 - 1) == 49
    assert largest_batch(memory, available=100 + 7 * 5) == 5, "smaller than what was measured"


def test_the_order_in_which_sizes_were_measured_does_not_matter():
    assert largest_batch({30: 310, 10: 170}, available=450) == largest_batch({10: 170, 30: 310}, available=450) == 50


def test_where_no_image_fits_the_largest_batch_is_0():
    assert largest_batch({10: 170, 30: 310}, available=90) == 0


def test_large_numbers_of_bytes_lose_nothing_to_rounding():
    gigabyte = 10**18 + 1
    assert largest_batch({1: gigabyte, 2: 2 * gigabyte}, available=12345 * gigabyte) == 12345
    assert largest_batch({1: gigabyte, 2: 2 * gigabyte}, available=12345 * gigabyte - 1) == 12344


@pytest.mark.parametrize("memory", [{}, {8: 100}, {8: 100, 16: 200, 32: 400}, {0: 100, 8: 200}])
def test_a_line_needs_two_sizes(memory):
    with pytest.raises(ValueError, match="two batch sizes"):
        largest_batch(memory, available=1000)


@pytest.mark.parametrize("at_large", [100, 90])
def test_memory_that_does_not_grow_says_nothing(at_large):
    with pytest.raises(ValueError, match="further apart"):
        largest_batch({8: 100, 16: at_large}, available=1000)


def test_a_batch_that_will_not_fit_is_refused_with_one_that_will():
    gib = 2**30
    # Half a GiB and an eighth for each image; of 10 GiB a tenth is left free: (9 - 0.5) * 8 = 68 images.
    memory = {8: gib // 2 + gib, 16: gib // 2 + 2 * gib}
    check_batch_fits(memory, 10 * gib, 68)
    with pytest.raises(ValueError, match=r"batch_size 69 needs about 9\.1 GiB .* batch_size 68 would fit"):
        check_batch_fits(memory, 10 * gib, 69)


def test_where_no_batch_fits_other_sizes_are_to_be_lowered():
    gib = 2**30
    with pytest.raises(ValueError, match=r"Lower image_size, channels or cells"):
        check_batch_fits({8: 5 * gib, 16: 6 * gib}, 2 * gib, 64)


def test_two_measurements_that_drown_in_what_the_process_takes_refuse_nothing():
    check_batch_fits({2: 1000, 4: 1000}, available=10, batch_size=64)


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak of a process cannot be reset here"
)
def test_the_peak_remembers_what_was_freed_until_it_is_reset():
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    held = torch.ones(2**26)  # 256 MiB
    del held
    assert peak_memory(CPU) - before > 200 * 2**20
    reset_peak_memory(CPU)
    assert peak_memory(CPU) - before < 100 * 2**20


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="only Linux tells what is free")
def test_available_memory_is_what_is_held_and_what_is_free():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < available_memory(CPU) <= total


def test_bytes_are_told_in_units_of_their_size():
    assert gibibytes(3 * 2**29) == "1.5 GiB"
    assert gibibytes(50 * 2**20) == "50 MiB"


def test_more_data_than_memory_holds_is_refused():
    with pytest.raises(ValueError, match=r"9 images of 5 x 5 pixels take .* GiB, but there are .* GiB of memory"):
        check_holds(10**18, "9 images of 5 x 5 pixels")
    check_holds(1, "1 image of 1 x 1 pixel")


def test_twice_what_memory_holds_fits_to_less_than_half_and_little_to_ninety_per_cent():
    available, held = (work(torch.device("cpu")) for work in (available_memory, peak_memory))
    assert share_that_fits(f"you tried to allocate {2 * available - held} bytes") == pytest.approx(0.45, rel=0.2)
    assert share_that_fits("you tried to allocate 1 bytes") == 0.9


def test_of_a_gpu_the_share_that_fits_follows_from_what_torch_says():
    # 0.9 (60 + 10 + 2 GiB) / (60 + 30 GiB)
    said = (
        "CUDA out of memory. Tried to allocate 30.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which 2.00 GiB is "
        "free. Including non-PyTorch memory, this process has 77.15 GiB memory in use. Of the allocated memory "
        "60.00 GiB is allocated by PyTorch, and 10240.00 MiB is reserved by PyTorch but unallocated."
    )
    assert share_that_fits(said) == pytest.approx(0.72, rel=1e-12)
    assert share_that_fits(said.replace("30.00 GiB", "1.00 MiB")) == 0.9
    assert share_that_fits("CUDA out of memory. Tried to allocate 30.00 GiB.") == 0
