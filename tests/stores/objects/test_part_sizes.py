"""Objects are cut into parts that S3 takes, as large as the memory allows."""

from __future__ import annotations

import pytest

from sluiceway.errors import TooLarge
from sluiceway.stores.objects.part_sizes import (
    FULL_PART,
    MOST_PARTS,
    SMALLEST_PART,
    default_part_size,
    part_size,
)

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40


@pytest.mark.parametrize(
    ("limit", "live", "size"),
    [(64, 1, 16), (64, 2, 8), (64, 3, 5), (64, 900, 5), (32, 1, 8), (10, 1, 5), (4096, 9, 16)],
)
def test_parts_are_as_large_as_an_uploads_share_of_the_memory(
    limit: int, live: int, size: int
) -> None:
    """In MiB: large parts for a single upload, S3's smallest for one of many."""
    assert default_part_size(limit * MIB, live) == size * MIB


@pytest.mark.parametrize("length", [1, FULL_PART, 50 * GIB, 156 * GIB + 1, 5 * TIB])
@pytest.mark.parametrize("default", [SMALLEST_PART, FULL_PART])
def test_a_known_length_gives_equal_parts_within_s3s_number(length: int, default: int) -> None:
    """Some stores want all parts except the last to have one size."""
    sizes = {part_size(number, length, default, 4 * GIB) for number in (1, 2, 5000, MOST_PARTS)}
    assert len(sizes) == 1
    assert SMALLEST_PART <= min(sizes) <= 5 * GIB
    assert -(-length // min(sizes)) <= MOST_PARTS


@pytest.mark.parametrize("default", [SMALLEST_PART, FULL_PART])
def test_an_unknown_length_may_reach_s3s_limit(default: int) -> None:
    """The parts double; all 10,000 of them hold 4.8 TiB and more."""
    sizes = [part_size(number, None, default, 8 * GIB) for number in range(1, MOST_PARTS + 1)]
    assert sizes == sorted(sizes)
    assert sizes[0] == default
    assert sum(sizes) > 4.8 * TIB


def test_a_part_too_large_for_the_memory_is_refused() -> None:
    """Before the first byte when the length is known, with the memory that is enough."""
    with pytest.raises(TooLarge, match="525 MiB; give --memory-budget at least twice that"):
        part_size(1, 5 * TIB, FULL_PART, 32 * MIB)
    with pytest.raises(TooLarge, match="tell its length"):
        part_size(MOST_PARTS + 1, None, SMALLEST_PART, 64 * GIB)
