"""The memory meter sees what is held, remembers the most, and can forget it."""

from __future__ import annotations

import os

import pytest

from sluiceway.errors import SluiceError
from sluiceway.testing.memory_meter import MemoryMeter

MIB = 1 << 20


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")
def test_the_peak_stays_when_the_memory_is_gone_until_it_is_reset() -> None:
    """64 MiB held for a moment show in the peak, not in what is held afterwards."""
    meter = MemoryMeter()
    meter.reset()
    before = meter.peak()
    held = bytearray(os.urandom(MIB) * 64)
    assert meter.now() - before >= 60 * MIB
    del held

    assert meter.peak() - before >= 60 * MIB
    meter.reset()
    assert meter.peak() - before < 40 * MIB


def test_an_unknown_process_cannot_be_measured() -> None:
    """The error comes at once, in words."""
    with pytest.raises(SluiceError, match="process"):
        MemoryMeter(2**30)
